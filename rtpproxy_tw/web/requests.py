"""The HTTP server's own limits: sizes, times and numbers, whatever clients do."""

from __future__ import annotations

from typing import Any, NamedTuple

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IAddress
from twisted.web.server import Request, Site

MAX_BODY = 65536
"""Octets. The largest body that means anything here has a few dozen."""

MAX_CONNECTIONS = 128
"""Of one endpoint at a time. Each costs a descriptor, of which calls need many."""

IDLE = 30.0
"""Seconds after which a connection that asks nothing is closed."""

_TOO_LARGE = (
    b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b"
)
_SENTENCE = b'{"error":{"code":"too-large","sentence":"a body may have 65536 octets at most"}}\n'


class BoundedRequest(Request):
    """A request whose body is not kept beyond MAX_BODY."""

    # Bodies are JSON here: a form is not to be read as one, nor as parameters.
    _parsePOSTFormSubmission = False
    _octets = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:
        """The headers are there; ``length`` is None for a chunked body."""
        super().gotLength(0 if length is None else min(length, MAX_BODY))
        if length is not None and length > MAX_BODY:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body."""
        self._octets += len(data)
        if self._octets > MAX_BODY:
            self._refuse()
        if not self._refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of it is there."""
        channel: Any = self.channel
        channel.whole = True
        if not self._refused:
            super().requestReceived(command, path, version)

    def _refuse(self) -> None:
        if not self._refused:
            self._refused = True
            self.channel.write(_TOO_LARGE % (len(_SENTENCE), _SENTENCE))
            self.channel.loseConnection()


class Heard:
    """What came over one connection and is not answered yet."""

    def __init__(self, channel: Any) -> None:
        channel.whole = False
        self._channel = channel
        self._octets = bytearray()

    def note(self, data: bytes) -> None:
        """More has come."""
        channel = self._channel
        if channel.whole and not channel.requests:
            # What was there before has been answered.
            channel.whole = False
            self._octets.clear()
        if not channel.whole:
            self._octets += data

    def client(self) -> Client | None:
        """See BoundedSite.clients."""
        channel, wire = self._channel, self._channel.transport
        if not isinstance(wire, FileDescriptor) or wire.disconnecting or not wire.connected:
            return None
        if channel.whole and (channel.requests or channel._buffer or channel._dataBuffer):
            return None
        unread = b"" if channel.whole else bytes(self._octets)
        unsent = wire.dataBuffer[wire.offset :] + b"".join(wire._tempDataBuffer)
        return Client(wire.fileno(), unsent, unread)

    def leave(self) -> None:
        """See BoundedSite.leave."""
        channel = self._channel
        if not (channel.whole and channel.requests):
            return
        channel.persistent = False
        if not channel.requests[0].startedWriting:
            channel.requests[0].setHeader(b"connection", b"close")


class Client(NamedTuple):
    """A connection with nothing to be answered, for another process to go on with."""

    descriptor: int
    unsent: bytes
    """What this process has answered before, and the client has not read."""
    unread: bytes
    """The beginning of a request."""


class BoundedSite(Site):
    """A site with so many connections at a time, and no log line for each request."""

    noisy = False
    displayTracebacks = False
    requestFactory = BoundedRequest

    def __init__(self, resource: Any, reactor: Any) -> None:
        super().__init__(resource, timeout=IDLE, reactor=reactor)
        self._open: dict[Any, Heard] = {}

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A connection came; None closes it again."""
        if len(self._open) >= MAX_CONNECTIONS:
            return None
        channel: Any = super().buildProtocol(addr)
        heard = self._open[channel] = Heard(channel._channel)
        lost, received = channel.connectionLost, channel.dataReceived

        def connection_lost(reason: Any) -> None:
            self._open.pop(channel, None)
            lost(reason)

        def data_received(data: bytes) -> None:
            heard.note(data)
            received(data)

        channel.connectionLost = connection_lost
        channel.dataReceived = data_received
        return channel

    def clients(self) -> list[Client]:
        """Those another process can go on with: all to whom nothing is being answered.

        Not those over TLS: what is agreed on there cannot be passed on.
        """
        found = (heard.client() for heard in self._open.values())
        return [client for client in found if client is not None]

    def leave(self) -> None:
        """Another process serves: who is being answered is to come again for anything more."""
        for heard in self._open.values():
            heard.leave()

    def log(self, request: Any) -> None:
        """Actions are logged by whoever does them, questions are not."""
