"""From configured control addresses to listeners that are ready to start."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService
from twisted.internet.stdio import StandardIO
from twisted.logger import Logger

from rtpproxy_tw.configuration.settings import TLS_KINDS, ControlAddress, Settings
from rtpproxy_tw.continuity.heirlooms import Heirlooms, name_of
from rtpproxy_tw.control.access import Access
from rtpproxy_tw.control.datagrams import Datagrams
from rtpproxy_tw.control.factories import ControlFactory, LinesFactory, OneShotFactory
from rtpproxy_tw.control.framing import Lines
from rtpproxy_tw.control.listeners import (
    ControlEndpoint,
    Listener,
    Stdio,
    datagrams,
    stream,
    systemd,
    tcp,
)
from rtpproxy_tw.control.responder import Responder
from rtpproxy_tw.control_access import Admission, ControlGauges
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.timers import every
from rtpproxy_tw.tools.paths import claim_socket_path, own_socket

if TYPE_CHECKING:
    from rtpproxy_tw.control.tls import TlsIdentity

TLS_LOOK = 5.0
"""Seconds between two looks whether certificates have changed."""

SOCKET_MODE = 0o660
"""Permission bits of UNIX control sockets: whoever reaches one can end every call."""


class ControlSockets:
    """Makes the listeners of all configured control sockets.

    ``wall`` gives seconds since the epoch: certificates are valid until a date.
    """

    log = Logger()

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        responder: Responder,
        wall: Callable[[], float] = time.time,
        heirlooms: Heirlooms | None = None,
    ) -> None:
        self._heirlooms = heirlooms or Heirlooms()
        self._open_as: dict[str, Listener | Stdio] = {}
        self.datagrams: dict[str, Datagrams] = {}
        """The protocols of UDP sockets, by name."""
        self.factories: dict[str, ControlFactory] = {}
        """Those of the connections of stream sockets without TLS, by name."""
        self.admission = Admission(settings, responder.refusals)
        self.tls = self._identity(settings, wall)
        self._settings = settings
        self._reactor = reactor
        self._responder = responder
        self.at_end: Callable[[], object] = lambda: None
        """Called at the end of a standard input that decides over the process."""
        made = [self._listener(address) for address in settings.control]
        self.listeners = [listener for listener in made if listener is not None]
        if not self.listeners:
            raise ConfigError("no control socket can be opened; name a free one with -s")

    @property
    def services(self) -> tuple[IService, ...]:
        """What runs beside the listeners: somebody looks whether certificates have changed."""
        if self.tls is None:
            return ()
        return (every(TLS_LOOK, self._reactor, self.tls.tick),)

    @property
    def gauges(self) -> ControlGauges:
        """Metrics of who may command."""
        return ControlGauges(self.admission.refusals, self._expiry)

    @property
    def descriptors(self) -> dict[str, int]:
        """Those of the sockets that are open, by name."""
        found = {name: listener.descriptor for name, listener in self._open_as.items()}
        return {name: number for name, number in found.items() if number is not None}

    def reload(self) -> list[str]:
        """Read again what can be: the names of it. Connections stay. Raises ConfigError."""
        if self.tls is None:
            return []
        self.tls.reload()
        return ["certificates"]

    def _expiry(self) -> float | None:
        if self.tls is None:
            return None
        return min(each.until for each in self.tls.expiries)

    def _listener(self, address: ControlAddress) -> Listener | Stdio | None:
        try:
            made = self._open(address)
            self._open_as[name_of(address.kind, address.host, address.port)] = made
            return made
        except (ConfigError, OSError) as error:
            if address.named:
                raise ConfigError(f"control socket {address.text}: {error}") from error
            self.log.warn(
                "default control socket {socket} left out: {error}",
                socket=address.text,
                error=str(error),
            )
            return None

    def _open(self, address: ControlAddress) -> Listener | Stdio:
        kind, host, port, _ = address
        reactor = self._reactor
        access = self.admission.rules(address)
        # What another node has now may come here later.
        free = self._settings.redis is not None
        passed = self._heirlooms.take(kind, host, port)
        match kind:
            case "unix" | "cunix":
                if passed is None:
                    claim_socket_path(host)
                factory = OneShotFactory if kind == "unix" else LinesFactory
                made = factory(responder=self._responder, kind=kind, clock=reactor, access=access)
                self.factories[name_of(kind, host, port)] = made
                mode = self._mode()
                return Listener(
                    stream(ControlEndpoint(reactor, host, mode, passed), made),
                    lambda _: self._own(host, mode),
                )
            case "tcp" | "tcp6":
                lines = self.factories[name_of(kind, host, port)] = self._lines(kind, access)
                return Listener(stream(tcp(reactor, host, port, passed, free), lines))
            case "tls" | "tls6":
                return Listener(
                    stream(tcp(reactor, host, port, passed, free), self._secured(kind, access))
                )
            case "udp" | "udp6":
                protocol = Datagrams(
                    responder=self._responder, kind=kind, clock=reactor, access=access
                )
                self.datagrams[name_of(kind, host, port)] = protocol
                return Listener(datagrams(reactor, protocol, host, port, passed, free))
            case "systemd":
                endpoint = systemd(reactor) if passed is None else systemd(reactor, passed.detach())
                return Listener(stream(endpoint, self._lines(kind, access)))
            case _:
                return self._stdio(kind, access)

    def _lines(self, kind: str, access: Access) -> LinesFactory:
        return LinesFactory(
            responder=self._responder, kind=kind, clock=self._reactor, access=access
        )

    def _secured(self, kind: str, access: Access) -> Any:
        from rtpproxy_tw.control.tls import HANDSHAKE, TlsLinesFactory, secured

        assert self.tls is not None, "made before the first of them is opened"
        factory = TlsLinesFactory(
            responder=self._responder,
            kind=kind,
            clock=self._reactor,
            idle=HANDSHAKE,
            access=access,
        )
        return secured(self.tls, factory)

    def _identity(self, settings: Settings, wall: Callable[[], float]) -> TlsIdentity | None:
        if all(address.kind not in TLS_KINDS for address in settings.control):
            return None
        try:
            from rtpproxy_tw.control.tls import TlsFiles, TlsIdentity
        except ImportError as error:
            raise ConfigError("tls: needs pyOpenSSL: pip install 'rtpproxy-tw[tls]'") from error
        certificate = settings.tls_cert
        assert certificate is not None, "the settings see to it"
        authority = settings.tls_ca if settings.tls_client_cert else None
        return TlsIdentity(TlsFiles(certificate, settings.tls_key or certificate, authority), wall)

    def _stdio(self, kind: str, access: Access) -> Stdio:
        # The end of the input ends the process only where nobody else can command it.
        alone = all(other.kind in ("stdio", "stdioc") for other in self._settings.control)
        decisive = alone or kind == "stdioc"
        protocol = Lines(
            responder=self._responder,
            kind=kind,
            clock=self._reactor,
            idle=None,
            access=access,
            at_end=self._end_of_input if decisive else lambda: None,
        )
        return Stdio(protocol, lambda wired: StandardIO(wired, reactor=self._reactor))

    def _end_of_input(self) -> None:
        self.at_end()

    def _mode(self) -> int:
        settings = self._settings
        if settings.socket_mode is not None and settings.group is not None:
            return settings.socket_mode
        return SOCKET_MODE

    def _own(self, path: str, mode: int) -> None:
        own_socket(path, self._settings.user, self._settings.group, mode)
