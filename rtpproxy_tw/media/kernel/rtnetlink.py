"""Asking this host's network: its devices, its addresses, the way to a destination."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from rtpproxy_tw.addresses import Address, family_of
from rtpproxy_tw.media.kernel import netlink

NEW_LINK, DEL_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, DEL_ADDRESS, GET_ADDRESS = 20, 21, 22
NEW_ROUTE, DEL_ROUTE, GET_ROUTE = 24, 25, 26
NEW_NEIGHBOUR, DEL_NEIGHBOUR, GET_NEIGHBOUR = 28, 29, 30
NEW_RULE, GET_RULE = 32, 34

GROUP_LINK = 1
GROUPS = (GROUP_LINK, 3, 4, 5, 7, 8, 9, 11, 19, 32)
"""Links; neighbours; queues and filters; addresses, routes and rules of IPv4 and IPv6 (5, 7, 8; 9,
11, 19); next hops."""

_ADD_MEMBERSHIP = 1
_SOL_NETLINK = 270

LINK = Struct("BxHiII")
ADDRESS = Struct("BBBBI")
ROUTE = Struct("BBBBBBBBI")
NEIGHBOUR = Struct("BxxxiHBB")

ETHERNET = 1
LOOPBACK = 772
BARE = 65534
"""Kinds of device (ARPHRD_*); the last has packets without any link header."""

UP = 1

UNICAST = 1
LOCAL = 2

_IFLA_ADDRESS, _IFLA_NAME, _IFLA_MTU, _IFLA_QDISC, _IFLA_INFO = 1, 3, 4, 6, 18
_IFLA_OTHER_NAMESPACE = 37
_INFO_KIND = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_DST, _SRC, _OIF, _GATEWAY, _PREFSRC, _METRICS, _VIA = 1, 2, 4, 5, 7, 8, 18
_IP_PROTOCOL, _SOURCE_PORT, _PORT = 27, 28, 29
_METRIC_MTU, _METRIC_HOPS = 2, 10
_RULE_SOURCE_PORTS, _RULE_PORTS = 23, 24
_NDA_DST, _NDA_ADDRESS = 1, 2

_PROXY = 8
"""NTF_PROXY: the entry is of somebody whom this host answers for."""

_KNOWN = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80
"""NUD_REACHABLE, STALE, DELAY, PROBE, NOARP, PERMANENT: the kernel sends to the address it has. In
the others, INCOMPLETE and FAILED, it sends nothing."""

RECEIVE = 1 << 16
RECEIVE_BUFFER = 1 << 20


class Link(NamedTuple):
    """A network device."""

    device: int
    """Interface index."""
    name: str
    kind: int
    up: bool
    mtu: int
    address: bytes
    """Its own hardware address."""
    paired: bool = False
    """It is an end of a pair (veth) whose other end is in another network namespace, and what it
    sends waits in no queueing discipline."""


class Neighbour(NamedTuple):
    """What the kernel knows of a host beside this one."""

    device: int
    host: str
    address: bytes
    """Its hardware address; empty where the kernel has none that it would send to."""


class Way(NamedTuple):
    """How the kernel would send a datagram."""

    kind: int
    """UNICAST, LOCAL, or something that is no single host."""
    device: int
    host: str
    """The local address it would leave from."""
    via: str
    """The next hop: a gateway or the destination itself."""
    mtu: int
    """Of the route, 0 where it has none of its own."""
    hops: int
    """TTL of the route, 0 where it has none of its own."""


def parse_link(body: bytes) -> Link:
    """A device out of NEW_LINK or DEL_LINK."""
    _family, kind, index, flags, _change = LINK.unpack_from(body)
    found = netlink.attributes(body[LINK.size :])
    name, mtu = netlink.text(found, _IFLA_NAME), netlink.number(found, _IFLA_MTU)
    information = netlink.attributes(found.get(_IFLA_INFO, b""))
    paired = (
        netlink.text(information, _INFO_KIND) == "veth"
        and _IFLA_OTHER_NAMESPACE in found
        and netlink.text(found, _IFLA_QDISC) == "noqueue"
    )
    return Link(index, name, kind, bool(flags & UP), mtu, found.get(_IFLA_ADDRESS, b""), paired)


def parse_neighbour(body: bytes) -> Neighbour | None:
    """A neighbour out of NEW_NEIGHBOUR or DEL_NEIGHBOUR; None: of a bridge, or a proxy's."""
    family, device, state, flags, _kind = NEIGHBOUR.unpack_from(body)
    found = netlink.attributes(body[NEIGHBOUR.size :])
    if family not in (socket.AF_INET, socket.AF_INET6) or flags & _PROXY or _NDA_DST not in found:
        return None
    address = found.get(_NDA_ADDRESS, b"") if state & _KNOWN else b""
    return Neighbour(device, socket.inet_ntop(family, found[_NDA_DST]), address)


def parse_address(body: bytes) -> str:
    """The host's own address out of NEW_ADDRESS."""
    family = ADDRESS.unpack_from(body)[0]
    found = netlink.attributes(body[ADDRESS.size :])
    return socket.inet_ntop(family, found.get(_IFA_LOCAL) or found[_IFA_ADDRESS])


def parse_way(body: bytes, to: str) -> Way:
    """The answer to GET_ROUTE."""
    family, kind = ROUTE.unpack_from(body)[0], ROUTE.unpack_from(body)[7]
    found = netlink.attributes(body[ROUTE.size :])
    metrics = netlink.attributes(found.get(_METRICS, b""))
    via = to
    if _GATEWAY in found:
        via = socket.inet_ntop(family, found[_GATEWAY])
    elif _VIA in found:  # a gateway of the other family (RFC 8950)
        through = int.from_bytes(found[_VIA][:2], "little")
        via = socket.inet_ntop(through, found[_VIA][2:])
    source = found.get(_PREFSRC) or found.get(_SRC)
    return Way(
        kind,
        netlink.number(found, _OIF),
        socket.inet_ntop(family, source) if source else "",
        via,
        netlink.number(metrics, _METRIC_MTU),
        netlink.number(metrics, _METRIC_HOPS),
    )


def way_request(out: Address, to: Address, tos: int) -> bytes:
    """The body of GET_ROUTE for a datagram from the socket ``out``."""
    family = family_of(to[0])
    bits = 128 if family == socket.AF_INET6 else 32
    wildcard = out[0] in ("0.0.0.0", "::")
    body = ROUTE.pack(family, bits, 0 if wildcard else bits, tos & 0xFC, 0, 0, 0, 0, 0)
    body += netlink.attribute(_DST, socket.inet_pton(family, to[0]))
    if not wildcard:
        body += netlink.attribute(_SRC, socket.inet_pton(family, out[0]))
    body += netlink.attribute(_IP_PROTOCOL, bytes((socket.IPPROTO_UDP,)))
    body += netlink.attribute(_SOURCE_PORT, out[1].to_bytes(2, "big"))
    return body + netlink.attribute(_PORT, to[1].to_bytes(2, "big"))


class Requests:
    """Questions to the kernel, which answers within the call."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        """Raises OSError."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.settimeout(2.0)
        self._sequence = 0

    def ask(self, kind: int, body: bytes, flags: int = 0) -> list[netlink.Message]:
        """What the kernel answers; empty after a mere acknowledgement. Raises OSError."""
        self._sequence += 1
        self._socket.send(netlink.request(kind, self._sequence, flags, body))
        answers: list[netlink.Message] = []
        while True:
            for message in netlink.messages(self._socket.recv(RECEIVE)):
                if message.sequence != self._sequence:
                    continue
                if message.kind == netlink.ERROR:
                    netlink.raise_for(message)
                    return answers
                if message.kind == netlink.DONE:
                    return answers
                answers.append(message)
                if not flags & (netlink.DUMP | netlink.ACKNOWLEDGE):
                    return answers

    def links(self) -> list[Link]:
        """All devices. Raises OSError."""
        answers = self.ask(GET_LINK, LINK.pack(0, 0, 0, 0, 0), netlink.DUMP)
        return [parse_link(it.body) for it in answers if it.kind == NEW_LINK]

    def hosts(self) -> set[str]:
        """All addresses of this host. Raises OSError."""
        answers = self.ask(GET_ADDRESS, ADDRESS.pack(0, 0, 0, 0, 0), netlink.DUMP)
        return {parse_address(it.body) for it in answers if it.kind == NEW_ADDRESS}

    def neighbours(self) -> list[Neighbour]:
        """All neighbours of this host. Raises OSError."""
        answers = self.ask(GET_NEIGHBOUR, NEIGHBOUR.pack(0, 0, 0, 0, 0), netlink.DUMP)
        found = (parse_neighbour(it.body) for it in answers if it.kind == NEW_NEIGHBOUR)
        return [it for it in found if it is not None]

    def neighbour(self, device: int, host: str) -> bytes:
        """The hardware address of one, empty where there is none. Raises OSError."""
        family = family_of(host)
        body = NEIGHBOUR.pack(family, device, 0, 0, 0)
        body += netlink.attribute(_NDA_DST, socket.inet_pton(family, host))
        try:
            (answer,) = self.ask(GET_NEIGHBOUR, body)
        except FileNotFoundError:
            return b""
        found = parse_neighbour(answer.body)
        return found.address if found is not None else b""

    def by_port(self) -> bool:
        """Whether any routing rule asks for ports. Raises OSError."""
        answers = self.ask(GET_RULE, ROUTE.pack(*bytes(8), 0), netlink.DUMP)
        rules = (netlink.attributes(it.body[ROUTE.size :]) for it in answers if it.kind == NEW_RULE)
        return any(_RULE_SOURCE_PORTS in it or _RULE_PORTS in it for it in rules)

    def way(self, out: Address, to: Address, tos: int) -> Way:
        """How a datagram would go. Raises OSError where none leads there."""
        (answer,) = self.ask(GET_ROUTE, way_request(out, to, tos))
        return parse_way(answer.body, to[0])

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


def listener() -> socket.socket:
    """A socket that hears of changes. Raises OSError."""
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind((0, 0))
    except OSError:
        sock.close()
        raise
    for group in GROUPS:
        try:
            sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError:
            continue  # a kernel without IPv6 or without next hops
    return sock


def news(sock: socket.socket) -> Iterator[netlink.Message]:
    """What has happened. Raises OSError: BlockingIOError at the end, ENOBUFS where some is lost."""
    while True:
        yield from netlink.messages(sock.recv(RECEIVE))
