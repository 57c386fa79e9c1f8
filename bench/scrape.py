"""How long a scrape or a list holds up the relay: ``python -m bench.scrape [CALLS]``.

All in memory, since no test machine has the descriptors for 10,000 calls, with the garbage
collector as the relay sets it. The calls have been talked on: 13 s of packets each way, so that
every one has statistics, a verdict and an interval of quality. What is told is the processor time
of the longest turn of the event loop, which is what a packet may have to wait for, and the time of
all turns together, which is what the answer costs.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

from bench.quality import RATE, look, make_sessions
from rtpproxy_tw.collecting import PORTIONS, YOUNG
from rtpproxy_tw.media.relay import Relay
from rtpproxy_tw.reporting.metrics import Metrics
from rtpproxy_tw.reporting.sampling import Sampler
from rtpproxy_tw.rtp import FIXED_HEADER
from rtpproxy_tw.session import Session
from rtpproxy_tw.statistics import Totals
from rtpproxy_tw.views.sessions import brief, whole
from rtpproxy_tw.views.text import to_json
from rtpproxy_tw.web.slices import Slices

CALLS = 10_000
SECONDS = 13
"""An interval of quality ends within."""

PACKETS = 5
"""A second: what is scraped does not depend on how many there were."""

LIMIT = 0.005
"""Seconds that one turn of the event loop may take."""


@dataclass(frozen=True)
class Turns:
    """The turns that one answer took, in seconds of the processor."""

    name: str
    times: list[float]
    octets: int

    @property
    def longest(self) -> float:
        """The longest one."""
        return max(self.times)

    def line(self) -> str:
        """For people."""
        return (
            f"{self.name:16} {1000 * self.longest:8.2f} ms {len(self.times):6}"
            f" {1000 * sum(self.times):8.0f} ms {self.octets / 1000:9.1f} kB"
        )


class Stopwatch(Clock):
    """A clock whose calls are timed."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        """See IReactorTime."""
        return super().callLater(delay, self.timed, callable, *args, **kw)

    def timed(self, what: Callable[..., object], *args: object, **kw: object) -> None:
        """One turn."""
        began = time.thread_time()
        what(*args, **kw)
        self.times.append(time.thread_time() - began)


class Client:
    """As much of a request as an answer in slices needs."""

    def __init__(self) -> None:
        self.octets = 0

    def notifyFinish(self) -> Client:
        """Never: it stays."""
        return self

    def addErrback(self, function: Callable[..., object]) -> None:
        """Nothing goes wrong."""

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """It reads as fast as there is something."""

    def unregisterProducer(self) -> None:
        """That was all."""

    def write(self, octets: bytes) -> None:
        """Read it."""
        self.octets += len(octets)

    def finish(self) -> None:
        """That was all."""


def talked(calls: int, clock: Clock, totals: Totals) -> list[Session]:
    """Calls as they are after a while."""
    clock.advance(1000.0)
    relay = Relay(clock.seconds, totals)
    made = make_sessions(calls, clock)
    sampler = Sampler(clock=clock, is_local=lambda host: False)
    sampler.sessions = [session for session, _ in made]
    number = 0
    for _ in range(SECONDS):
        for _ in range(PACKETS):
            clock.advance(1 / PACKETS)
            number += 1
            ticks = number * 8000 // PACKETS
            datagram = FIXED_HEADER.pack(0x80, 0, number, ticks, 7) + bytes(8000 // RATE)
            for _, sources in made:
                for stream, address in sources:
                    relay.received(stream, datagram, address)
        look(sampler, clock, [])
    return [session for session, _ in made]


class Sessions(list[Session]):
    """What is asked of a registry."""

    def refresh(self) -> None:
        """No plane of its own has counted anything."""


def scrape(sessions: list[Session], totals: Totals) -> Turns:
    """``GET /metrics``."""
    watch = Stopwatch()
    metrics = Metrics(clock=watch, totals=totals, version="bench")
    metrics.registry = Sessions(sessions)  # type: ignore[assignment]
    answers: list[bytes] = []
    watch.timed(lambda: metrics.text().addCallback(answers.append))
    watch.advance(0)
    return Turns("/metrics", watch.times, len(answers[0]))


def listed(name: str, pieces: Iterator[bytes]) -> Turns:
    """An answer in slices."""
    watch, client = Stopwatch(), Client()
    watch.timed(Slices(client, pieces, watch).start)
    while watch.getDelayedCalls():
        watch.advance(1)
    return Turns(name, watch.times, client.octets)


def measure(calls: int = CALLS) -> list[Turns]:
    """Ask for everything once."""
    clock, totals = Clock(), Totals()
    sessions = talked(calls, clock, totals)
    now = clock.seconds()
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, PORTIONS, 1 << 30)
    try:
        return [
            scrape(sessions, totals),
            listed("list of calls", (to_json(brief(each, now, 0.0)) for each in sessions)),
            listed("one call", (to_json(whole(each, now, 0.0)) for each in sessions[:1])),
        ]
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def main() -> int:
    """Print it; 1 where a turn of a scrape was too long."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    found = measure(calls)
    print(f"{calls} calls        longest turn  turns      all of it     answer")
    for turns in found:
        print(turns.line())
    worst = max(turns.longest for turns in found)
    print(f"no turn over {1000 * LIMIT:.0f} ms: {'yes' if worst < LIMIT else 'no'}")
    return int(worst >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
