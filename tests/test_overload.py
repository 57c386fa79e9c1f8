"""Refusing new sessions while the relay is too busy."""

from __future__ import annotations

import pytest

from rtpproxy_tw.assembly import TOO_BUSY
from rtpproxy_tw.commands import Lookup, Remote, Update
from rtpproxy_tw.errors import CommandError
from rtpproxy_tw.overload import EVERY, HIGH, LOW, Overload
from tests.fakes import Bench


class Machine:
    """A processor, used as the test says."""

    def __init__(self) -> None:
        self.now = self.used = 0.0
        self.told: list[bool] = []
        self.overload = Overload(lambda: self.used, lambda: self.now, self.told.append)

    def run(self, load: float, seconds: float) -> None:
        """Time passes, in which so much of a processor is used."""
        for _ in range(round(seconds / EVERY)):
            self.overload.look()
            self.now += EVERY
            self.used += EVERY * load
        self.overload.look()


def test_a_relay_that_is_busy_for_seconds_is_overloaded_until_it_is_less_so() -> None:
    machine = Machine()
    machine.run(HIGH - 0.02, 60)
    assert machine.told == []
    machine.run(1.0, 5)
    assert machine.told == [True]
    machine.run(LOW + 0.02, 60)
    assert machine.told == [True]
    machine.run(LOW - 0.02, 60)
    assert machine.told == [True, False]
    assert machine.overload.load == pytest.approx(LOW - 0.02, abs=0.001)


def test_a_moment_of_much_work_is_no_overload() -> None:
    machine = Machine()
    machine.run(0.1, 10)
    machine.run(1.0, 1)
    assert not machine.overload.active


def test_a_clock_that_stands_still_is_endured() -> None:
    machine = Machine()
    machine.overload.look()
    machine.overload.look()
    assert machine.overload.load == 0.0


def test_while_overloaded_new_sessions_are_refused_and_others_served() -> None:
    bench = Bench()
    party = Remote(("127.0.0.1", 5000))
    bench.do(Update("old", "f", None, party))
    bench.negotiator.too_busy = 98
    with pytest.raises(CommandError) as refused:
        bench.do(Update("new", "f", None, party))
    assert refused.value.code == 98
    bench.do(Lookup("old", "f", "t", party))
    bench.do(Update("old", "f", "t", party))
    bench.negotiator.too_busy = None
    bench.do(Update("new", "f", None, party))
    assert len(bench.registry) == 2


def test_only_opensips_is_told_so_that_it_tries_another_relay() -> None:
    assert TOO_BUSY == {"original": 98, "kamailio": 98, "opensips": 10}
