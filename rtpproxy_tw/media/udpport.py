"""One media socket inside the Twisted reactor: a UDP port without Twisted's traps.

``twisted.internet.udp.Port`` was measured to cut long datagrams silently, to let one flooded port
hold the loop (256 KiB a turn, for ever with empty datagrams), to raise out of ``write`` for what a
stranger can cause, to check every destination as text, and to be closed by one ICMP error once it
is connected. This port is never connected, reads whole datagrams, at most ``BUDGET`` a turn, and
its ``send`` answers False instead of raising.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import defer, udp
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from rtpproxy_tw.addresses import Address, family_of

LONGEST = 65_535
"""Octets; no UDP datagram is longer, so none is ever cut."""

BUDGET = 16
"""Datagrams read from one port before others get their turn."""

BACKLOG = 1_000
"""Datagrams read from one port where others must wait for its queue to be empty: more than the
kernel keeps there by default."""

RECEIVE_BUFFER = 256 * 1024
"""Octets of kernel receive buffer, as the original asks for."""

_KIND = int(socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


FREEBIND = {socket.AF_INET: (socket.IPPROTO_IP, 15), socket.AF_INET6: (socket.IPPROTO_IPV6, 78)}
"""IP_FREEBIND and IPV6_FREEBIND, ip(7) and ipv6(7), which Python has no names for."""


def bind_media(host: str, port: int, tos: int, free: bool = False) -> socket.socket:
    """A non-blocking UDP socket on ``host`` and ``port`` that marks what it sends with ``tos``.

    ``free``: the address need not be on an interface yet.

    Raises OSError, having closed what it opened.
    """
    family = family_of(host)
    sock = socket.socket(family, _KIND)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        mark(sock, tos, family)
        if free:
            sock.setsockopt(*FREEBIND[socket.AddressFamily(family)], 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def mark(sock: socket.socket, tos: int, family: int | None = None) -> None:
    """Set the TOS octet (IPv4) or traffic class (IPv6) of outgoing packets. Raises OSError."""
    if (sock.family if family is None else family) == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)


class MediaPort(udp.Port):
    """A listening port for an already bound socket. ``send_errors`` counts refused sends."""

    _log = Logger()

    def __init__(self, sock: socket.socket, protocol: DatagramProtocol, reactor: Any) -> None:
        host, number = sock.getsockname()[:2]
        super().__init__(number, protocol, interface=host, maxPacketSize=LONGEST, reactor=reactor)
        self.socket = sock
        self.send_errors = 0
        self._failures = 0

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self.socket.fileno()

    def startListening(self) -> None:
        """Start reading; the socket is bound already."""
        self.connected = True
        self.protocol.makeConnection(self)
        self.startReading()

    def stopListening(self) -> defer.Deferred[None]:
        """Close at once, so that the only pair of a small range can be had again at once.

        Safe within a turn of the reactor: it forgets the descriptor before it is closed.
        """
        if self.connected:
            self.connected = False
            self.stopReading()
            self.protocol.doStop()
            self.socket.close()
        return defer.succeed(None)

    def connectionLost(self, reason: object = None) -> None:
        """The reactor saw an error on the descriptor, or is shutting down."""
        self.stopListening()

    def doRead(self) -> None:
        """Read and hand on at most BUDGET datagrams; the reactor comes back for the rest."""
        self._read(BUDGET)

    def _read(self, most: int) -> None:
        receive = self.socket.recvfrom
        deliver = cast(Callable[[bytes, Address], None], self.protocol.datagramReceived)
        for _ in range(most):
            try:
                datagram, source = receive(LONGEST)
            except OSError:
                return  # nothing more, or an ICMP error that concerns no one here
            try:
                deliver(datagram, source[:2])
            except Exception:
                self._failed()
            if not self.connected:
                return

    def send(self, datagram: bytes, to: Address) -> bool:
        """Send ``datagram``; False, and counted, where the kernel refuses."""
        try:
            self.socket.sendto(datagram, to)
        except (OSError, OverflowError):
            self.send_errors += 1
            return False
        return True

    def fold(self) -> None:
        """See Sender: they always are."""

    def drain(self) -> None:
        """Have what waits handled now, until nothing does or BACKLOG datagrams were read."""
        self._read(BACKLOG)

    def mark(self, tos: int) -> None:
        """Change the TOS of what is sent from now on."""
        try:
            mark(self.socket, tos)
        except OSError as error:
            self._log.warn("cannot set TOS {tos}: {error}", tos=tos, error=error)

    def _failed(self) -> None:
        # A bug, not a stranger's doing. Told at the 1st, 10th, 100th … time: a packet stream must
        # not become a log stream.
        self._failures += 1
        if self._failures in (1, 10, 100) or self._failures % 1000 == 0:
            self._log.failure(
                "a packet could not be handled ({count} so far)", count=self._failures
            )


OUT_OF_DESCRIPTORS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""Bind errors that another port number would not cure."""

PORT_TAKEN = frozenset((errno.EADDRINUSE, errno.EACCES, errno.EPERM))
"""Bind errors after which the next pair is tried."""
