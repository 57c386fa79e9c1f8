"""From settings to who may command at each control socket."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from ipaddress import ip_address

from twisted.logger import Logger

from rtpproxy_tw.addresses import is_loopback
from rtpproxy_tw.configuration.settings import INET_KINDS, TLS_KINDS, ControlAddress, Settings
from rtpproxy_tw.configuration.switches import spelled
from rtpproxy_tw.control.access import LOOPBACK, Access, Budgets, Network, Networks, Refusals
from rtpproxy_tw.host_networks import Own, own_interfaces
from rtpproxy_tw.media.routes import local_for
from rtpproxy_tw.reporting.exposition import Family, labelled, single

_log = Logger()


class Admission:
    """Makes the rules of listeners; they share budgets and counters.

    ``interfaces`` tells this host's addresses and may raise OSError.
    """

    def __init__(
        self,
        settings: Settings,
        refusals: Refusals,
        interfaces: Callable[[], Iterable[Own]] = own_interfaces,
    ) -> None:
        self.refusals = refusals
        self._settings = settings
        self._interfaces = interfaces
        self._budgets = Budgets(settings.control_rate)
        self._denied = {each.socket: each.denied for each in settings.control_policy}

    def rules(self, address: ControlAddress) -> Access:
        """Those of the listener at ``address``. What strangers meet there is logged."""
        admitted, named = self._networks(address)
        return Access(
            admitted=admitted,
            named=named,
            denied=self._denied.get(address.text, frozenset()),
            budgets=self._budgets,
            refusals=self.refusals,
        )

    def _networks(self, address: ControlAddress) -> tuple[Networks | None, Networks | None]:
        settings = self._settings
        if address.kind not in (*INET_KINDS, "systemd"):
            return None, None
        if settings.control_allow:
            allowed = Networks(settings.control_allow)
            return allowed, allowed
        if address.kind in TLS_KINDS and settings.tls_client_cert:
            return None, None  # a certificate says more than an address
        near = Networks([*LOOPBACK, *self._own(address.host)])
        self._announce(address, near)
        return near, Networks(LOOPBACK)

    def _own(self, host: str) -> list[Network]:
        """The networks that the socket at ``host`` is in: a wildcard's are all of this host's."""
        everywhere = host in ("", "0.0.0.0", "::")
        found = _known(self._interfaces)
        return [each.network for each in found if everywhere or each.ip == ip_address(host)]

    def _announce(self, address: ControlAddress, near: Networks) -> None:
        option = spelled("control_allow")
        if address.host in ("0.0.0.0", "::"):
            _log.warn(
                "WARNING: control socket {socket} can be reached at every address of this host,"
                " and whoever is heard there can end every call. Only commands from {near} are"
                " answered; name your SIP proxies with {option} NET",
                socket=address.text,
                near=str(near),
                option=option,
            )
        elif address.kind in INET_KINDS and not ip_address(address.host).is_loopback:
            _log.info(
                "control socket {socket} answers {near} only; see {option}",
                socket=address.text,
                near=str(near),
                option=option,
            )


class OwnPlaces:
    """Tells whether this relay listens at an address: for commands, or for media.

    ``serves`` tells whether a leg has that port of a local host, which may be a wildcard.
    """

    def __init__(
        self,
        control: Iterable[ControlAddress],
        serves: Callable[[str, int], bool],
        local_for: Callable[[str], str | None] = local_for,
    ) -> None:
        found = [each for each in control if each.kind in INET_KINDS]
        self._control = frozenset((each.host, each.port) for each in found)
        self._serves = serves
        self._local_for = local_for

    def __call__(self, host: str, port: int) -> bool:
        """Whether we are at ``host`` and ``port``."""
        if (host, port) in self._control or self._serves(host, port):
            return True
        everywhere = "::" if ":" in host else "0.0.0.0"
        taken = (everywhere, port) in self._control or self._serves(everywhere, port)
        return taken and self._is_ours(host)

    def _is_ours(self, host: str) -> bool:
        return is_loopback(host) or self._local_for(host) == host


def copy_networks(
    settings: Settings, interfaces: Callable[[], Iterable[Own]] = own_interfaces
) -> Networks:
    """Where copies of media may go."""
    if settings.copy_allow:
        return Networks(settings.copy_allow)
    return Networks([*LOOPBACK, *(each.network for each in _known(interfaces))])


def _known(interfaces: Callable[[], Iterable[Own]]) -> list[Own]:
    try:
        return list(interfaces())
    except OSError as error:
        _log.error("this host's networks are not known: {error}", error=str(error))
        return []


class ControlGauges:
    """Metrics of who may command: what was refused, and until when certificates are valid.

    ``expiry`` gives the end of the first certificate to expire, in seconds since the epoch; None
    without TLS.
    """

    def __init__(self, refusals: Refusals, expiry: Callable[[], float | None]) -> None:
        self._refusals = refusals
        self._expiry = expiry

    def families(self) -> Iterator[Family]:
        """See Gauges."""
        yield labelled(
            "relay_control_refused_total",
            "counter",
            "Commands, connections and replies that were refused, by reason.",
            [
                ((("reason", each.name),), getattr(self._refusals, each.name))
                for each in fields(Refusals)
            ],
        )
        until = self._expiry()
        if until is not None:
            yield single(
                "relay_tls_certificate_expiry_timestamp_seconds",
                "gauge",
                "When the first certificate of the tls: control sockets expires.",
                until,
            )
