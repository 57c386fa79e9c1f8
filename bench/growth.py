"""What a session costs when there are many: ``python -m bench.growth``.

Sessions without sockets, so that descriptors are no limit: the state of each, its place in the
registry, its time to live. While so many exist, others are made, found and ended; if anything grew
with their number, it would show. Sockets add what ``python -m bench memory`` tells.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from zope.interface import implementer

from rtpproxy_tw.addresses import LocalAddress
from rtpproxy_tw.interfaces import IMediaPlane
from rtpproxy_tw.latch import latch_factory
from rtpproxy_tw.media.chance import Chance
from rtpproxy_tw.media.ports import ShuffledPool
from rtpproxy_tw.registry import SessionRegistry
from rtpproxy_tw.session import Leg, Session, SessionKey, new_session
from rtpproxy_tw.statistics import Totals

SIZES = (10, 100, 1000, 10_000, 20_000)

MADE = 500
"""Further sessions made, found and ended at each size, in so many portions."""
PORTIONS = 5


@implementer(IMediaPlane)
class NoSockets:
    """Gives out port numbers and nothing else."""

    def __init__(self) -> None:
        self._next = 0

    def open(self, leg: Leg, local: LocalAddress) -> None:
        """See IMediaPlane."""
        self._next = (self._next + 2) % 60_000
        leg.local, leg.port = local, 2 + self._next

    def close(self, leg: Leg) -> None:
        """See IMediaPlane."""
        leg.port = 0

    def mark(self, leg: Leg) -> None:
        """See IMediaPlane."""

    def release(self, session: Session) -> None:
        """See IMediaPlane."""

    def refresh(self, session: Session) -> None:
        """See IMediaPlane."""

    def go_on(self, session: Session) -> bool:
        """See IMediaPlane."""
        return False

    def stirred(self) -> Iterator[set[Session]]:
        """See IMediaPlane."""
        yield set()

    def refresh_all(self) -> None:
        """See IMediaPlane."""


class Growing:
    """A registry that is filled step by step. ``clock`` schedules and never runs."""

    def __init__(self, clock: Any) -> None:
        self._plane = NoSockets()
        self._clock = clock
        self._latch = latch_factory("strict")
        self._local = LocalAddress("127.0.0.1")
        self.registry = SessionRegistry(clock=clock, plane=self._plane, totals=Totals())

    def make(self, name: str) -> None:
        """One complete session."""
        session = new_session(SessionKey(name, "f;1"), self._clock.seconds(), 60.0, self._latch)
        session.strong = True
        self._plane.open(session.callee, self._local)
        self.registry.add(session)
        self._plane.open(session.caller, self._local)
        self.registry.complete(session)

    def fill(self, count: int) -> None:
        """Until there are so many."""
        for number in range(len(self.registry), count):
            self.make(f"{number}-a-call-id-of-the-usual-length@198.51.100.7")

    def micros(self) -> float:
        """Of one further session made, found by a command and ended: the median of portions."""
        took = []
        for portion in range(PORTIONS):
            names = [f"{portion}-{number}-further" for number in range(MADE // PORTIONS)]
            began = time.perf_counter()
            for name in names:
                self.make(name)
            for name in names:
                self.registry.find(name, "t;1", "f;1")
                self.registry.delete(name, "f", "t", weak=False)
            took.append((time.perf_counter() - began) / len(names))
        return median(took) * 1e6


FREE = (15_000, 1000, 10, 1)
"""Pairs of ports that are free, of the 15,000 of the default range."""


def port_micros(free: int) -> float:
    """Of taking a pair out of the range and giving it back, with only so many free."""
    pool = ShuffledPool(35_000, 64_999, Chance(os.urandom).below)
    while len(pool) > free:
        pool.take()
    took = []
    for _ in range(PORTIONS):
        began = time.perf_counter()
        for _ in range(MADE):
            pool.give_back(pool.take())
        took.append((time.perf_counter() - began) / MADE)
    return median(took) * 1e6


def resident() -> int:
    """Octets of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def measure(clock: Any, sizes: tuple[int, ...] = SIZES) -> list[tuple[int, float, float]]:
    """For each size: microseconds of a further session, and KiB of each of those there are."""
    growing = Growing(clock)
    growing.micros()  # whatever is done for the first time
    before = resident()
    rows = []
    for size in sizes:
        growing.fill(size)
        grown = (resident() - before) / size / 1024
        rows.append((size, growing.micros(), grown))
    return rows


def main() -> int:
    """Print the table."""
    from twisted.internet.epollreactor import EPollReactor

    reactor: Any = EPollReactor  # which has no types
    print("sessions  a further one, us  memory, KiB/session")
    for size, micros, kib in measure(reactor()):
        print(f"{size:8}  {micros:17.1f}  {kib:19.2f}", flush=True)
    print("\nfree pairs of ports  to take one, us")
    for free in FREE:
        print(f"{free:19}  {port_micros(free):15.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
