"""What becomes of lines on their way, without any connection."""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtpproxy_tw.reporting.backlog import REFUSALS, Backlog, NoticeCounts


def make(limit: int = 4, *lines: bytes) -> Backlog:
    """A backlog with ``lines`` waiting."""
    backlog = Backlog(limit, NoticeCounts())
    for line in lines:
        assert backlog.add(line)
    return backlog


def taken(backlog: Backlog, now: float = 0.0) -> list[bytes]:
    """Everything that may be written now."""
    lines = []
    while (line := backlog.take(now)) is not None:
        lines.append(line)
    return lines


def test_lines_leave_in_their_order() -> None:
    assert taken(make(4, b"a", b"b", b"c")) == [b"a", b"b", b"c"]


def test_the_oldest_gives_way_when_there_are_too_many() -> None:
    backlog = make(2, b"a", b"b")
    assert not backlog.add(b"c")
    assert taken(backlog) == [b"b", b"c"]
    assert backlog.counts == NoticeCounts(accepted=3, dropped=1)


def test_what_was_written_long_ago_has_arrived() -> None:
    backlog = make(4, b"a", b"b")
    backlog.take(1.0)
    backlog.take(2.0)
    assert backlog.settle(1.5)
    assert [line for _, line in backlog.unsure] == [b"b"]
    assert not backlog.settle(1.5)
    assert backlog.counts.delivered == 1


def test_the_last_lines_may_be_excepted_from_what_has_arrived() -> None:
    backlog = make(4, b"a", b"b")
    taken(backlog)
    assert backlog.settle(5.0, keep=1)
    assert [line for _, line in backlog.unsure] == [b"b"]
    assert not backlog.settle(5.0, keep=1)


def test_what_is_unsure_is_written_again_before_the_rest() -> None:
    backlog = make(4, b"a", b"b", b"c")
    backlog.take(0.0)
    backlog.take(0.0)
    assert backlog.take_back() is None
    assert list(backlog.waiting) == [b"a", b"b", b"c"]
    assert backlog.counts.repeated == 2


def test_after_a_break_one_line_goes_alone_until_it_has_arrived() -> None:
    backlog = make(4, b"a", b"b", b"c")
    taken(backlog)
    backlog.take_back()
    assert taken(backlog, 5.0) == [b"a"]
    backlog.settle(5.0)
    assert taken(backlog, 6.0) == [b"b", b"c"]


def test_a_break_with_nothing_under_way_changes_nothing() -> None:
    backlog = make(4, b"a", b"b")
    assert backlog.take_back() is None
    assert taken(backlog) == [b"a", b"b"]


def test_a_line_under_which_every_connection_breaks_is_given_up() -> None:
    backlog = make(4, b"bad", b"good")
    taken(backlog)
    assert backlog.take_back() is None
    for _ in range(REFUSALS - 1):
        assert taken(backlog) == [b"bad"]
        assert backlog.take_back() is None
    assert taken(backlog) == [b"bad"]
    assert backlog.take_back() == b"bad"
    assert taken(backlog) == [b"good"]
    assert backlog.counts.dropped == 1


def test_no_more_is_written_than_may_be_unsure() -> None:
    backlog = make(2, b"a", b"b")
    assert taken(backlog) == [b"a", b"b"]
    backlog.add(b"c")
    assert backlog.take(0.0) is None
    backlog.settle(0.0)
    assert backlog.take(0.0) == b"c"


def test_what_comes_back_to_a_full_queue_pushes_the_oldest_out() -> None:
    backlog = make(2, b"a", b"b")
    taken(backlog)
    backlog.add(b"c")
    backlog.take_back()
    assert list(backlog.waiting) == [b"b", b"c"]


def test_what_waits_at_the_end_is_counted_as_dropped() -> None:
    backlog = make(4, b"a", b"b")
    backlog.take(0.0)
    assert backlog.abandon() == 1
    assert backlog.empty
    assert (backlog.counts.delivered, backlog.counts.dropped) == (1, 1)


class Traffic(RuleBasedStateMachine):
    """Any history: nothing is lost unless counted, nothing overtakes, memory is bounded."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog(5, NoticeCounts())
        self.now = 0.0
        self.number = 0

    @rule()
    def add(self) -> None:
        self.number += 1
        self.backlog.add(b"%d" % self.number)

    @rule(count=st.integers(1, 6))
    def write(self, count: int) -> None:
        self.now += 1.0
        for _ in range(count):
            self.backlog.take(self.now)

    @rule(age=st.integers(0, 3))
    def settle(self, age: int) -> None:
        self.backlog.settle(self.now - age)

    @rule()
    def break_connection(self) -> None:
        self.backlog.take_back()

    @invariant()
    def lines_are_ordered_bounded_and_accounted_for(self) -> None:
        backlog = self.backlog
        held: deque[bytes] = deque(line for _, line in backlog.unsure)
        held.extend(backlog.waiting)
        assert list(held) == sorted(held, key=int)
        assert len(backlog.waiting) <= 5
        assert len(backlog.unsure) <= 5
        counts = backlog.counts
        assert counts.accepted == len(held) + counts.delivered + counts.dropped


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
