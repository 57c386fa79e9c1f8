"""Ends are told of when there is time, and all of them."""

from __future__ import annotations

from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from rtpproxy_tw.aftermath import FEW, LATEST, PAUSE, Aftermath
from rtpproxy_tw.interfaces import ISessionObserver
from rtpproxy_tw.session import Ending, Session
from tests.conftest import LoggedFailures
from tests.contracts import session


@implementer(ISessionObserver)
class Listener:
    """Remembers what it is told, and fails for one session."""

    def __init__(self, log: list[tuple[str, str, Session]], name: str) -> None:
        self.log, self.name = log, name
        self.broken: Session | None = None

    def created(self, session: Session) -> None:
        """See ISessionObserver."""
        self.log.append((self.name, "created", session))

    def completed(self, session: Session) -> None:
        """See ISessionObserver."""
        self.log.append((self.name, "completed", session))

    def ended(self, session: Session, why: Ending) -> None:
        """See ISessionObserver."""
        if session is self.broken:
            raise ZeroDivisionError
        self.log.append((self.name, why.value, session))


class Bench:
    """Two listeners behind an aftermath."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[str, str, Session]] = []
        self.first, self.second = Listener(self.told, "first"), Listener(self.told, "second")
        self.aftermath = Aftermath((self.first, self.second), self.clock)


def test_it_is_an_observer() -> None:
    """All methods are there."""
    assert verifyObject(ISessionObserver, Bench().aftermath)


def test_beginnings_are_told_at_once() -> None:
    """They are about to be looked at."""
    bench, made = Bench(), session()
    bench.aftermath.created(made)
    bench.aftermath.completed(made)
    assert bench.told == [
        ("first", "created", made),
        ("second", "created", made),
        ("first", "completed", made),
        ("second", "completed", made),
    ]


def test_an_end_is_told_when_no_other_follows() -> None:
    """In the observers' order, once, and nothing is scheduled afterwards."""
    bench, made = Bench(), session()
    bench.aftermath.ended(made, Ending.DELETED)
    assert bench.told == []
    bench.clock.advance(PAUSE)
    assert bench.told == [("first", "deleted", made), ("second", "deleted", made)]
    assert not bench.clock.getDelayedCalls()
    assert not len(bench.aftermath)


def test_while_sessions_go_on_ending_it_is_told_at_the_latest_moment() -> None:
    """Else a relay that ends calls all the time would never tell."""
    bench = Bench()
    for number in range(int(LATEST / PAUSE) - 1):
        bench.aftermath.ended(session(number), Ending.DELETED)
        bench.clock.advance(PAUSE / 2)
        bench.clock.advance(PAUSE / 4)
        assert bench.told == [] or bench.clock.seconds() >= LATEST
    bench.clock.advance(LATEST / 2)
    assert bench.told


def test_many_are_told_a_few_at_a_time() -> None:
    """Packets and commands have their turn between."""
    bench = Bench()
    for number in range(3 * FEW):
        bench.aftermath.ended(session(number), Ending.TIMEOUT)
    for count in (1, 2, 3):
        bench.clock.advance(PAUSE)
        assert len(bench.told) == 2 * FEW * count
    assert not bench.clock.getDelayedCalls()


def test_at_the_end_all_is_told() -> None:
    """Records are written and counted before those who keep them stop."""
    bench = Bench()
    for number in range(2 * FEW + 1):
        bench.aftermath.ended(session(number), Ending.SHUTDOWN)
    bench.aftermath.stop()
    assert len(bench.told) == 2 * (2 * FEW + 1)
    assert not bench.clock.getDelayedCalls()


def test_an_observer_with_a_bug_keeps_nothing_from_the_others(
    logged_failures: LoggedFailures,
) -> None:
    """Nor from itself, the next time."""
    bench, made, other = Bench(), session(1), session(2)
    bench.first.broken = made
    for each in (made, other):
        bench.aftermath.ended(each, Ending.DELETED)
    bench.clock.advance(PAUSE)
    assert bench.told == [
        ("second", "deleted", made),
        ("first", "deleted", other),
        ("second", "deleted", other),
    ]
    assert len(logged_failures.take()) == 1
