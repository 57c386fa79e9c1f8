"""A connection to a listener, and what can be known of the lines it carried.

When has a line arrived? Twisted's buffer holds one line at a time, so it is known when the kernel
has taken a line. From then on the kernel tells how much of what it took is still unacknowledged
(TCP) or unread (UNIX): SIOCOUTQ, see tcp(7) and unix(7). And how the connection ends is telling:
a socket that is closed with unread data resets the connection (RFC 1122 section 4.2.2.13), so an
orderly end with nothing outstanding means that everything was read. Hence

* orderly end, nothing outstanding: everything has arrived;
* any other end: what is outstanding, or was written only some seconds ago, goes again;
* no end yet: what was written that long ago has arrived once nothing is outstanding.

What is left is a TCP listener that hangs for longer than that and is then killed: what its kernel
had taken is lost, and TCP has no means to notice.
"""

from __future__ import annotations

import fcntl
import struct
import termios
import typing
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer, ISystemHandle
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer


def unsent(transport: Any) -> int:
    """How much of what the kernel took is not with the peer yet; 0 where it cannot be known.

    Bytes for TCP; for UNIX sockets the kernel's own memory for them, so only 0 has a meaning.
    """
    if not ISystemHandle.providedBy(transport):
        return 0
    handle: Any = transport.getHandle()
    try:
        # SIOCOUTQ is another name of TIOCOUTQ.
        reply = fcntl.ioctl(handle, termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    (amount,) = struct.unpack("i", reply)
    return int(amount)


class Source(typing.Protocol):
    """Whence the lines come."""

    @property
    def leaving(self) -> bool:
        """Whether the connection is to be closed as soon as there is no line."""

    def take(self) -> bytes | None:
        """The next line, with its end."""

    def arrived(self, but_one: bool) -> None:
        """Everything taken has been read by the peer, except perhaps the last line."""

    def lost(self, reason: Failure) -> None:
        """The connection is gone."""


@implementer(IHalfCloseableProtocol, IPullProducer)
class Wire(Protocol):
    """The connection. Each line is a write, and a system call, of its own."""

    transport: Any

    def __init__(self, source: Source) -> None:
        self._source = source
        self._busy = False
        self._closing = False

    def connectionMade(self) -> None:
        """It is up: be asked for lines."""
        host, peer = self.transport.getHost(), self.transport.getPeer()
        if host == peer:
            # Nobody listens, and the kernel happened to choose the same port for this end: TCP
            # then connects a socket to itself (simultaneous open, RFC 9293 section 3.5).
            self.abort()
            return
        if isinstance(peer, (IPv4Address, IPv6Address)):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """The kernel has taken what it was given."""
        self._busy = False
        self.pump()

    def stopProducing(self) -> None:
        """The connection is going; connectionLost follows."""

    def pump(self) -> None:
        """Write the next line, unless one is still being written."""
        if self._busy or self._closing:
            return
        line = self._source.take()
        if line is not None:
            self._busy = True
            self.transport.write(line)
        elif self._source.leaving:
            self.close()

    @property
    def drained(self) -> bool:
        """Whether nothing is on its way to the peer."""
        return not self._busy and unsent(self.transport) == 0

    def dataReceived(self, data: bytes) -> None:
        """Some listeners answer each line; nobody wants to know."""

    def readConnectionLost(self) -> None:
        """The peer ended it in an orderly way."""
        outstanding = unsent(self.transport)
        if not outstanding:
            self._source.arrived(self._busy)
        if outstanding or self._busy:
            self.abort()
        else:
            self.close()

    def writeConnectionLost(self) -> None:
        """Part of the interface; this end never closes one direction alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone."""
        self._closing = True
        self._source.lost(reason)

    def close(self) -> None:
        """Close in an orderly way; no line may be on its way to the kernel."""
        self._closing = True
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self.transport.abortConnection()
