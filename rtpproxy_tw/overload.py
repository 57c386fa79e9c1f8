"""Whether the relay is so busy that further calls would harm those it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rtpproxy_tw.reporting.exposition import Family, single

LOW, HIGH = 0.85, 0.90
"""Parts of one processor: above HIGH new sessions are refused, until it is below LOW. They are
those of the original's ``--overload_prot``, whose LIMITS are not looked at there either."""

EVERY = 0.5
"""Seconds from one look to the next."""

WEIGHT = 0.2
"""Of the latest look in the mean, which so follows within some two seconds."""


class Overload:
    """``used`` gives the seconds that the thread which does everything has used a processor,
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
        """The part of a processor that is used, of late."""
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
