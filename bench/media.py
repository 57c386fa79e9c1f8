"""The media path: what a packet costs, how long it takes, and how many a second are too many.

Three kinds of runs, each with every contestant in turn, all of that repeated:

fixed rates      what the contestant's process spends on a packet, what a relayed packet costs the
                 whole machine (everything spent on it with the contestant between, less
                 everything spent without: sending, receiving and the kernel's work are the same
                 in both), and how long packets take
overload         as many packets as the load can send: how many are relayed, and what one costs
                 when there is always a next one and nobody ever has to be woken up
highest rate     searched for: less than 0.1 % of the packets lost or late
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from statistics import median

from bench.calls import Call, Route, set_up
from bench.cpu import family, ran
from bench.load import LATE, Load, Outcome
from bench.plan import Plan, Progress
from bench.relays import Relay
from bench.results import Better, Section
from bench.search import highest

LOST = 0.001
"""The part of the packets that may be lost."""

DIRECT = "direct"
"""The path without a relay: the zero that costs are counted from."""

OFFERED = 0.97
"""Of the rate asked for; where the load itself could send less, a try says nothing."""

LEARNING = 1.0
LEARNED = 2
"""Seconds of media before anything is measured, and how often."""

RESUMING = 0.5
"""Seconds of media before each run: while others had their turn every party was silent, which in a
call is rare, and who has to notice that it is back does so now."""

OVERLOAD = 0.8
"""Seconds; the backlog of a longer one takes long to be relayed."""


@dataclass(slots=True)
class Way:
    """One way packets can go: through a contestant, or straight."""

    name: str
    routes: Sequence[Route]
    watch: Mapping[str, int] = field(default_factory=dict)

    def rest(self) -> None:
        """Wait until its process has nothing left to do, at most a few seconds."""
        for pid in (each for watched in self.watch.values() for each in family(watched)):
            for _ in range(100):
                before = ran(pid)
                time.sleep(0.05)
                if ran(pid) - before < 0.01:
                    break


def watched(way: Way) -> dict[str, list[int]]:
    """Whom to watch while packets go that way."""
    return {label: family(pid) for label, pid in way.watch.items()}


class MediaBench:
    """Runs the load over all ways and notes what came of it."""

    def __init__(self, plan: Plan, progress: Progress, load: Load, ways: Sequence[Way]) -> None:
        self._plan = plan
        self._progress = progress
        self._load = load
        self._ways = ways
        self.section = Section(
            "media",
            f"Media: {plan.sessions} sessions, {plan.payload} octets of payload, both directions",
        )
        self._guess: dict[str, float] = {}
        self._ceiling = 0.0

    def measure(self) -> Section:
        """All of it."""
        for way in self._ways:
            # Whoever learns addresses learns them now, and processes that the first settled call
            # has started get theirs in the second run.
            for _ in range(LEARNED):
                self._run(way, rate=min(20_000.0, 100.0 * self._plan.sessions), seconds=LEARNING)
        for repeat in range(self._plan.repeats):
            self._repeat(repeat)
        note = self.section.note
        note(f"without a relay the load sends and receives {self._ceiling / 1e3:.0f} kpps")
        note(f"lost: not there after {LATE * 1000:.0f} ms")
        return self.section

    def _repeat(self, repeat: int) -> None:
        # Each contestant is the first one as often as any other.
        turn = repeat % len(self._ways)
        ways = [*self._ways[turn:], *self._ways[:turn]]
        of = f"({repeat + 1} of {self._plan.repeats})"
        for rate in self._plan.rates:
            self._progress(f"media: {rate / 1e3:g} kpps {of}")
            self._fixed(ways, rate)
        self._progress(f"media: overload {of}")
        for way in ways:
            self._overload(way)
        if self._plan.trial:
            for way in ways:
                if way.name != DIRECT:
                    self._progress(f"media: highest rate of {way.name} {of}")
                    self._highest(way)

    def _fixed(self, ways: Sequence[Way], rate: float) -> None:
        outcomes = {way.name: self._offered(way, rate) for way in ways}
        zero = outcomes[DIRECT].cpu_per_packet()
        at = f"at {rate / 1e3:g} kpps"
        quantity = self.section.quantity
        for name, outcome in outcomes.items():
            if name != DIRECT:
                own, added = outcome.cpu_per_packet("relay"), outcome.cpu_per_packet() - zero
                quantity(f"CPU of the process {at}", "us/packet", Better.LESS, 2).add(
                    name, own * 1e6
                )
                quantity(f"CPU of the machine {at}", "us/packet", Better.LESS, 2).add(
                    name, added * 1e6
                )
            for part in ("p50", "p99"):
                quantity(f"delay {part} {at}", "us", Better.LESS, 0).add(
                    name, outcome.delay[part] * 1e6
                )
            quantity(f"lost or late {at}", "%", Better.LESS, 2).add(name, outcome.loss * 100)
            self._check(name, outcome, at)

    def _offered(self, way: Way, rate: float) -> Outcome:
        """The outcome at a fixed rate; the better one of two where packets were lost.

        What is left to be done is done before the next one has its turn on the same processor.
        """
        outcome = self._run(way, rate, self._plan.window)
        if outcome.loss >= LOST:
            way.rest()
            again = self._run(way, rate, self._plan.window)
            way.rest()
            outcome = min(outcome, again, key=lambda each: each.loss)
        return outcome

    def _overload(self, way: Way) -> None:
        outcome = self._run(way, rate=0, seconds=min(OVERLOAD, self._plan.window), warm=RESUMING)
        way.rest()
        if way.name == DIRECT:
            self._ceiling = max(self._ceiling, outcome.relayed_rate)
            return
        quantity = self.section.quantity
        quantity("relayed under overload", "kpps", Better.MORE).add(
            way.name, outcome.relayed_rate / 1e3
        )
        quantity("CPU of the process under overload", "us/packet", Better.LESS, 2).add(
            way.name, outcome.cpu_per_packet("relay") * 1e6
        )
        self._guess.setdefault(way.name, outcome.relayed_rate * 0.9)

    def _highest(self, way: Way) -> None:
        short_of = False

        def passes(rate: float) -> bool:
            nonlocal short_of
            outcome = self._run(way, rate, self._plan.trial, warm=RESUMING)
            short_of = outcome.offered_rate < OFFERED * rate
            if outcome.loss < LOST:
                return not short_of
            way.rest()
            return False

        found = highest(passes, self._guess[way.name], self._ceiling, self._plan.precision)
        quantity = self.section.quantity("highest rate with < 0.1 % lost", "kpps", Better.MORE)
        quantity.add(way.name, found / 1e3)
        if short_of:
            self.section.note(f"the load, not {way.name}, was the limit in the search")
        if found:
            self._guess[way.name] = median(quantity.values[way.name]) * 1e3

    def _run(self, way: Way, rate: float, seconds: float, warm: float = RESUMING) -> Outcome:
        outcome = self._load.run(
            way.routes,
            rate=rate,
            seconds=seconds,
            warm=warm,
            payload=self._plan.payload,
            watch=watched(way),
        )
        self.section.runs.append({"way": way.name, "rate": rate} | asdict(outcome))
        return outcome

    def _check(self, name: str, outcome: Outcome, at: str) -> None:
        for what in ("duplicates", "reordered", "wrong_source", "sink_drops"):
            count = getattr(outcome, what)
            if count:
                self.section.note(f"{name} {at}: {count} {what.replace('_', ' ')}")


def measure(plan: Plan, relays: Sequence[Relay], progress: Progress) -> Section:
    """The figures of all ``relays``, which are started for it. Raises what they and the load do."""
    with ExitStack() as stack:
        load = stack.enter_context(Load())
        ways = [Way(DIRECT, load.direct(plan.sessions))]
        for relay in relays:
            progress(f"media: {plan.sessions} sessions through {relay.name}")
            stack.enter_context(relay)
            routes = sessions(relay, load, plan.sessions)
            ways.append(Way(relay.name, routes, {"relay": relay.pid}))
        return MediaBench(plan, progress, load, ways).measure()


def sessions(relay: Relay, load: Load, count: int, series: str = "media") -> list[Route]:
    """Make so many sessions between the load's two ends. Raises CallError or OSError."""
    return [
        set_up(relay.client, Call(series, number, relay.host), load.caller, load.callee)
        for number in range(count)
    ]
