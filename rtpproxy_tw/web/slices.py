"""Long answers in slices, so that packets and commands get their turns in between.

An answer is an iterator of byte strings. It is taken for a few milliseconds at a time, and only
while the client reads: one that does not costs what is in its socket's buffer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

SLICE = 0.001
"""Seconds that one slice may take; a packet waits no longer for it."""

REST = 4.0
"""So many times as long as a slice has taken, packets have the relay for themselves. Else one that
spends most of its time on them would fall behind for as long as the answer is made."""


@implementer(IPushProducer)
class Slices:
    """Writes what ``chunks`` yields to ``request`` and finishes it.

    ``now`` gives seconds that pass while code runs, which a test's reactor does not have.
    """

    _log = Logger()

    def __init__(
        self,
        request: Any,
        chunks: Iterator[bytes],
        clock: IReactorTime,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._request = request
        self._chunks = chunks
        self._clock = clock
        self._now = now
        self._next: IDelayedCall | None = None
        self._over = False
        self._not_before = 0.0

    def start(self) -> None:
        """Begin; the first slice is produced at once."""
        self._request.notifyFinish().addErrback(lambda gone: self.stopProducing())
        self._request.registerProducer(self, True)
        if self._next is None and not self._over:
            self._slice()

    def pauseProducing(self) -> None:
        """The client does not read."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def resumeProducing(self) -> None:
        """It reads again."""
        if self._next is None and not self._over:
            rest = max(0.0, self._not_before - self._clock.seconds())
            self._next = self._clock.callLater(rest, self._slice)

    def stopProducing(self) -> None:
        """It is gone."""
        self.pauseProducing()
        self._over = True
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()

    def _slice(self) -> None:
        self._next = None
        began = self._now()
        until = began + SLICE
        made: list[bytes] = []
        try:
            for chunk in self._chunks:
                made.append(chunk)
                if self._now() >= until:
                    break
            else:
                self._end(b"".join(made))
                return
        except Exception:
            # The status is sent already: a connection cut short is what tells the client.
            self._log.failure("an answer over HTTP could not be completed")
            self.stopProducing()
            self._request.loseConnection()
            return
        rest = REST * (self._now() - began)
        self._not_before = self._clock.seconds() + rest
        # Set first: writing may make the transport call pauseProducing.
        self._next = self._clock.callLater(rest, self._slice)
        self._request.write(b"".join(made))

    def _end(self, rest: bytes) -> None:
        self.pauseProducing()
        self._over = True
        if rest:
            self._request.write(rest)
        self._request.unregisterProducer()
        self._request.finish()
