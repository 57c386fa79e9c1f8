"""The garbage collector: when it works, and that ended sessions do without."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock

from rtpproxy_tw.collecting import FEW, LOOK_EVERY, PATIENCE, Collecting
from rtpproxy_tw.latch import latch_factory
from rtpproxy_tw.session import Ending, SessionKey, new_session, take_apart
from rtpproxy_tw.web.recent import KEPT, Recent


@pytest.fixture
def clock() -> Iterator[Clock]:
    """Puts Python's own settings back, whatever happens."""
    before = gc.get_threshold()
    yield Clock()
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_is_there_at_the_start_is_never_looked_at_again(clock: Clock) -> None:
    """Modules, settings, the reactor: a hundred thousand objects."""
    before = gc.get_threshold()
    collecting = Collecting([], clock)
    collecting.startService()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold() != before
    collecting.stopService()
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == before


def test_everything_is_collected_while_there_are_few_sessions(clock: Clock) -> None:
    """Nobody hears it then."""
    sessions: list[int] = []
    times: list[int] = []
    collecting = Collecting(sessions, clock, lambda: times.append(len(sessions)))
    collecting.startService()
    assert times == [0]
    sessions += range(FEW + 1)
    clock.pump([LOOK_EVERY] * 10)
    assert times == [0]
    del sessions[0]
    clock.advance(LOOK_EVERY)
    assert times == [0, FEW]
    collecting.stopService()


def test_a_relay_that_is_always_busy_is_collected_once_a_day(clock: Clock) -> None:
    """Whatever else makes garbage must not do so for ever."""
    times: list[float] = []
    sessions: list[int] = []
    collecting = Collecting(sessions, clock, lambda: times.append(clock.seconds()))
    collecting.startService()
    times.clear()
    sessions += range(FEW + 1)
    clock.pump([LOOK_EVERY] * (PATIENCE + 5))
    assert times == [PATIENCE * LOOK_EVERY]
    collecting.stopService()


def test_a_session_taken_apart_is_gone_at_once() -> None:
    """Its parts know each other; nothing else would ever free them but a collection."""
    made = new_session(SessionKey("c", "f"), 0.0, 60.0, latch_factory("strict"))
    count = len(gc.get_objects())
    gc.disable()
    try:
        take_apart(made)
        del made
        assert len(gc.get_objects()) < count - 8
    finally:
        gc.enable()


def test_a_leg_of_a_session_taken_apart_still_knows_its_timeline() -> None:
    """A recording that takes long to be finished is told of there."""
    made = new_session(SessionKey("c", "f"), 0.0, 60.0, latch_factory("strict"))
    leg = made.caller
    take_apart(made)
    leg.session.timeline.add(1.0, "recording", "finished")
    assert len(made.timeline) == 1


def test_sessions_that_are_not_remembered_any_more_are_gone() -> None:
    """A busy relay ends hundreds in a second."""
    recent = Recent(lambda: 0.0)
    made = [
        new_session(SessionKey(str(number), "f"), 0.0, 60.0, latch_factory("strict"))
        for number in range(KEPT + 2)
    ]
    for session in made:
        recent.ended(session, Ending.DELETED)
    assert not hasattr(made[1], "caller")
    assert made[2].caller.session is made[2]
    assert recent.of_call("1") == []
    assert [found for found, _ in recent.of_call("2")] == [made[2]]
