"""The look at all sessions once a second: complete, and never long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from rtpproxy_tw.addresses import LocalAddress
from rtpproxy_tw.latch import latch_factory
from rtpproxy_tw.media.relay import Relay
from rtpproxy_tw.reporting.sampling import BREATH, SLICE, STEPS, Sampler
from rtpproxy_tw.session import Ending, Session, SessionKey, new_session
from rtpproxy_tw.statistics import Totals
from tests.quality.scene import Scene, Sink, rtp


def sessions(count: int, clock: Clock) -> list[Session]:
    """Complete sessions with media of both parties."""
    relay = Relay(clock.seconds, Totals())
    made = []
    for number in range(count):
        session = new_session(
            SessionKey(str(number), "f"), clock.seconds(), 60.0, latch_factory("strict")
        )
        for side, leg in enumerate(session.legs):
            leg.local, leg.port = LocalAddress("203.0.113.5"), 1024 + 2 * side
            for stream in leg.streams:
                stream.sender = Sink()
            leg.rtp.latch.signal(("192.0.2.9", 4000 + side), clock.seconds())
        session.complete = True
        for side, leg in enumerate(session.legs):
            for frame in range(3):
                relay.received(leg.rtp, rtp(frame), ("192.0.2.9", 4000 + side))
        made.append(session)
    return made


@pytest.fixture
def clock() -> Clock:
    """A clock that does not begin at zero."""
    made = Clock()
    made.advance(1000.0)
    return made


def test_each_session_is_looked_at_once_in_a_second(clock: Clock) -> None:
    """In slices, with pauses between."""
    sampler = Sampler(clock=clock, is_local=lambda host: False)
    sampler.sessions = sessions(3 * SLICE + 1, clock)
    sampler.tick()
    looked = [session.caller.monitor is not None for session in sampler.sessions]
    assert sum(looked) == SLICE
    for _ in range(10):
        clock.advance(0.1)
    assert all(session.caller.monitor is not None for session in sampler.sessions)
    assert not clock.getDelayedCalls()


def test_a_round_that_takes_longer_than_a_second_is_not_begun_twice(clock: Clock) -> None:
    """As on a machine that is far too slow."""
    sampler = Sampler(clock=clock, is_local=lambda host: False)
    sampler.sessions = sessions(3 * SLICE, clock)
    sampler.tick()
    sampler.tick()
    assert len(clock.getDelayedCalls()) == 1
    sampler.stop()
    assert not clock.getDelayedCalls()


def test_a_round_over_ten_thousand_sessions_is_many_small_slices_within_a_second(
    clock: Clock,
) -> None:
    """What one costs is measured by ``python -m bench.quality 10000``."""
    sampler = Sampler(clock=clock, is_local=lambda host: False)
    sampler.sessions = sessions(100, clock) * 100
    seen: list[int] = []
    sampler._look = lambda session, now: seen.append(1)  # type: ignore[method-assign]
    began = clock.seconds()
    sampler.tick()
    slices = [len(seen)]
    while sampler._turn is not None:
        clock.advance(sampler._pause)
        slices.append(len(seen) - sum(slices))
    assert sum(slices) == 10_000
    assert max(slices) <= SLICE
    assert clock.seconds() - began < 1.0


def test_a_survey_of_many_is_made_in_steps_before_anybody_is_looked_at(clock: Clock) -> None:
    taken = 0

    def survey() -> Iterator[set[Session]]:
        nonlocal taken
        for _ in range(3 * STEPS):
            taken += 1
            yield set()

    sampler = Sampler(clock=clock, is_local=lambda host: False, stirred=survey)
    sampler.sessions = (session,) = sessions(1, clock)
    sampler.tick()
    assert (taken, session.caller.monitor) == (STEPS, None)
    sampler.tick()
    assert taken == STEPS, "it is still going on"
    for goes in (2, 3):
        clock.advance(BREATH)
        assert (taken, session.caller.monitor) == (goes * STEPS, None)
    clock.advance(BREATH)
    assert session.caller.monitor is not None
    sampler.tick()
    sampler.stop()
    assert not clock.getDelayedCalls()
    sampler.tick()
    assert taken == 5 * STEPS, "it begins anew"


def test_sessions_that_end_within_a_round_are_left_alone(clock: Clock) -> None:
    """Their figures are final."""
    sampler = Sampler(clock=clock, is_local=lambda host: False)
    sampler.sessions = sessions(SLICE + 1, clock)
    last = sampler.sessions[-1]
    sampler.tick()
    last.ended = Ending.DELETED
    clock.advance(1.0)
    assert last.caller.monitor is None


def test_counters_of_another_path_are_brought_up_to_date_before_the_look(clock: Clock) -> None:
    """Only of sessions that have any there."""
    refreshed: list[Session] = []
    sampler = Sampler(clock=clock, is_local=lambda host: False, refresh=refreshed.append)
    one, other = sampler.sessions = sessions(2, clock)
    other.callee.rtp.offloaded = True
    sampler.tick()
    assert refreshed == [other]
    assert one.caller.monitor is not None


def test_the_end_of_a_session_is_told_once_with_both_verdicts() -> None:
    """In the log; and not of a session that never had both parties."""
    told: list[LogEvent] = []
    with observed(told):
        scene = Scene()
        scene.callee.sends = False
        scene.run(6)
        scene.end()
        scene = Scene(complete=False)
        scene.end()
    (event,) = told
    assert (event["caller"], event["callee"]) == ("ok", "never-arrived")
    assert str(event["callee_sentence"]).startswith("no RTP packet ever arrived from the callee")


@contextmanager
def observed(events: list[LogEvent]) -> Iterator[None]:
    """What is logged goes into ``events``."""

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        events.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)


def test_a_stream_that_loses_much_is_listened_for_elsewhere() -> None:
    """A port that is connected to the party would hear nobody else."""
    scene = Scene()
    released: list[Session] = []
    scene.sampler._release = released.append
    scene.run(3)
    assert not released
    scene.callee.number += 20
    scene.run(1)
    assert released == [scene.session]
    scene.run(3)
    assert len(released) == 1
