"""Media in processes of its own beside rtpengine with its threads, on as many processors.

Both may use all of so many processors, and where the machine has no others the load shares them.
There it gives way: its priority is lower than theirs, so that a contestant has of the processors
what it needs, and the load the rest, instead of both being slowed alike; a rate counts only if the
load could offer it. Under overload it is told, too, what is relayed beside a load that does not
give way. So besides what is relayed there it is told what a packet costs the contestant, and what
its processors would relay if they were its own. Each contestant has its turn alone: the one before
has nothing left to do. Twice: with 1000 calls of G.711, and with 2000 of G.729.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from typing import Any

from bench.calls import Route
from bench.load import Load, Outcome
from bench.media import DIRECT, LEARNED, LEARNING, LOST, OFFERED, OVERLOAD, Way, sessions, watched
from bench.plan import Plan, Progress
from bench.relays import Relay
from bench.results import Better, Section
from bench.search import highest

CORES = 2
"""Processors of each contestant."""

G711, G729 = 160, 20
"""Octets of 20 ms."""

NARROW = "2000 calls of G.729"
"""200,000 packets a second."""

EVEN = "beside an overload that does not give way"

PRECISION = 1.1

RESUMING = 1.5
"""Seconds of media before each run. Calls that were silent are looked at when they go on, within a
second, which is to be over: what is measured are calls that go on."""

Yielding = Callable[[], AbstractContextManager[object]]


def measure(
    plan: Plan, relays: Sequence[Relay], progress: Progress, yielding: Yielding = nullcontext
) -> Section:
    """The figures of all ``relays``, which are started for it. Raises what they and the load do.

    In blocks of ``yielding`` a load that is started gives way to them.
    """
    section = Section("wide", f"Media: on {CORES} processors, which the load may have to share")
    with ExitStack() as stack:
        load = stack.enter_context(Load())
        ways = []
        for relay in relays:
            progress(f"wide: {2 * plan.sessions} sessions through {relay.name}")
            stack.enter_context(relay)
            routes = sessions(relay, load, 2 * plan.sessions, "wide")
            ways.append(Way(relay.name, routes, {"relay": relay.pid}))
        straight = Way(DIRECT, load.direct(2 * plan.sessions))
        wide = _Wide(section, plan, load, yielding)
        for way in ways:
            for _ in range(LEARNED):
                load.run(way.routes, rate=min(20_000.0, 50.0 * plan.sessions), seconds=LEARNING)
        for repeat in range(plan.repeats):
            turn = repeat % len(ways)
            progress(
                f"wide: {', '.join(way.name for way in ways)} ({repeat + 1} of {plan.repeats})"
            )
            ceiling = wide.ceiling(straight)
            for way in (*ways[turn:], *ways[:turn]):
                wide.narrow(way)
                wide.usual(way, ceiling)
    return section


class _Wide:
    def __init__(self, section: Section, plan: Plan, load: Load, yielding: Yielding) -> None:
        self._section = section
        self._plan = plan
        self._load = load
        self._yielding = yielding

    def _run(self, routes: Sequence[Route], rate: float, seconds: float, **more: Any) -> Outcome:
        with self._yielding():
            return self._load.run(routes, rate=rate, seconds=seconds, warm=RESUMING, **more)

    def ceiling(self, way: Way) -> float:
        """Packets a second without a relay."""
        outcome = self._load.run(way.routes, rate=0, seconds=OVERLOAD, payload=G729)
        self._section.note(
            f"without a relay the load sends and receives {outcome.relayed_rate / 1e3:.0f} kpps on"
            f" the same processors, {outcome.cpu_per_packet() * 1e6:.1f} us of one for each packet"
        )
        return outcome.relayed_rate

    def narrow(self, way: Way) -> None:
        """2000 calls of G.729, as they come."""
        rate = 200.0 * self._plan.sessions
        outcome = self._run(way.routes, rate, self._plan.window, payload=G729, watch=watched(way))
        way.rest()
        add = self._add
        add(f"relayed of {rate / 1e3:g} kpps, {NARROW}", "kpps", way, outcome.relayed_rate / 1e3)
        missing = 1 - (1 - outcome.loss) * min(1.0, outcome.offered_rate / rate)
        add(f"lost, late or not offered, {NARROW}", "%", way, missing * 100, Better.LESS)
        cost = outcome.cpu_per_packet("relay")
        if not cost:
            self._section.note(f"{way.name} relayed nothing of {rate / 1e3:g} kpps")
            return
        add(f"CPU of the process, {NARROW}", "us/packet", way, cost * 1e6, Better.LESS)
        add(f"{CORES} processors of its own, {NARROW}", "kpps", way, CORES / cost / 1e3)

    def usual(self, way: Way, ceiling: float) -> None:
        """As many packets of G.711 as it takes."""
        routes = way.routes[: self._plan.sessions]
        most = self._run(routes, 0, OVERLOAD, payload=G711)
        way.rest()
        self._add("relayed of all that is offered", "kpps", way, most.relayed_rate / 1e3)
        self._add("lost or late of it", "%", way, most.loss * 100, Better.LESS)
        outcome = self._load.run(
            routes, rate=0, seconds=OVERLOAD, warm=RESUMING, payload=G711, watch=watched(way)
        )
        way.rest()
        cost = outcome.cpu_per_packet("relay")
        self._add(f"relayed, {EVEN}", "kpps", way, outcome.relayed_rate / 1e3)
        if not cost:
            self._section.note(f"{way.name} relayed nothing under overload")
            return
        self._add(f"CPU of the process, {EVEN}", "us/packet", way, cost * 1e6, Better.LESS)

        def passes(rate: float) -> bool:
            tried = self._run(routes, rate, self._plan.trial, payload=G711)
            if tried.loss >= LOST:
                way.rest()
            return tried.loss < LOST and tried.offered_rate >= OFFERED * rate

        if self._plan.trial:
            precision = max(PRECISION, self._plan.precision)
            found = highest(passes, most.relayed_rate * 0.9, ceiling, precision)
            self._add("highest rate with < 0.1 % lost", "kpps", way, found / 1e3)

    def _add(
        self, name: str, unit: str, way: Way, value: float, better: Better = Better.MORE
    ) -> None:
        self._section.quantity(name, unit, better, 1 if unit == "kpps" else 2).add(way.name, value)


def smaller(plan: Plan) -> Plan:
    """The same, measured three times at most, as it takes long."""
    return replace(plan, repeats=min(3, plan.repeats))
