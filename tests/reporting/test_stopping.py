"""What becomes of waiting notices when the relay stops."""

from __future__ import annotations

import pytest
from twisted.logger import LogEvent

from tests.reporting.listener import Listener

pytestmark = pytest.mark.usefixtures("kernel")


def test_stopping_closes_an_idle_connection() -> None:
    listener = Listener()
    listener.tell(b"a")
    connection = listener.accept()
    connection.flush()
    done = listener.stop()
    assert done == []
    listener.turn()
    assert done == [None]
    assert connection.gone
    assert not listener.reactor.getDelayedCalls()


def test_stopping_writes_what_waits_first_even_after_a_break() -> None:
    listener = Listener()
    listener.tell(b"a", b"b")
    first = listener.accept()
    first.flush()
    first.end()
    listener.wait(1)
    second = listener.accept()
    done = listener.stop()
    second.flush()
    listener.turn()
    assert done == [None]
    assert second.taken == [b"a\n", b"b\n"]


def test_stopping_gives_a_connection_under_way_the_chance_to_be_made() -> None:
    listener = Listener()
    listener.tell(b"a")
    done = listener.stop()
    listener.reactor.advance(0.5)
    connection = listener.accept()
    connection.flush()
    listener.turn()
    assert done == [None]
    assert connection.taken == [b"a\n"]
    assert not listener.reactor.getDelayedCalls()


@pytest.mark.parametrize("accepted", [False, True])
def test_stopping_waits_a_second_at_most_for_a_listener_that_does_nothing(
    accepted: bool, log: list[LogEvent]
) -> None:
    listener = Listener()
    listener.tell(b"a", b"b")
    if accepted:
        listener.accept()
    done = listener.stop()
    listener.wait(0.75)
    assert done == []
    listener.wait(0.5)
    assert done == [None]
    assert [event["count"] for event in log] == [1 if accepted else 2]
    assert not listener.reactor.getDelayedCalls()


def test_stopping_does_not_wait_for_a_listener_that_is_not_there() -> None:
    listener = Listener()
    listener.tell(b"a")
    listener.refuse()
    assert listener.stop() == [None]
    assert not listener.reactor.getDelayedCalls()
    assert listener.notifier.counts.dropped == 1


def test_a_stopped_notifier_takes_no_notices_until_it_is_started_again() -> None:
    listener = Listener()
    assert listener.stop() == [None]
    listener.tell(b"a")
    assert listener.attempts == 0
    listener.notifier.startService()
    listener.tell(b"b")
    assert listener.attempts == 1
