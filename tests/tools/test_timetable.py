"""Things are done at their time, and being late once makes nothing else late."""

from __future__ import annotations

import socket
import time

import pytest

from rtpproxy_tw.tools.timetable import Timetable

MS = 0.001


def test_everything_due_is_done_in_its_order() -> None:
    done: list[str] = []
    with Timetable() as timetable:
        start = time.monotonic() - 1
        timetable.add(start + 0.01, 0.02, 2, lambda now: done.append("b"))
        timetable.add(start, 0.02, 3, lambda now: done.append("a"))
        timetable.run(start + 0.5)
    assert done == ["a", "b", "a", "b", "a"]


def test_nothing_is_done_that_is_due_later() -> None:
    done: list[float] = []
    with Timetable() as timetable:
        end = time.monotonic() + MS
        timetable.add(end + 1, 1, 1, done.append)
        timetable.run(end)
    assert time.monotonic() >= end
    assert done == []


def test_times_are_counted_from_the_start_and_not_from_the_time_before() -> None:
    done: list[float] = []

    def late(now: float) -> None:
        if not done:
            time.sleep(5 * MS)
        done.append(now)

    with Timetable() as timetable:
        start = time.monotonic() + MS
        timetable.add(start, 2 * MS, 10, late)
        timetable.run(start + 30 * MS)
    assert len(done) == 10
    assert all(now >= start + 2 * MS * number for number, now in enumerate(done))


@pytest.mark.network
def test_a_socket_is_listened_to_meanwhile() -> None:
    heard: list[bytes] = []
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other, Timetable() as timetable:
        timetable.listen(one, lambda sock: heard.append(sock.recv(10)))
        start = time.monotonic()
        timetable.add(start, 2 * MS, 2, lambda now: other.send(b"hello"))
        timetable.run(start + 10 * MS)
    assert heard == [b"hello", b"hello"]


@pytest.mark.network
def test_what_has_come_by_the_end_is_heard_even_without_any_time() -> None:
    heard: list[bytes] = []
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other, Timetable() as timetable:
        timetable.listen(one, lambda sock: heard.append(sock.recv(10)))
        for _ in range(3):
            other.send(b"hello")
        timetable.run(time.monotonic() - 1)
    assert len(heard) == 3
