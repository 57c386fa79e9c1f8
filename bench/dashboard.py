"""What an open dashboard costs the relay: ``python -m bench.dashboard [CALLS ...]``.

All in memory, as in ``bench/scrape.py``: calls that have been talked on, whose figures change from
second to second. Told are the longest turn of the event loop, which is what a packet may have to
wait for; the processor's share while pages are open, however many; the octets each page is sent at
first and then each second.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from twisted.internet.task import Clock

from bench.scrape import LIMIT, Stopwatch, talked
from rtpproxy_tw.collecting import PORTIONS, YOUNG
from rtpproxy_tw.session import Session
from rtpproxy_tw.statistics import Totals
from rtpproxy_tw.web.feed import Feed, Listener

CALLS = (250, 1000, 5000)
SECONDS = 10


@dataclass(frozen=True)
class Cost:
    """Seconds of the processor, and octets."""

    calls: int
    longest: float
    share: float
    """Of one processor, while somebody looks."""
    first: int
    each: int
    """Octets a second."""

    def line(self) -> str:
        """For people."""
        return (
            f"{self.calls:6} {1000 * self.longest:9.2f} ms {100 * self.share:8.1f} %"
            f" {self.first / 1000:9.0f} kB {self.each / 1000:9.0f} kB"
        )


class Page(Listener):
    """A browser that reads as fast as there is something."""

    def __init__(self, feed: Feed, watch: Stopwatch) -> None:
        self._feed, self._watch = feed, watch
        self._seen: int | None = None
        self.octets: list[int] = []

    def published(self) -> None:
        """Read it all, an event at a time, as a stream of events does at the most."""
        self.octets.append(0)
        pieces = self._feed.since(self._seen)
        self._seen = self._feed.sequence
        self._read(pieces)

    def _read(self, pieces: Iterator[bytes]) -> None:
        piece = next(pieces, None)
        if piece is not None:
            self.octets[-1] += len(piece)
            self._watch.callLater(0, self._read, pieces)


class Registry:
    """As much of one as is asked for calls."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._calls = {f"{number:024x}@example": [each] for number, each in enumerate(sessions)}

    def calls(self) -> Iterator[str]:
        """See SessionRegistry."""
        return iter(tuple(self._calls))

    def of_call(self, call_id: str) -> list[Session]:
        """See SessionRegistry."""
        return self._calls[call_id]


def measure(calls: int) -> Cost:
    """Open a page, and leave it open."""
    clock: Clock = Clock()
    sessions = talked(calls, clock, Totals())
    watch = Stopwatch()
    watch.advance(clock.seconds())
    registry: Any = Registry(sessions)
    feed = Feed(watch, wall=watch.seconds, registry=registry)
    page = Page(feed, watch)
    return quietly(lambda: run(watch, feed, page, sessions))


def quietly(what: Callable[[], Cost]) -> Cost:
    """With the garbage collector as the relay has it."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, PORTIONS, 1 << 30)
    try:
        return what()
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def run(watch: Stopwatch, feed: Feed, page: Page, sessions: Sequence[Session]) -> Cost:
    """The first list, and so many seconds after it."""
    feed.join(page)
    while not page.octets:
        watch.advance(0.005)
    watch.advance(0)
    longest = max(watch.times)
    watch.times.clear()
    for _ in range(SECONDS):
        for session in sessions:
            for leg in session.legs:
                leg.rtp.accepted += 50
                leg.rtp.relayed += 50
                leg.rtp.last_heard = watch.seconds()
        for _ in range(100):
            watch.advance(0.01)
    feed.stop()
    later = page.octets[1:]
    return Cost(
        len(sessions),
        max(longest, *watch.times),
        sum(watch.times) / SECONDS,
        page.octets[0],
        sum(later) // len(later),
    )


def main() -> int:
    """Print it; 1 where a turn was too long."""
    numbers = [int(word) for word in sys.argv[1:]] or CALLS
    found = [measure(calls) for calls in numbers]
    print(" calls longest turn  processor  first list  a second")
    for cost in found:
        print(cost.line())
    worst = max(cost.longest for cost in found)
    print(f"no turn over {1000 * LIMIT:.0f} ms: {'yes' if worst < LIMIT else 'no'}")
    return int(worst >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
