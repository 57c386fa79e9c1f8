"""A listener as the unit tests see it: connections to it in memory, no kinder than real ones."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectError, ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ISystemHandle
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from rtpproxy_tw.commands import Origin
from rtpproxy_tw.reporting.notify import Notifier

ADDRESS = "tcp:192.0.2.5:9999"

TURN = 0.001
"""Seconds until the next turn of the reactor: connections that are closed end then, not before."""


class Connection(StringTransport):
    """The relay's end of a connection: what is written stays here until the kernel takes it."""

    def __init__(self, reactor: MemoryReactorClock, **addresses: Any) -> None:
        super().__init__(**addresses)
        self.reactor = reactor
        self.protocol: Any = None
        self.options: list[str] = []
        self.taken: list[bytes] = []
        """What the kernel took, one element for each time it was asked."""
        self.unread = False
        """Whether the peer lets it lie in the kernel."""
        self.gone = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.options.append("nodelay")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        super().registerProducer(producer, streaming)
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        super().loseConnection()
        self.reactor.callLater(TURN, self._closed, ConnectionDone())

    def abortConnection(self) -> None:
        if not self.gone:
            self.disconnected = True
            self.reactor.callLater(TURN, self.end, ConnectionAborted())

    def flush(self) -> None:
        """The kernel takes everything there is."""
        while self.value():
            self.taken.append(self.value())
            self.clear()
            if self.producer is not None:
                self.producer.resumeProducing()

    def finish(self) -> None:
        """The peer closes after it has read everything."""
        self.protocol.readConnectionLost()

    def end(self, why: Exception | None = None) -> None:
        """The connection ends, by default with a reset."""
        if not self.gone:
            self.gone = True
            self.protocol.connectionLost(Failure(why or ConnectionLost()))

    def _closed(self, why: Exception) -> None:
        # A producer that is still there holds up the end of a real connection.
        if self.producer is None and not self.value():
            self.end(why)


class Listener:
    """A notifier with one allowed socket, and the ways in which that one can behave."""

    def __init__(self, **settings: Any) -> None:
        self.reactor = MemoryReactorClock()
        settings.setdefault("allowed", [ADDRESS])
        settings.setdefault("retry", lambda failures: float(2 ** (failures - 1)))
        self.notifier = Notifier(reactor=self.reactor, **settings)
        self.notifier.startService()
        self.answered = 0

    def tell(self, *lines: bytes, text: str = ADDRESS) -> None:
        """Notices for it."""
        socket = self.notifier.resolve(text, Origin())
        assert socket is not None
        for line in lines:
            self.notifier.notify(socket, line)

    @property
    def attempts(self) -> int:
        """How many connections were tried and neither accepted nor refused yet."""
        return len(self.reactor.tcpClients) - self.answered

    def accept(self, **addresses: Any) -> Connection:
        """Accept the one connection attempt."""
        factory = self._factory()
        connection = Connection(self.reactor, **addresses)
        connection.protocol = factory.buildProtocol(None)
        connection.protocol.makeConnection(connection)
        return connection

    def refuse(self) -> None:
        """Refuse the one connection attempt."""
        self._factory().clientConnectionFailed(None, Failure(ConnectError()))

    def _factory(self) -> Any:
        assert self.attempts == 1, self.attempts
        self.answered += 1
        return self.reactor.tcpClients[-1][2]

    def wait(self, seconds: float) -> None:
        """Time passes in steps no timer jumps over."""
        self.reactor.pump([0.25] * round(seconds * 4))

    def turn(self) -> None:
        """The reactor's next turn."""
        self.reactor.advance(TURN)

    def stop(self) -> list[None]:
        """Stop; the list has an element when that is done."""
        done: list[None] = []
        self.notifier.stopService().addCallback(done.append)
        return done


def outstanding(connection: Any) -> int:
    """In place of the kernel's answer."""
    assert not ISystemHandle.providedBy(connection)
    return int(connection.unread)
