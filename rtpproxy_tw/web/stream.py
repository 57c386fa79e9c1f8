"""Server-sent events: an answer that goes on for as long as the client reads it.

The format is that of the HTML standard, section 9.2: a browser's EventSource understands it. Each
client has one number, how far it was told; nothing is queued for one that does not read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from rtpproxy_tw.web.feed import Feed, Listener

MEDIA_TYPE = "text/event-stream"

MOST = 32
"""Streams at a time, of all endpoints. Each holds a connection."""

RETRY = 2000
"""Milliseconds a client is asked to wait before it comes again."""

AT_ONCE = 20
"""The same where another process is there already that goes on."""

UNREAD = 60.0
"""Seconds after which a client that does not read is cut off; it can come again."""

SLICE = 0.002
"""Seconds that writing to one client may keep the reactor at a time."""


@implementer(IPushProducer)
class EventStream(Listener):
    """Tells ``request`` of what ``feed`` finds; ``seen`` is what the client has already."""

    def __init__(
        self,
        request: Any,
        feed: Feed,
        clock: IReactorTime,
        seen: int | None = None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._request = request
        self._feed = feed
        self._clock = clock
        self._seen = seen
        self._now = now
        self._rest: Iterator[bytes] | None = None
        self._telling = 0
        self._next: IDelayedCall | None = None
        self._paused_since: float | None = None

    def start(self) -> None:
        """Begin. What was found out already is told at once."""
        self._request.notifyFinish().addBoth(lambda gone: self.stopProducing())
        self._request.registerProducer(self, True)
        self._request.write(b"retry: %d\n\n" % RETRY)
        if self._feed.join(self) and self._seen != self._feed.sequence:
            self.published()

    def published(self) -> None:
        """See Listener."""
        if self._paused_since is not None:
            if self._clock.seconds() - self._paused_since >= UNREAD:
                # Not loseConnection(), which would wait for it to read what is written.
                self._request.channel.forceAbortClient()
        elif self._rest is None:
            self._tell()

    def dismissed(self) -> None:
        """See Listener. What was begun is told again by whoever goes on."""
        if self._paused_since is not None:
            self._request.channel.forceAbortClient()
            return
        self._rest = None
        self._request.write(b"retry: %d\n\n" % AT_ONCE)
        self._request.unregisterProducer()
        self._request.finish()

    def _tell(self) -> None:
        self._telling = self._feed.sequence
        self._rest = self._feed.since(self._seen)
        self._write()

    def _write(self) -> None:
        self._next = None
        until = self._now() + SLICE
        while self._rest is not None and self._paused_since is None:
            if self._now() >= until:
                self._next = self._clock.callLater(0, self._write)
                return
            piece = next(self._rest, None)
            if piece is None:
                self._rest, self._seen = None, self._telling
            else:
                self._request.write(piece)  # which may call pauseProducing

    def pauseProducing(self) -> None:
        """The client does not read."""
        self._paused_since = self._clock.seconds()

    def resumeProducing(self) -> None:
        """It reads again: the rest of what was begun; what came since comes with the next round."""
        self._paused_since = None
        if self._next is None and self._rest is not None:
            self._next = self._clock.callLater(0, self._write)

    def stopProducing(self) -> None:
        """It is gone."""
        self._feed.leave(self)
        self._rest = None
        if self._next is not None:
            self._next.cancel()
            self._next = None
