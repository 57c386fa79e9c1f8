"""Hearing that a party cannot be reached: ICMP errors about what was sent from media ports.

The kernel tells an unconnected UDP socket of such errors only where it asks for them, and then
lets its next send fail, which would lose a packet of media. A raw socket hears of them all and
disturbs none; it needs CAP_NET_RAW. Without that the relay does without.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.addresses import Address

LONGEST = 576
"""Octets read of one message: the headers of what could not be delivered are at its front."""

BUDGET = 32
"""Messages read in one turn of the reactor."""

_UDP = 17
_UNREACHABLE = 3
_FRAGMENTATION_NEEDED = 4
_UNREACHABLE6 = 1

_SOL_RAW = 255
_ICMP_FILTER = 1
_ICMP6_FILTER = 1

Unreachable = tuple[Address, Address]
"""Whence something was sent, and where it could not arrive."""


def unreachable(message: bytes) -> Unreachable | None:
    """What an ICMP message with its IPv4 header says of a UDP datagram sent from here.

    None where it says anything else. Raises nothing, whatever the bytes (RFC 792; RFC 1812
    section 4.3.2.3 on how much of the datagram it holds).
    """
    inner = _after_header(message)
    if inner is None or len(message) < inner + 8:
        return None
    if message[inner] != _UNREACHABLE or message[inner + 1] == _FRAGMENTATION_NEEDED:
        return None
    sent = message[inner + 8 :]
    udp = _after_header(sent)
    if udp is None or sent[9] != _UDP or len(sent) < udp + 4:
        return None
    local, remote = struct.unpack_from("!HH", sent, udp)
    return (
        (socket.inet_ntop(socket.AF_INET, sent[12:16]), local),
        (socket.inet_ntop(socket.AF_INET, sent[16:20]), remote),
    )


def unreachable6(message: bytes) -> Unreachable | None:
    """The same of an ICMPv6 message, which comes without its IPv6 header (RFC 4443 section 3.1).

    A datagram sent with extension headers is not ours.
    """
    if len(message) < 8 + 40 + 4 or message[0] != _UNREACHABLE6:
        return None
    sent = message[8:]
    if sent[0] >> 4 != 6 or sent[6] != _UDP:
        return None
    local, remote = struct.unpack_from("!HH", sent, 40)
    return (
        (socket.inet_ntop(socket.AF_INET6, sent[8:24]), local),
        (socket.inet_ntop(socket.AF_INET6, sent[24:40]), remote),
    )


def _after_header(packet: bytes) -> int | None:
    """Where an IPv4 header ends, None where there is none."""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    length = (packet[0] & 0x0F) * 4
    return length if 20 <= length <= len(packet) else None


@implementer(IReadDescriptor)
class _Reader:
    """One raw socket inside the reactor."""

    def __init__(
        self,
        sock: socket.socket,
        read: Callable[[bytes], Unreachable | None],
        tell: Callable[[Address, Address], None],
    ) -> None:
        self._socket = sock
        self._read = read
        self._tell = tell

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Who is at work when something goes wrong."""
        return "icmp"

    def doRead(self) -> None:
        """Read what has come, within the budget."""
        for _ in range(BUDGET):
            try:
                message = self._socket.recv(LONGEST)
            except OSError:
                return
            found = self._read(message)
            if found is not None:
                self._tell(*found)

    def connectionLost(self, reason: object) -> None:
        """The reactor lets go of it."""
        self._socket.close()


class IcmpListener(Service):
    """Calls ``tell(local, remote)`` for each datagram of this host that could not arrive.

    Sockets are opened while there are privileges; where there are none, nothing is ever told.
    """

    _log = Logger()

    def __init__(self, reactor: Any, tell: Callable[[Address, Address], None]) -> None:
        self._reactor = reactor
        self._tell = tell
        self._readers: list[_Reader] = []

    @property
    def hearing(self) -> bool:
        """Whether there is a socket to hear with."""
        return bool(self._readers)

    def privilegedStartService(self) -> None:
        """Open the sockets, before privileges are dropped."""
        super().privilegedStartService()
        self._open()

    def startService(self) -> None:
        """Begin to hear."""
        super().startService()
        if not self._readers:
            self._open()
        for reader in self._readers:
            self._reactor.addReader(reader)

    def stopService(self) -> None:
        """Close the sockets."""
        super().stopService()
        for reader in self._readers:
            self._reactor.removeReader(reader)
            reader.connectionLost(None)
        self._readers = []

    def _open(self) -> None:
        try:
            self._readers = [
                _Reader(sock, unreachable if sock.family == socket.AF_INET else unreachable6, tell)
                for sock, tell in ((each, self._tell) for each in _sockets())
            ]
        except PermissionError:
            self._log.info(
                "ICMP errors cannot be heard without CAP_NET_RAW: a party that refuses packets"
                " looks like one that never sent any"
            )


def _sockets() -> Iterator[socket.socket]:
    """A raw socket for each family there is. Raises PermissionError."""
    flags = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    sock = socket.socket(socket.AF_INET, flags, socket.IPPROTO_ICMP)
    # A filter tells what is not wanted by set bits (ICMPv4, one word; ICMPv6, eight).
    sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << _UNREACHABLE) & 0xFFFFFFFF))
    yield sock
    with suppress(OSError):
        sock = socket.socket(socket.AF_INET6, flags, socket.IPPROTO_ICMPV6)
        blocked = [0xFFFFFFFF] * 8
        blocked[0] &= ~(1 << _UNREACHABLE6)
        sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *blocked))
        yield sock
