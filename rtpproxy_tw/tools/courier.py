"""Commands that travel over one connection: lines out, replies back in the same order.

What ``rtpproxy-tlsproxy`` is made of; nothing here knows of TLS but the words of its errors.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener, IReactorTime
from twisted.internet.protocol import DatagramProtocol, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.control.access import Networks
from rtpproxy_tw.control.framing import MAX_COMMAND
from rtpproxy_tw.control.replies import ReplyCache
from rtpproxy_tw.control.tls import why_of
from rtpproxy_tw.control.tokens import split_cookie

PATIENCE = 4.0
"""Seconds a command waits for its reply or for a connection; SIP proxies wait 1 to 5."""

MOST_WAITING = 5000
"""Commands that wait at a time; further ones are not answered."""

MAX_REPLY = 65_536
"""Octets of a reply; the relay's longest are 1024."""

Answer = Callable[[bytes | None], None]
"""Takes the reply without its end, or None where there will be none."""


_END = re.compile(rb"E?[0-9]+\r?$")
"""The reply to ``V``, which ends the lines of another reply."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A command, and what has come of its reply.

    All replies are one line, but for that of ``I``. So a ``V`` follows each ``I``, whose reply
    cannot be mistaken for a further line of it.
    """

    line: bytes
    answer: Answer
    deadline: float
    lines: list[bytes] = field(default_factory=list)

    @property
    def sent(self) -> bytes:
        """What goes to the relay."""
        return self.line + b"\nV" if self._has_more else self.line

    def take(self, line: bytes) -> bool:
        """A line of the reply; whether it was the last one."""
        if self._has_more and self.lines and _END.match(line):
            return True
        self.lines.append(line)
        return not self._has_more

    @property
    def _has_more(self) -> bool:
        return self.line[:1] in b"Ii"


@implementer(IHandshakeListener)
class Relay(Protocol):
    """The connection to the relay: lines out, replies in, in the same order."""

    transport: Any

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._partial = b""

    def connectionMade(self) -> None:
        """It is not yet known who is there."""
        assert self.transport is not None
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)

    def handshakeCompleted(self) -> None:
        """It is the relay. It wants a command soon, and so do we want to know that it answers."""
        self._courier.connected(self)

    def dataReceived(self, data: bytes) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._courier.replied(line)
        if len(self._partial) > MAX_REPLY:
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._courier.disconnected(reason)

    def send(self, line: bytes) -> None:
        """One command."""
        assert self.transport is not None
        self.transport.write(line + b"\n")

    def abort(self) -> None:
        """Give the connection up; another one will be made."""
        assert self.transport is not None
        self.transport.abortConnection()


class Courier:
    """Commands that wait for the connection, and those that wait for their replies.

    ``clock`` calls :meth:`tick` by itself while anything waits.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._relay: Relay | None = None
        self._unsent: deque[_Waiting] = deque()
        self._sent: deque[_Waiting] = deque()
        self._ticking = False

    def send(self, line: bytes, answer: Answer) -> None:
        """Have ``line`` executed; ``answer`` is called once."""
        if len(self._unsent) + len(self._sent) >= MOST_WAITING:
            answer(None)
            return
        waiting = _Waiting(line, answer, self._clock.seconds() + PATIENCE)
        if self._relay is None:
            self._unsent.append(waiting)
        else:
            self._sent.append(waiting)
            self._relay.send(waiting.sent)
        self._tick_later()

    def connected(self, relay: Relay) -> None:
        """There is a connection: what waited for it goes out."""
        self._log.info("connected to the relay")
        self._relay = relay
        while self._unsent:
            waiting = self._unsent.popleft()
            self._sent.append(waiting)
            relay.send(waiting.sent)

    def replied(self, reply: bytes) -> None:
        """A line of the reply to the oldest command that was sent."""
        if not self._sent:
            self._log.error("the relay answers what nobody asked; connecting anew")
            if self._relay is not None:
                self._relay.abort()
            return
        if self._sent[0].take(reply):
            waiting = self._sent.popleft()
            waiting.answer(b"\n".join(waiting.lines))

    def disconnected(self, reason: Failure) -> None:
        """What was on its way may have been executed: it gets no answer."""
        self._log.warn("the relay is gone, or refuses us: {why}", why=_why(reason))
        self._relay = None
        lost, self._sent = self._sent, deque()
        for waiting in lost:
            waiting.answer(None)

    def tick(self) -> None:
        """Look whether something waited too long."""
        self._ticking = False
        now = self._clock.seconds()
        while self._unsent and self._unsent[0].deadline <= now:
            self._unsent.popleft().answer(None)
        if self._sent and self._sent[0].deadline <= now and self._relay is not None:
            # Replies come in order: without this one no later one could be told apart.
            self._log.error("the relay does not answer; connecting anew")
            self._relay.abort()
        self._tick_later()

    def _tick_later(self) -> None:
        if not self._ticking and (self._unsent or self._sent):
            self._ticking = True
            self._clock.callLater(PATIENCE / 8, self.tick)


class Datagrams(DatagramProtocol):
    """Commands over UDP, with a cookie in front."""

    noisy = False

    def __init__(self, courier: Courier, clock: IReactorTime, allowed: Networks) -> None:
        self._courier = courier
        self._clock = clock
        self._allowed = allowed
        self._replies = ReplyCache()
        self._pending: dict[tuple[Address, bytes], bytes] = {}

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        if addr[0] not in self._allowed:
            return
        cookie, command = split_cookie(datagram)
        command = command.strip()
        # Without a cookie nobody could tell whose the answer is; nor is a line end a command.
        if cookie is None or not command or len(command) > MAX_COMMAND or b"\n" in command:
            return
        known = self._replies.find(addr, cookie, command, self._clock.seconds())
        if known is not None:
            self._send(known, addr)
        elif self._pending.get((addr, cookie)) != command:
            self._pending[addr, cookie] = command
            self._courier.send(command, lambda reply: self._answer(cookie, command, addr, reply))

    def _answer(self, cookie: bytes, command: bytes, addr: Address, reply: bytes | None) -> None:
        if self._pending.get((addr, cookie)) == command:
            del self._pending[addr, cookie]
        if reply is None:
            return
        whole = b"%b %b\n" % (cookie, reply)
        self._replies.store(addr, cookie, command, whole, self._clock.seconds())
        self._send(whole, addr)

    def _send(self, reply: bytes, addr: Address) -> None:
        if self.transport is not None:
            self.transport.write(reply, addr)


class OneShot(Protocol):
    """``unix:`` one command, one reply, end."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._asked = False
        self._gone = False

    def dataReceived(self, data: bytes) -> None:
        if self._asked:
            return
        self._asked = True
        line = data.strip()
        if not line or len(line) > MAX_COMMAND or b"\n" in line:
            self._answer(b"E5")
        else:
            self._courier.send(line, self._answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True

    def _answer(self, reply: bytes | None) -> None:
        if self._gone or self.transport is None:
            return
        if reply is not None:
            self.transport.write(reply + b"\n")
        self.transport.loseConnection()


def _why(reason: Failure) -> str:
    value = reason.value
    return why_of(value) if isinstance(value, SSL.Error) else reason.getErrorMessage()
