"""Long answers leave the reactor to others, and wait for clients that do not read."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from rtpproxy_tw.web.api import Filter
from rtpproxy_tw.web.slices import REST, SLICE, Slices
from tests.conftest import LoggedFailures
from tests.web.client import Served


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
    clock.pump([REST * SLICE] * 10)
    assert b"".join(asked.written) == b"x" * 10
    assert asked.finished == 1
    assert not clock.getDelayedCalls()


def test_packets_have_most_of_the_time_between_slices() -> None:
    """However fast the client reads."""
    asked, clock, slices = sliced(10, SLICE)
    slices.start()
    slices.pauseProducing()
    slices.resumeProducing()
    clock.advance(REST * SLICE / 2)
    assert asked.written == [b"x"]
    clock.advance(REST * SLICE)
    assert asked.written == [b"x", b"x"]


def test_a_client_that_does_not_read_is_waited_for() -> None:
    asked, clock, slices = sliced(10, SLICE)
    slices.start()
    slices.pauseProducing()
    clock.pump([REST * SLICE] * 20)
    assert asked.written == [b"x"]
    slices.resumeProducing()
    clock.pump([REST * SLICE] * 20)
    assert b"".join(asked.written) == b"x" * 10


def test_nothing_is_made_for_a_client_that_is_gone() -> None:
    asked, clock, slices = sliced(10, SLICE)
    slices.start()
    asked.gone.errback(Failure(ConnectionLost()))
    clock.pump([REST * SLICE] * 20)
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


@pytest.mark.parametrize("state, found", [(None, 100), ("both", 0)])
def test_a_list_can_give_way_after_each_call_whatever_it_finds(
    state: str | None, found: int
) -> None:
    served = Served(ports=500)
    for number in range(100):
        served.call(f"call {number}", answered=False)
    passing = iter(range(10**9))
    asked, clock = FakeRequest(), Clock()
    # Each look at the clock is a slice later than the one before.
    chunks = served.api.calls(Filter(state=state))
    Slices(asked, chunks, clock, lambda: 2 * SLICE * next(passing)).start()
    clock.pump([1.0] * 1000)
    assert len(asked.written) > 100
    assert json.loads(b"".join(asked.written))["count"] == found
