"""A connection whose far end sends anything."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.web.client import Connection, Served


class Wire(StringTransport):
    """As forgiving as a real one towards who has no producer to unregister."""

    def unregisterProducer(self) -> None:
        """Whether there is one or not."""
        if self.producer is not None:
            super().unregisterProducer()


class Client(Connection):
    """Sends until the relay hangs up, of which the relay is told, as a reactor would."""

    def __init__(self, served: Served) -> None:
        self._clock = served.bench.clock
        self.transport = Wire(
            hostAddress=IPv4Address("TCP", "127.0.0.1", 80),
            peerAddress=IPv4Address("TCP", "127.0.0.1", 40000),
        )
        self.protocol = served.site.buildProtocol(None)
        assert self.protocol is not None
        self.protocol.makeConnection(self.transport)
        self.over = False

    def send(self, octets: bytes) -> None:
        """Bytes, which nobody hears once it is over."""
        if not self.over:
            super().send(octets)
            self.settle()

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self._clock.advance(seconds)
        self.settle()

    def settle(self) -> None:
        """Let everything happen that is due now."""
        self.run(100)
        if self.transport.disconnecting and not self.over:
            self.over = True
            assert self.protocol is not None
            self.protocol.connectionLost(Failure(ConnectionDone()))
