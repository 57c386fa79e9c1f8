"""Stamps do not jump."""

from __future__ import annotations

from rtpproxy_tw.recording.clock import SteadyWall
from rtpproxy_tw.session import Ending
from tests.recording.memory import a_session
from tests.recording.test_sidecars import Recorder


def test_a_clock_that_is_set_moves_stamps_only_when_it_is_looked_at() -> None:
    wall, now = [1000.0], [50.0]
    steady = SteadyWall(lambda: wall[0], lambda: now[0])
    assert steady() == 1000.0
    wall[0], now[0] = 5000.0, 51.0
    assert steady() == 1001.0
    steady.settle()
    assert steady() == 5000.0


def test_it_is_looked_at_while_nothing_is_recorded() -> None:
    looked: list[int] = []
    it = Recorder(settle=lambda: looked.append(1))
    one, other = a_session("one"), a_session("other")
    it.record(one.caller)
    it.record(other.caller)
    assert len(looked) == 1
    for session in (one, other):
        it.recorders.ended(session, Ending.DELETED)
    it.record(a_session("later").caller)
    assert len(looked) == 2
