"""The addresses of this host and the networks they are in, asked of the kernel (rtnetlink(7))."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

Own = IPv4Interface | IPv6Interface
"""An address of ours with the length of its network's prefix."""

RTM_GETADDR, RTM_NEWADDR = 22, 20
RTM_GETROUTE, RTM_NEWROUTE = 26, 24
RTA_DST, RTA_SRC, RTA_OIF = 1, 2, 4
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
IFA_ADDRESS, IFA_LOCAL = 1, 2

_HEADER = struct.Struct("=IHHII")
"""Of a netlink message: length, type, flags, sequence number, port."""
_ADDRESS = struct.Struct("=BBBBI")
"""struct ifaddrmsg: family, prefix length, flags, scope, interface."""
_ROUTE = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, lengths of destination and source, and what is zero in a question."""
_ATTRIBUTE = struct.Struct("=HH")
"""struct rtattr: length, type."""


def own_interfaces() -> list[Own]:
    """Every address this host has now. Raises OSError where the kernel does not tell."""
    request = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    length = _HEADER.size + len(request)
    flags = NLM_F_REQUEST | NLM_F_DUMP
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asked:
        asked.settimeout(2.0)  # the kernel answers within the call; this is for oddities
        asked.send(_HEADER.pack(length, RTM_GETADDR, flags, 1, 0) + request)
        found: list[Own] = []
        more = True
        while more:
            more = _read(asked.recv(65536), found)
        return found


def route_device(to: str, source: str) -> int | None:
    """The number of the device by which packets from ``source`` leave to ``to``.

    None where there is no way, or the kernel does not tell.
    """
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    there, here = (socket.inet_pton(family, host) for host in (to, source))
    bits = 8 * len(there)
    body = _ROUTE.pack(family, bits, bits, 0, 0, 0, 0, 0, 0)
    for kind, octets in ((RTA_DST, there), (RTA_SRC, here)):
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(octets), kind) + octets
    length = _HEADER.size + len(body)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asked:
            asked.settimeout(2.0)
            asked.send(_HEADER.pack(length, RTM_GETROUTE, NLM_F_REQUEST, 1, 0) + body)
            answer = asked.recv(65536)
    except OSError:
        return None
    for kind, told in _messages(answer):
        if kind == RTM_NEWROUTE:
            device = _attributes(told, _ROUTE.size).get(RTA_OIF)
            return None if device is None else int.from_bytes(device, sys.byteorder)
    return None


def _read(answer: bytes, found: list[Own]) -> bool:
    """Add what is told; whether more is to come. Raises OSError."""
    for kind, body in _messages(answer):
        if kind == NLMSG_DONE:
            return False
        if kind == NLMSG_ERROR:
            raise OSError(-struct.unpack_from("=i", body)[0], "the kernel lists no addresses")
        if kind == RTM_NEWADDR:
            found += _addresses(body)
    return True


def _messages(octets: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(octets):
        length, kind, *_ = _HEADER.unpack_from(octets, at)
        yield kind, octets[at + _HEADER.size : at + length]
        at += max(_HEADER.size, (length + 3) & ~3)


def _addresses(body: bytes) -> Iterator[Own]:
    family, prefix, *_ = _ADDRESS.unpack_from(body)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return
    told = _attributes(body, _ADDRESS.size)
    # With a peer at the other end of a line ADDRESS is that peer's; without, LOCAL may lack.
    octets = told.get(IFA_LOCAL) or told.get(IFA_ADDRESS)
    if octets is not None:
        yield ip_interface(f"{socket.inet_ntop(family, octets)}/{prefix}")


def _attributes(body: bytes, at: int) -> dict[int, bytes]:
    told: dict[int, bytes] = {}
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        told[kind] = body[at + _ATTRIBUTE.size : at + length]
        at += max(_ATTRIBUTE.size, (length + 3) & ~3)
    return told
