"""Cutting the bytes of control connections into commands. What they mean is not known here.

========  ==================================================================================
OneShot   ``unix:`` whatever the first read brings is one command; after the reply the relay
          closes. The usual clients send no newline there
Lines     ``cunix: tcp: tcp6: systemd: stdio:`` each line is a command, in order; the
          connection stays
========  ==================================================================================
"""

from __future__ import annotations

import typing
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtpproxy_tw.addresses import canonical
from rtpproxy_tw.commands import Origin
from rtpproxy_tw.control.access import Access
from rtpproxy_tw.control.responder import Responder

MAX_COMMAND = 8191
"""Octets of a command. The longest sensible ones have a few hundred; the original's buffer."""

FIRST_COMMAND = 30.0
"""Seconds within which a connection must bring its first command."""

STALLED = 30.0
"""Seconds after which a client that does not read its replies is given up."""

LINES_PER_TURN = 10
"""Commands of one connection that are executed in a row; then media and others have their turn."""


class Wire(typing.Protocol):
    """A stream transport, as far as control connections use it."""

    def write(self, data: bytes) -> None: ...
    def loseConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def getPeer(self) -> IAddress: ...
    def getHost(self) -> IAddress: ...


def host_of(address: object) -> str | None:
    """The numeric host of a transport's end, None where it has none."""
    host = getattr(address, "host", None)
    return None if host is None else numeric_host(host)


@lru_cache(maxsize=4096)
def numeric_host(host: str) -> str:
    """``host`` as the rest of the relay writes it."""
    try:
        return canonical(host)
    except ValueError:
        return host


def send(wire: Wire, reply: bytes) -> None:
    """Send ``reply`` at once, as far as it can be; what is left goes the transport's usual way.

    Twisted's sockets send in the reactor's next turn, and ask for that turn and call it off by a
    system call each: for a client that waits, a third of the time a command takes.
    """
    if (
        isinstance(wire, FileDescriptor)
        and wire.connected
        and not (wire.disconnecting or wire.dataBuffer or wire._tempDataBuffer)
        and not getattr(wire, "TLS", False)
    ):
        sent = wire.writeSomeData(reply)
        # An exception stands for a lost connection, which the transport finds out by itself.
        if isinstance(sent, int):
            reply = reply[sent:]
    if reply:
        wire.write(reply)


class Carried(typing.NamedTuple):
    """The state of a connection, between two turns of the reactor."""

    descriptor: int
    unsent: bytes
    """Replies the client has not taken yet."""
    unread: bytes
    """What it has sent and was not executed yet."""
    relaxed: bool
    """Whether nothing must come by any time."""


class ControlProtocol(Protocol):
    """What all control connections have: an origin, a deadline, a place among the open ones.

    ``idle`` is the seconds within which the first command must come (None: no limit), ``among``
    a set it is in as long as it is open, ``access`` what it may command.
    """

    def __init__(
        self,
        *,
        responder: Responder,
        kind: str,
        clock: IReactorTime,
        idle: float | None = FIRST_COMMAND,
        among: set[ControlProtocol] | None = None,
        access: Access | None = None,
    ) -> None:
        self._access = Access() if access is None else access
        self._responder = responder
        self._kind = kind
        self._clock = clock
        self._idle = idle
        self._among = set() if among is None else among
        self._origin = Origin(kind, denied=self._access.denied)
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._wire = typing.cast(Wire, self.transport)
        peer, local = self._wire.getPeer(), self._wire.getHost()
        denied = self._access.denied
        self._origin = Origin(self._kind, host_of(peer), host_of(local), denied)
        # Twisted's UNIX connections claim to be of TCP, too.
        if self._origin.peer is not None and ITCPTransport.providedBy(self.transport):
            # A reply must not wait for more, and a vanished client must be noticed some day.
            self.transport.setTcpNoDelay(True)
            with suppress(OSError):  # which costs no command
                self.transport.setTcpKeepAlive(True)
        if self._idle is not None:
            self._expect(self._idle, "no command came")
        self._among.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._relax()
        self._among.discard(self)

    def close(self) -> None:
        """Close in good order: what was answered is still sent, if the client takes it."""
        self._expect(STALLED, "replies were not read")
        self._wire.loseConnection()

    def carried(self) -> Carried | None:
        """What another process needs to go on with the connection; None: it cannot be gone on with.

        The transport must be one of ours, a plain socket.
        """
        wire = self._wire
        if not isinstance(wire, FileDescriptor) or wire.disconnecting or not wire.connected:
            return None
        unsent = wire.dataBuffer[wire.offset :] + b"".join(wire._tempDataBuffer)
        return Carried(wire.fileno(), unsent, b"", self._deadline is None)

    def go_on(self, carried: Carried) -> None:
        """Go on where another process was; what waits is executed in the reactor's next turn."""
        if carried.unsent:
            self._wire.write(carried.unsent)
        if carried.relaxed:
            self._relax()
        if carried.unread:
            self._clock.callLater(0, self.dataReceived, carried.unread)

    def _expect(self, seconds: float, otherwise: str) -> None:
        # Something must happen within that time, or the connection is cut.
        self._relax()
        self._deadline = self._clock.callLater(seconds, self._cut, otherwise)

    def _relax(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _cut(self, why: str) -> None:
        self._complain(why)
        # Pipes cannot be aborted.
        getattr(self._wire, "abortConnection", self._wire.loseConnection)()

    def _complain(self, why: str) -> None:
        peer = self._origin.peer or "a local client"
        self._responder.complain(why, f"{self._kind} control connection of {peer} closed: {why}")


class OneShot(ControlProtocol):
    """One command, one reply, end."""

    _answered = False

    def carried(self) -> Carried | None:
        """See ControlProtocol."""
        return None if self._answered else super().carried()

    def dataReceived(self, data: bytes) -> None:
        if self._answered:
            return
        self._answered = True
        # One that is too long is nothing to execute, least of all its beginning.
        command = data if len(data) <= MAX_COMMAND else b""
        waiting = self._responder.serve(command, self._origin, self._reply)
        if waiting is not None:
            waiting.addCallback(self._reply)

    def _reply(self, reply: bytes) -> None:
        send(self._wire, reply)
        self.close()


@implementer(IHalfCloseableProtocol, IPushProducer)
class Lines(ControlProtocol):
    """Any number of commands, each a line, each answered by one write, in order.

    Bounded in every direction: while commands wait for their turn, or the client does not read
    what it was answered, nothing more is read from it. ``at_end`` is called once when no further
    command can come; the output then stays open. Without it the connection is closed.
    """

    def __init__(
        self,
        *,
        responder: Responder,
        kind: str,
        clock: IReactorTime,
        idle: float | None = FIRST_COMMAND,
        among: set[ControlProtocol] | None = None,
        access: Access | None = None,
        at_end: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(
            responder=responder, kind=kind, clock=clock, idle=idle, among=among, access=access
        )
        self._at_end = at_end
        self._waiting: deque[bytes] = deque()
        self._partial = b""
        self._asked: bytes | None = None
        """The command that another node was asked to do; the next ones wait for its reply."""
        self._turn: IDelayedCall | None = None
        self._blocked = False
        self._paused = False
        self._ended = False
        self._closing = False

    def connectionMade(self) -> None:
        super().connectionMade()
        # Our replies are the product: the transport says when it has too many of them.
        self._wire.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._waiting.extend(lines)
        if self._turn is None:
            self._work()

    def carried(self) -> Carried | None:
        """See ControlProtocol."""
        found = super().carried()
        if found is None or self._closing or self._ended:
            return None
        asked = () if self._asked is None else (self._asked,)
        return found._replace(unread=b"\n".join((*asked, *self._waiting, self._partial)))

    def readConnectionLost(self) -> None:
        """The client sends no more; it still gets all its replies."""
        self._ended = True
        if self._turn is None:
            self._work()

    def writeConnectionLost(self) -> None:
        """The client reads no more: there is no use in executing anything."""
        self._waiting.clear()
        self._ended = True
        self._finish()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._closing = True
        self._waiting.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._tell_end()

    def pauseProducing(self) -> None:
        """The client leaves its replies lying."""
        self._blocked = True
        self._read(False)
        if not self._closing:
            self._expect(STALLED, "replies were not read")

    def resumeProducing(self) -> None:
        """The client has read its replies."""
        self._blocked = False
        if not self._closing:
            self._relax()
            if self._turn is None:
                self._work()

    def stopProducing(self) -> None:
        """The connection is gone; :meth:`connectionLost` follows."""

    def close(self) -> None:
        self._closing = True
        self._waiting.clear()
        # With a paused producer registered the transport would wait for it instead of closing.
        self._wire.unregisterProducer()
        super().close()

    def _work(self) -> None:
        self._turn = None
        pause = 0.0
        for _ in range(LINES_PER_TURN):
            if self._blocked or self._closing or self._asked is not None or not self._waiting:
                break
            pause = self._access.spend(self._origin.peer, self._clock.seconds())
            if pause:
                break
            self._answer(self._waiting.popleft())
        self._settle(pause)

    def _answer(self, line: bytes) -> None:
        if len(line) > MAX_COMMAND:
            self._complain("a line is too long")
            self.close()
            return
        self._relax()
        waiting = self._responder.serve(line, self._origin, self._send)
        if waiting is not None:
            self._asked = line
            self._read(False)
            waiting.addCallback(self._reply)

    def _send(self, reply: bytes) -> None:
        send(self._wire, reply)

    def _reply(self, reply: bytes) -> None:
        self._asked = None
        if not self._closing:
            send(self._wire, reply)
            if self._turn is None:
                self._work()

    def _settle(self, pause: float = 0.0) -> None:
        # What next: more of the commands at hand, more bytes from the client, or the end. A client
        # that has spent its budget waits, and nothing is read from it meanwhile.
        if self._closing or self._blocked or self._asked is not None:
            return
        if self._waiting:
            self._read(False)
            self._turn = self._clock.callLater(pause, self._work)
        elif len(self._partial) > MAX_COMMAND:
            self._complain("a line is too long")
            self.close()
        elif self._ended:
            self._finish()
        else:
            self._read(True)

    def _read(self, go_on: bool) -> None:
        if self._paused is go_on:
            self._paused = not go_on
            if go_on:
                self._wire.resumeProducing()
            else:
                self._wire.pauseProducing()

    def _finish(self) -> None:
        self._relax()
        if self._at_end is None:
            self.close()
        else:
            self._tell_end()

    def _cut(self, why: str) -> None:
        super()._cut(why)
        self._tell_end()

    def _tell_end(self) -> None:
        at_end, self._at_end = self._at_end, None
        if at_end is not None:
            at_end()
