"""Long answers leave the reactor to others, and wait for clients that do not read."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from rtpproxy_tw.web.slices import SLICE, Slices
from tests.conftest import LoggedFailures
from tests.web.client import Connection, Served, request


class FakeRequest:
    """As much of a request as an answer in slices needs."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.finished = 0
        self.lost = 0
        self.gone: Deferred[None] = Deferred()

    def notifyFinish(self) -> Deferred[None]:
        return self.gone

    def registerProducer(self, producer: object, streaming: bool) -> None:
        assert streaming

    def unregisterProducer(self) -> None:
        assert not self.finished

    def write(self, octets: bytes) -> None:
        self.written.append(octets)

    def finish(self) -> None:
        self.finished += 1

    def loseConnection(self) -> None:
        self.lost += 1


class Stopwatch:
    """Time that passes with each piece."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def pieces(watch: Stopwatch, count: int, each: float) -> Iterator[bytes]:
    for _ in range(count):
        watch.now += each
        yield b"x"


def sliced(count: int, each: float) -> tuple[FakeRequest, Clock, Slices]:
    watch, clock, asked = Stopwatch(), Clock(), FakeRequest()
    return asked, clock, Slices(asked, pieces(watch, count, each), clock, watch)


def test_a_slice_ends_when_its_time_is_over() -> None:
    asked, clock, slices = sliced(10, SLICE / 2)
    slices.start()
    assert asked.written == [b"xx"]
    for _ in range(10):
        clock.advance(0)
    assert b"".join(asked.written) == b"x" * 10
    assert asked.finished == 1
    assert not clock.getDelayedCalls()


def test_a_client_that_does_not_read_is_waited_for() -> None:
    asked, clock, slices = sliced(10, SLICE)
    slices.start()
    slices.pauseProducing()
    clock.pump([0] * 20)
    assert asked.written == [b"x"]
    slices.resumeProducing()
    clock.pump([0] * 20)
    assert b"".join(asked.written) == b"x" * 10


def test_nothing_is_made_for_a_client_that_is_gone() -> None:
    asked, clock, slices = sliced(10, SLICE)
    slices.start()
    asked.gone.errback(Failure(ConnectionLost()))
    clock.pump([0] * 20)
    assert asked.written == [b"x"]
    assert not clock.getDelayedCalls()


def test_an_answer_that_breaks_in_the_middle_ends_the_connection(
    logged_failures: LoggedFailures,
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise ValueError("odd")

    asked = FakeRequest()
    Slices(asked, broken(), Clock()).start()
    assert asked.lost
    assert not asked.finished
    assert len(logged_failures.take()) == 1


def test_ten_thousand_calls_are_listed_without_holding_the_reactor_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served = Served(ports=20_100)
    for number in range(10_000):
        served.call(f"call {number}", answered=False)
    took: list[float] = []
    original = Slices._slice

    def timed(slices: Slices) -> None:
        began = time.thread_time()
        original(slices)
        took.append(time.thread_time() - began)

    monkeypatch.setattr(Slices, "_slice", timed)
    # A clock of its own: that of the tests sorts ten thousand timers at each callLater.
    clock = served.interface._clock = Clock()
    connection = Connection(served)
    connection.send(request("/api/v1/calls"))
    clock.pump([0] * 1000)
    assert connection.answer().json["count"] == 10_000
    assert len(took) > 20
    # A few may meet the garbage collector.
    assert sorted(took)[-1 - len(took) // 50] < 0.005
