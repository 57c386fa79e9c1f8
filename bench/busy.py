"""Whether a busy control plane is heard: the delay of media while calls are set up and ended.

The same load runs twice, once alone and once while a client sets up and ends ``SET_UPS`` calls a
second. What the second run's quantiles have more is what control work adds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack

from bench.calls import Call
from bench.load import Load, Outcome
from bench.media import LEARNED, LEARNING, RESUMING, Way, sessions
from bench.plan import Plan, Progress
from bench.relays import Relay
from bench.results import Better, Section

RATE = 50_000.0
"""Packets a second."""

SET_UPS = 500
"""Calls set up, and as many ended, in a second."""

IN_PROGRESS = 20
"""Calls of the client that exist at the same time."""

CALLER, CALLEE = "127.0.0.11", "127.0.0.13"


def measure(plan: Plan, relays: Sequence[Relay], progress: Progress) -> Section:
    """The figures of all ``relays``, which are started for it. Raises what they and the load do."""
    section = Section("busy", f"Media at {RATE / 1e3:g} kpps while {SET_UPS} calls a second change")
    with ExitStack() as stack:
        load = stack.enter_context(Load())
        ways = {}
        for relay in relays:
            stack.enter_context(relay)
            routes = sessions(relay, load, plan.sessions, "busy")
            ways[relay] = Way(relay.name, routes, {"relay": relay.pid})
            for _ in range(LEARNED):
                load.run(routes, rate=RATE / 2, seconds=LEARNING)
        for repeat in range(plan.repeats):
            for relay, way in ways.items():
                progress(f"busy: {relay.name} ({repeat + 1} of {plan.repeats})")
                quiet = load.run(way.routes, rate=RATE, seconds=plan.window, warm=RESUMING)
                with Changing(relay, f"b{repeat}") as changing:
                    busy = load.run(way.routes, rate=RATE, seconds=plan.window, warm=RESUMING)
                _add(section, relay.name, quiet, busy, changing.rate)
    return section


def _add(section: Section, name: str, quiet: Outcome, busy: Outcome, rate: float) -> None:
    quantity = section.quantity
    for part in ("p50", "p99"):
        for what, outcome in (("alone", quiet), ("busy", busy)):
            quantity(f"delay {part}, {what}", "us", Better.LESS, 0).add(
                name, outcome.delay[part] * 1e6
            )
        added = (busy.delay[part] - quiet.delay[part]) * 1e6
        quantity(f"added to {part}", "us", Better.LESS, 0).add(name, added)
    quantity("lost or late, busy", "%", Better.LESS, 2).add(name, busy.loss * 100)
    quantity("calls set up meanwhile", "1/s", Better.MORE, 0).add(name, rate)


class Changing:
    """Sets up and ends calls for as long as its block lasts; ``rate`` is what it reached."""

    def __init__(self, relay: Relay, series: str) -> None:
        self.rate = 0.0
        self._relay = relay
        self._series = series
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Changing:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        ask, host = self._relay.client.ask, self._relay.host
        began, count = time.monotonic(), 0
        calls: list[Call] = []
        while not self._over.is_set():
            call = Call(self._series, count, host)
            port = 10_000 + 2 * (count % 10_000)
            ask(call.offer(CALLER, port))
            ask(call.answer(CALLEE, port))
            calls.append(call)
            if len(calls) > IN_PROGRESS:
                ask(calls.pop(0).hang_up())
            count += 1
            time.sleep(max(0.0, began + count / SET_UPS - time.monotonic()))
        self.rate = count / (time.monotonic() - began)
        for call in calls:
            ask(call.hang_up())
