"""Notices and a listener that comes, goes and misbehaves, without sockets."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address
from twisted.logger import LogEvent

from rtpproxy_tw.reporting.delivery import IDLE, SETTLE
from tests.reporting.listener import Listener

pytestmark = pytest.mark.usefixtures("kernel")


def test_a_refused_connection_is_tried_again_after_growing_pauses() -> None:
    listener = Listener()
    listener.tell(b"a")
    for pause in (1, 2, 4):
        listener.refuse()
        listener.wait(pause - 0.25)
        assert listener.attempts == 0
        listener.wait(0.25)
        assert listener.attempts == 1
    connection = listener.accept()
    connection.flush()
    assert connection.taken == [b"a\n"]


def test_notices_during_a_pause_do_not_shorten_it() -> None:
    listener = Listener()
    listener.tell(b"a")
    listener.refuse()
    listener.tell(b"b")
    assert listener.attempts == 0


def test_an_outage_is_logged_once_when_it_is_more_than_a_restart(log: list[LogEvent]) -> None:
    listener = Listener(retry=lambda failures: 1.0)
    listener.tell(b"a")
    listener.refuse()
    assert not log
    for _ in range(4):
        listener.wait(1)
        listener.refuse()
    assert [event["target"] for event in log] == ["tcp:192.0.2.5:9999"]
    listener.wait(1)
    listener.accept().flush()
    listener.wait(SETTLE + 1)
    assert [event["log_format"] for event in log][1:] == ["{target} takes notices again"]


def test_pauses_start_small_again_after_a_notice_has_arrived() -> None:
    listener = Listener()
    listener.tell(b"a")
    listener.refuse()
    listener.wait(1)
    listener.refuse()
    listener.wait(2)
    connection = listener.accept()
    connection.flush()
    listener.wait(SETTLE + 1)
    listener.tell(b"b")
    connection.flush()
    connection.end()
    listener.wait(1)
    assert listener.attempts == 1


def test_the_oldest_notices_give_way_in_a_long_outage(log: list[LogEvent]) -> None:
    listener = Listener(queue_limit=3)
    listener.tell(b"1", b"2", b"3", b"4", b"5")
    connection = listener.accept()
    connection.flush()
    assert connection.taken == [b"3\n", b"4\n", b"5\n"]
    assert listener.notifier.counts.dropped == 2
    assert [event["target"] for event in log] == ["tcp:192.0.2.5:9999"]


def test_what_was_just_written_goes_again_after_a_reset_the_first_line_alone() -> None:
    listener = Listener()
    listener.tell(b"a", b"b", b"c")
    first = listener.accept()
    first.flush()
    first.end()
    listener.wait(1)
    second = listener.accept()
    second.flush()
    assert second.taken == [b"a\n"]
    listener.wait(SETTLE + 0.5)
    second.flush()
    assert second.taken == [b"a\n", b"b\n", b"c\n"]
    assert listener.notifier.counts.repeated == 3


def test_a_line_the_kernel_did_not_take_goes_again() -> None:
    listener = Listener()
    listener.tell(b"a")
    first = listener.accept()
    first.end()
    listener.wait(1)
    second = listener.accept()
    second.flush()
    assert second.taken == [b"a\n"]


def test_what_arrived_long_before_a_reset_does_not_go_again() -> None:
    listener = Listener()
    listener.tell(b"a")
    first = listener.accept()
    first.flush()
    listener.wait(SETTLE + 0.5)
    listener.tell(b"b")
    first.flush()
    first.end()
    listener.wait(1)
    second = listener.accept()
    second.flush()
    assert second.taken == [b"b\n"]


def test_what_lies_unread_goes_again_however_old_it_is() -> None:
    listener = Listener()
    listener.tell(b"a")
    first = listener.accept()
    first.unread = True
    first.flush()
    listener.wait(100)
    first.end()
    listener.wait(1)
    second = listener.accept()
    second.flush()
    assert second.taken == [b"a\n"]


def test_nothing_goes_again_after_an_orderly_end() -> None:
    listener = Listener()
    listener.tell(b"a")
    first = listener.accept()
    first.flush()
    first.finish()
    listener.wait(30)
    assert first.gone
    assert listener.attempts == 0
    listener.tell(b"b")
    second = listener.accept()
    second.flush()
    assert second.taken == [b"b\n"]
    assert listener.notifier.counts.repeated == 0


@pytest.mark.parametrize("taken", [False, True])
def test_an_orderly_end_with_something_outstanding_is_not_trusted(taken: bool) -> None:
    listener = Listener()
    listener.tell(b"a")
    first = listener.accept()
    first.unread = True
    if taken:
        first.flush()
    first.finish()
    listener.wait(1.25)
    second = listener.accept()
    second.flush()
    assert second.taken == [b"a\n"]


def test_after_an_orderly_end_only_the_line_the_kernel_did_not_take_goes_again() -> None:
    listener = Listener()
    listener.tell(b"a")
    first = listener.accept()
    first.flush()
    listener.tell(b"b")
    first.finish()
    listener.wait(1.25)
    second = listener.accept()
    second.flush()
    assert second.taken == [b"b\n"]


def test_a_listener_that_resets_every_connection_gets_the_rest_once_a_line_is_given_up() -> None:
    listener = Listener(retry=lambda failures: 1.0)
    listener.tell(b"bad", b"good")
    for _ in range(11):
        connection = listener.accept()
        connection.flush()
        assert connection.taken[0] == b"bad\n"
        connection.end()
        listener.wait(1)
    connection = listener.accept()
    connection.flush()
    assert connection.taken == [b"good\n"]
    assert listener.notifier.counts.dropped == 1


def test_a_listener_that_never_reads_is_given_one_line_at_a_time_and_a_bounded_queue() -> None:
    listener = Listener(queue_limit=100)
    listener.tell(b"a")
    connection = listener.accept()
    for number in range(1000):
        listener.tell(b"%d" % number)
    listener.wait(100)
    assert connection.value() == b"a\n"
    assert listener.notifier.counts.dropped == 900


def test_what_the_kernel_takes_but_nobody_reads_is_bounded_too() -> None:
    listener = Listener(queue_limit=100)
    listener.tell(b"a")
    connection = listener.accept()
    connection.unread = True
    for number in range(1000):
        listener.tell(b"%d" % number)
        connection.flush()
    listener.wait(100)
    assert len(connection.taken) == 100
    assert listener.notifier.counts.dropped == 801


def test_a_connection_to_itself_is_not_taken_for_a_listener() -> None:
    listener = Listener()
    listener.tell(b"a")
    address = IPv4Address("TCP", "127.0.0.1", 9999)
    connection = listener.accept(hostAddress=address, peerAddress=address)
    connection.flush()
    assert connection.taken == []
    listener.wait(1.25)
    assert connection.gone
    assert listener.attempts == 1


def test_an_idle_connection_is_closed_and_opened_again_when_needed() -> None:
    listener = Listener()
    listener.tell(b"a")
    first = listener.accept()
    first.flush()
    listener.wait(IDLE + SETTLE + 1)
    assert first.gone
    listener.tell(b"b")
    second = listener.accept()
    second.flush()
    assert second.taken == [b"b\n"]


def test_a_notice_that_meets_the_closing_of_an_idle_connection_is_not_lost() -> None:
    listener = Listener()
    listener.tell(b"a")
    first = listener.accept()
    first.flush()
    while not first.disconnecting:
        listener.reactor.advance(0.125)
    assert not first.gone
    listener.tell(b"b")
    listener.wait(1.5)
    second = listener.accept()
    second.flush()
    assert second.taken == [b"b\n"]
