"""Whether the relay is so busy that further calls would harm those it has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from rtpproxy_tw.reporting.exposition import Family, single

LOW, HIGH = 0.85, 0.90
"""Parts of one processor: above HIGH new sessions are refused, until it is below LOW. They are
those of the original's ``--overload_prot``, whose LIMITS are not looked at there either."""

EVERY = 0.5
"""Seconds from one look to the next."""

WEIGHT = 0.2
"""Of the latest look in the mean, which so follows within some two seconds."""

SCHEDSTAT = "/proc/thread-self/schedstat"
"""Nanoseconds on a processor and of waiting for one, and a count: proc(5)."""


def occupied(path: str = SCHEDSTAT) -> float:
    """Seconds in which the calling thread had something to do: on a processor, or waiting for one
    that others used, where the kernel tells of that."""
    waited = 0
    with suppress(OSError, ValueError, IndexError), open(path, "rb") as file:
        waited = int(file.read().split()[1])
    return time.thread_time() + waited / 1e9


class Overload:
    """``used`` gives the seconds in which the thread that does everything was :func:`occupied`,
    ``now`` those that have passed. ``changed`` is told when it begins and when it is over.
    """

    def __init__(
        self,
        used: Callable[[], float],
        now: Callable[[], float],
        changed: Callable[[bool], object],
    ) -> None:
        self._used = used
        self._now = now
        self._changed = changed
        self._before: tuple[float, float] | None = None
        self.load = 0.0
        """The part of the time in which it was, of late."""
        self.active = False

    def look(self) -> None:
        """To be called every :data:`EVERY` seconds."""
        now, used = self._now(), self._used()
        before, self._before = self._before, (now, used)
        if before is None or now <= before[0]:
            return
        latest = (used - before[1]) / (now - before[0])
        self.load += WEIGHT * (min(1.0, max(0.0, latest)) - self.load)
        active = self.load > (LOW if self.active else HIGH)
        if active is not self.active:
            self.active = active
            self._changed(active)

    def families(self) -> Iterator[Family]:
        """Metrics."""
        yield single(
            "relay_overloaded",
            "gauge",
            "1 while the relay is too busy for new sessions.",
            int(self.active),
        )
