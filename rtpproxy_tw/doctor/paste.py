"""The very lines for the configuration of the relay and of the SIP proxy beside it."""

from __future__ import annotations

from collections.abc import Sequence

from rtpproxy_tw.advertising import policy_of
from rtpproxy_tw.configuration.settings import ControlAddress, Settings
from rtpproxy_tw.configuration.toml_printer import string
from rtpproxy_tw.doctor.observed import Observed


def relay(seen: Sequence[Observed], settings: Settings) -> list[str]:
    """For the relay's file; what was seen outside stands after each address."""
    if settings.addresses.bridging:
        told = "/".join(_told(each) or each.host for each in seen)
        hosts = "/".join(each.host for each in seen)
        lines = [f"listen = [{string(hosts)}]", f"advertised = {string(told)}"]
    else:
        listen = ", ".join(string(_entry(each)) for each in seen)
        lines = [f"listen = [{listen}]"]
    return [
        *lines,
        f"min_port = {settings.min_port}",
        f"max_port = {settings.max_port + 1}",
    ]


def _entry(seen: Observed) -> str:
    label = "" if seen.label is None else f"{seen.label}@"
    told = _told(seen)
    return f"{label}{seen.host}" if told is None else f"{label}{seen.host}={told}"


def _told(seen: Observed) -> str | None:
    """What is to be told in place of the address itself."""
    if policy_of(seen.advertised) is not None:
        return seen.advertised
    if seen.outside is None:
        return seen.advertised
    return None if seen.outside == seen.host else seen.outside


def kamailio(settings: Settings) -> list[str]:
    """For kamailio.cfg."""
    return [
        'loadmodule "rtpproxy.so"',
        f'modparam("rtpproxy", "rtpproxy_sock", "{_socket(settings)}")',
        "# in the route of INVITE, ACK and 200 with SDP; the relay's reply names the address:",
        'rtpproxy_manage("co");',
    ]


def opensips(settings: Settings) -> list[str]:
    """For opensips.cfg."""
    return [
        'loadmodule "rtpproxy.so"',
        f'modparam("rtpproxy", "rtpproxy_sock", "{_socket(settings)}")',
        "# in the route of the INVITE; the relay's reply names the address:",
        'rtpproxy_engage("co");',
    ]


def _socket(settings: Settings) -> str:
    """As both SIP proxies write where commands go; their own host, where the relay takes all."""
    address = next(
        (each for each in settings.control if each.kind in ("udp", "udp6", "unix")),
        ControlAddress("unix", "/run/rtpproxy-tw/rtpproxy.sock"),
    )
    if address.kind == "unix":
        return f"unix:{address.host}"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    return f"udp6:[{host}]:{address.port}" if ":" in host else f"udp:{host}:{address.port}"
