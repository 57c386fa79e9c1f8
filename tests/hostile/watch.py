"""The check after each row: a relay and the calls beside the row are as they were before it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from tests.e2e.process import wait_until
from tests.hostile.exemptions import GROWTH, Exemption, Invariant
from tests.hostile.relay import Relay, State, late
from tests.hostile.world import Bystanders

LAG = 0.05
"""Seconds, p99, of the reactor's lateness."""

GROWN = 128 << 20
"""Octets that all rows together may leave behind."""

PATIENCE = 20.0
"""Seconds until everything must be as before."""


class Watched(Protocol):
    """A relay, what it had of memory at first, and the calls beside the row."""

    relay: Relay
    memory: int

    @property
    def bystanders(self) -> Bystanders | None:
        """None where there are none."""


class Watch:
    """Compares the world after an attack with the world before it."""

    def __init__(self, world: Watched, exempt: Sequence[Exemption] = ()) -> None:
        self.world = world
        self.lifted = frozenset().union(*(each.lifts for each in exempt))
        self.growth = max([GROWTH, *(each.growth for each in exempt)])
        self.more = sum(each.descriptors for each in exempt)
        relay = world.relay
        relay.ask("V")
        self.before: State = relay.state()
        self.memory = relay.memory()
        self.lag = relay.lag()
        self.log = len(relay.log())
        self.waited = relay.waited()
        self.sent = world.bystanders.sent if world.bystanders else 0

    def check(self) -> None:
        """The invariants of every row. AssertionError where one is broken."""
        relay = self.world.relay
        relay.checked = True
        if Invariant.LIFE not in self.lifted:
            self._lives_as_before()
        if Invariant.TRACEBACK not in self.lifted:
            self._log_is_clean()

    def _lives_as_before(self) -> None:
        relay = self.world.relay
        assert relay.running, relay.log()[-3000:]
        assert relay.ask("V") == "20040107", "it answers nonsense"
        is_back(relay, replace(self.before, descriptors=self.before.descriptors + self.more))
        self._nothing_is_lost()
        memory = relay.memory()
        assert memory - self.memory < self.growth, "this row has left memory behind"
        assert memory - self.world.memory < max(GROWN, self.growth), (
            "all rows together have left memory behind"
        )
        if Invariant.LAG not in self.lifted:
            self._was_in_time()

    def _log_is_clean(self) -> None:
        logged = self.world.relay.log()[self.log :]
        assert "Traceback" not in logged, logged
        troubles = [line for line in logged.splitlines() if " WARN" in line or " ERROR" in line]
        assert len(troubles) < 100, troubles

    def _nothing_is_lost(self) -> None:
        if (beside := self.world.bystanders) is None:
            assert Invariant.LOSS in self.lifted, "no other call went on"
            return
        since = self.sent
        if Invariant.LOSS in self.lifted:
            since = beside.sent
            time.sleep(0.1)
        lost = beside.lost(since)
        assert lost == 0, f"other calls lost {lost} packets"

    def _was_in_time(self) -> None:
        relay = self.world.relay
        p99, waited = late(self.lag, relay.lag()), relay.waited() - self.waited
        # What the process waited for a processor is the machine's fault, and known to the kernel.
        assert p99 <= LAG or waited > LAG, f"the reactor was {p99} s late (p99)"


def is_back(relay: Relay, before: State) -> None:
    """Wait until it has no more in use than before. AssertionError where that never comes."""

    def back() -> bool:
        now = relay.state()
        return (
            (now.sessions, now.ports) == (before.sessions, before.ports)
            and now.descriptors <= before.descriptors
            and now.timers <= before.timers + 1
        )

    try:
        wait_until(back, "everything is as before", PATIENCE)
    except AssertionError:
        raise AssertionError(f"before {before}, now {relay.state()}") from None
