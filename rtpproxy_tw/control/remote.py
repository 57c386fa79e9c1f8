"""Numeric addresses as commands write them."""

from __future__ import annotations

import re
import socket
from functools import lru_cache
from ipaddress import IPv6Address

from rtpproxy_tw.addresses import is_peer
from rtpproxy_tw.commands import Remote
from rtpproxy_tw.control.escape import token
from rtpproxy_tw.control.tokens import integer
from rtpproxy_tw.errors import CommandError

LENGTHS: dict[int, range] = {socket.AF_INET: range(7, 16), socket.AF_INET6: range(2, 46)}
"""How long an address of each family can be; anything else is not even looked at."""

_NUMERIC4 = re.compile(rb"[0-9a-fA-FxX.]+")


@lru_cache(maxsize=4096)
def numeric(word: bytes, family: int) -> str | None:
    """The canonical text of an address of that family, None where ``word`` is none.

    IPv4 is read as ``inet_aton`` does, short and octal forms included. IPv6 is read without a
    scope: the relay has no socket that is bound to one interface. Remembered, as a SIP proxy
    names the same gateways all day.
    """
    try:
        if family == socket.AF_INET6:
            return None if b"%" in word else str(IPv6Address(word.decode("ascii")))
        # inet_aton itself ignores whatever follows white space, vertical tabs among them.
        if _NUMERIC4.fullmatch(word) is None:
            return None
        return socket.inet_ntoa(socket.inet_aton(word.decode("ascii")))
    except (ValueError, OSError):
        return None


def remote(host: bytes, port: bytes, family: int) -> Remote:
    """Where a party receives media. Raises CommandError 37.

    IPv4 written as IPv6 (``::ffff:192.0.2.1``) is IPv4. Hosts where no single party can be reached
    (multicast, broadcast, and IPv4 where IPv6 is asked for, for which an IPv6 socket is of no use)
    are taken as unknown.
    """
    if family == socket.AF_INET:
        host = _unmapped(host)
    if len(host) not in LENGTHS[family]:
        return Remote()
    number = integer(port)
    if number is None or not 0 <= number <= 65535:
        raise CommandError(37, f"remote port {token(port)} is not a port number")
    found = numeric(host, family)
    if found is None:
        wanted = "IPv6" if family == socket.AF_INET6 else "IPv4"
        raise CommandError(37, f"remote address {token(host)} is not a numeric {wanted} address")
    if found in ("0.0.0.0", "::"):
        return Remote(hold=True)
    if not is_peer(found) or found.startswith("::ffff:"):
        return Remote()
    return Remote((found, number))


def _unmapped(host: bytes) -> bytes:
    if host[:7].lower() != b"::ffff:" or len(host) > LENGTHS[socket.AF_INET6][-1]:
        return host
    try:
        mapped = IPv6Address(host.decode("ascii")).ipv4_mapped
    except ValueError:
        return host
    return host if mapped is None else str(mapped).encode()
