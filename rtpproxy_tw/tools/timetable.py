"""Doing things at their time while listening: the clock of the demo call.

Each due time is counted from the start and not from the time before, so that being late once
makes nothing else late.
"""

from __future__ import annotations

import heapq
import selectors
import socket
import time
from collections.abc import Callable
from itertools import count
from types import TracebackType

_LEFT_OVER = 1000
"""At the end so many more times something may be waiting to be read: enough for any queue, and
a flood does not go on for ever."""


class Timetable:
    """What is to be done when, in monotonic seconds, and who listens on which socket."""

    def __init__(self) -> None:
        # The other selectors round waiting up to whole milliseconds.
        self._selector = selectors.SelectSelector()
        self._entries: list[tuple[float, int, Callable[[float], object]]] = []
        self._order = count()

    def __enter__(self) -> Timetable:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._selector.close()

    def listen(self, sock: socket.socket, hear: Callable[[socket.socket], object]) -> None:
        """Call ``hear(sock)`` whenever there is something to read."""
        self._selector.register(sock, selectors.EVENT_READ, hear)

    def add(self, start: float, every: float, times: int, do: Callable[[float], object]) -> None:
        """Call ``do(now)`` so many ``times``, first at ``start``, then after ``every`` seconds."""
        self._plan(start, every, times, 0, do)

    def run(self, end: float) -> None:
        """Do and listen until ``end``; what is due or has come by then is not left out."""
        while True:
            now = time.monotonic()
            while self._entries and self._entries[0][0] <= min(now, end):
                heapq.heappop(self._entries)[2](time.monotonic())
            now = time.monotonic()
            if now >= end:
                break
            due = min(self._entries[0][0], end) if self._entries else end
            self._hear(max(0.0, due - now))
        for _ in range(_LEFT_OVER):
            if not self._hear(0.0):
                break

    def _hear(self, timeout: float) -> bool:
        """Whether anything came within ``timeout`` seconds."""
        ready = self._selector.select(timeout)
        for key, _ in ready:
            key.data(key.fileobj)
        return bool(ready)

    def _plan(
        self, start: float, every: float, times: int, done: int, do: Callable[[float], object]
    ) -> None:
        if done >= times:
            return

        def act(now: float) -> None:
            do(now)
            self._plan(start, every, times, done + 1, do)

        heapq.heappush(self._entries, (start + done * every, next(self._order), act))
