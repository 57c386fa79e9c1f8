"""The HTTP server's own limits: sizes, times and numbers, whatever clients do."""

from __future__ import annotations

from typing import Any

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
        if not self._refused:
            super().requestReceived(command, path, version)

    def _refuse(self) -> None:
        if not self._refused:
            self._refused = True
            self.channel.write(_TOO_LARGE % (len(_SENTENCE), _SENTENCE))
            self.channel.loseConnection()


class BoundedSite(Site):
    """A site with so many connections at a time, and no log line for each request."""

    noisy = False
    displayTracebacks = False
    requestFactory = BoundedRequest

    def __init__(self, resource: Any, reactor: Any) -> None:
        super().__init__(resource, timeout=IDLE, reactor=reactor)
        self._open = 0

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A connection came; None closes it again."""
        if self._open >= MAX_CONNECTIONS:
            return None
        channel: Any = super().buildProtocol(addr)
        self._open += 1
        lost = channel.connectionLost

        def connection_lost(reason: Any) -> None:
            self._open -= 1
            lost(reason)

        channel.connectionLost = connection_lost
        return channel

    def log(self, request: Any) -> None:
        """Actions are logged by whoever does them, questions are not."""
