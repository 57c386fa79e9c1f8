"""One run: calls are set up, something goes wrong, and what became of the calls is told."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from bench.cluster.phones import Heard, Media
from bench.cluster.signalling import Signalling
from bench.cluster.troubles import Scenario
from bench.cluster.world import MEDIA, World

SETTLING = 3.0
"""Seconds of media before anything happens."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many calls, set up how fast, and ``rate``: packets a second each way of each."""

    calls: int
    rate: float = 10.0
    a_second: int = 40
    lease: int = 1000
    """Milliseconds."""
    fast_path: str = "none"


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it. Times are in seconds."""

    calls: int
    heard: Heard
    ended: int
    """BYEs that reached their call: SIP thinks so, and a relay ended it by a command."""
    others: tuple[int, int]
    """Calls that began meanwhile, and those that went well."""
    slowest_call: float
    """Until the slowest of them was answered."""
    slowest: float
    """Of commands to the other relay meanwhile."""
    detection: float | None
    """Until the other relay began to take over; None where it did not."""
    taking: float | None
    """What it took."""
    offloaded: tuple[int, int] = 0, 0
    """Streams in the kernel: at the first relay before, at the other one afterwards."""
    note: str = ""

    @property
    def well(self) -> bool:
        """Whether no call was lost, and none that began meanwhile."""
        placed, good = self.others
        kept = self.heard.kept == self.ended == self.calls
        return kept and placed == good and not self.heard.strays


def measure(scenario: Scenario, plan: Plan) -> Told:
    """One scenario. Raises ClusterError."""
    with World(scenario.nodes, plan.lease, plan.fast_path) as world:
        scenario.before(world)
        world.start_all(absent=scenario.absent)
        with Signalling(world, scenario.relays, scenario.retry_after) as sip:
            return _run(scenario, plan, world, sip)


class _Commands:
    """Asks a relay ten times a second, in a thread; keeps how long the slowest answer took."""

    def __init__(self, world: World) -> None:
        self.slowest = 0.0
        self._world = world
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._stop.wait(0.1):
            took = self._world.seconds_for(MEDIA["two"], "U probe 10.9.0.1 4 p")
            self.slowest = max(self.slowest, took)

    def stop(self) -> None:
        """No more."""
        self._stop.set()
        self._thread.join()


def _run(scenario: Scenario, plan: Plan, world: World, sip: Signalling) -> Told:
    media = Media(world, sip.place(plan.calls, plan.a_second), plan.rate)
    try:
        time.sleep(SETTLING)
        before = world.metric("one", "relay_streams_offloaded")
        if not scenario.quiet:
            sip.begin_others()
        time.sleep(0.5)
        commands = _Commands(world)
        began = time.monotonic()
        try:
            note = scenario.trouble(world, sip)
            time.sleep(scenario.after)
        finally:
            commands.stop()
        over = time.monotonic()
        offloaded = before, world.metric("two", "relay_streams_offloaded")
        took = _take_over(world, began)
        placed, good, slowest_call = (0, 0, 0.0) if scenario.quiet else sip.end_others()
    finally:
        media.stop()
    closed = _closed(world)
    sip.hang_up(sip.calls)
    well = sip.ended()
    ended = min(plan.calls, _closed(world) - closed)
    if not well:
        note += "; SIP says that not all calls went well"
    return Told(
        calls=plan.calls,
        heard=media.told(began, over),
        ended=ended,
        others=(placed, good),
        slowest_call=slowest_call,
        slowest=commands.slowest,
        detection=took[0] if took else None,
        taking=took[1] if took else None,
        offloaded=offloaded,
        note=note.strip("; "),
    )


def _closed(world: World) -> int:
    """Sessions that relays have ended by a command."""
    line = 'relay_sessions_closed_total{reason="delete"}'
    return sum(world.metric(name, line) for name in world.living())


def _take_over(world: World, began: float) -> tuple[float, float] | None:
    """When the other relay began to take over, in seconds from ``began``, and for how long."""
    rows = world.fleet("two").get("addresses", ())
    now = time.monotonic()
    for row in rows:
        ago = row.get("taken_seconds_ago")
        if row["address"] == MEDIA["one"] and ago is not None:
            took = float(row["took_seconds"])
            return max(0.0, now - ago - took - began), took
    return None
