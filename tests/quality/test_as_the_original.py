"""The same datagrams to the original's engine and to the analyzer: the same figures."""

from __future__ import annotations

import csv
import random
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count

import pytest

from rtpproxy_tw.quality.analyzer import Analyzer
from tests.oracle import Oracle, needs_oracle
from tests.quality.streams import FRAME, STREAMS, Counts, packet

pytestmark = [pytest.mark.network, needs_oracle]

BURST = 100
"""So many datagrams are sent before the engine is given time, lest its socket overflow."""

PATIENCE = 5.0
"""Seconds for what the engine does at once, on a busy machine."""


class Caller:
    """A party that sends through a session of the engine; an analyzer hears the same."""

    numbers = count()

    def __init__(self, oracle: Oracle, resources: ExitStack) -> None:
        self.oracle = oracle
        self.analyzer = Analyzer()
        self.name = f"call-{next(self.numbers)}"
        self._sent = 0
        self._socket, sink = (
            resources.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2)
        )
        for each in (self._socket, sink):
            each.bind(("127.0.0.1", 0))
        own, other = self._socket.getsockname()[1], sink.getsockname()[1]
        oracle.ask(f"Ul127.0.0.1 {self.name} 127.0.0.1 {own} f")
        reply = oracle.ask(f"Ll127.0.0.1 {self.name} 127.0.0.1 {other} f t")
        self._socket.connect(("127.0.0.1", int(reply.split()[0])))

    def send(self, datagram: bytes) -> None:
        """Send it; it arrives at once, on the loopback interface."""
        self._socket.send(datagram)
        self.analyzer.heard(datagram, time.monotonic())
        self._sent += 1
        if self._sent % BURST == 0:
            self.settle()

    def settle(self) -> None:
        """Wait until the engine has dealt with everything, which it relays last of all."""
        deadline = time.monotonic() + PATIENCE
        while int(self._query("nrelayed")) < self._sent:
            assert time.monotonic() < deadline, "the engine has not relayed everything"
            time.sleep(0.001)

    def theirs(self) -> Counts:
        """What the engine has counted."""
        names = ("rtpa_nsent", "rtpa_nrcvd", "rtpa_ndups", "rtpa_nlost", "rtpa_perrs")
        return Counts(*map(int, self._query(*names).split()))

    def ours(self) -> Counts:
        """What the analyzer has counted."""
        us = self.analyzer
        return Counts(us.sent, us.received, us.duplicates, us.lost, us.errors)

    def their_jitter(self) -> tuple[float, ...]:
        """Last, largest, mean as the engine measured them, in ticks."""
        return tuple(map(float, self._query("rtpa_jlast", "rtpa_jmax", "rtpa_javg").split()))

    def our_jitter(self) -> tuple[float, ...]:
        """The same of the analyzer."""
        us = self.analyzer
        return us.jitter_last, us.jitter_max, us.jitter_mean

    def their_source(self) -> tuple[str, ...]:
        """Last SSRC, how many changes of it, last payload type; the session ends."""
        assert self.oracle.ask(f"D {self.name} f t") == "0"
        deadline = time.monotonic() + PATIENCE
        while True:
            with (self.oracle.directory / "rtpproxy_acct.csv").open() as table:
                for row in csv.DictReader(table):
                    # A row without its last column is still being written.
                    if row["call_id"] == self.name and list(row.values())[-1] is not None:
                        return (
                            row["rtpa_ssrc_last_ina"],
                            row["rtpa_ssrc_cnt_ina"],
                            row["rtpa_pt_last_ina"],
                        )
            assert time.monotonic() < deadline, "the engine has not accounted for the session"
            time.sleep(0.001)

    def our_source(self) -> tuple[str, ...]:
        """The same of the analyzer, as the engine writes it."""
        us = self.analyzer
        return (
            "" if us.ssrc is None else f"0x{us.ssrc:08X}",
            str(us.ssrc_changes),
            str(-1 if us.payload_type is None else us.payload_type),
        )

    def _query(self, *names: str) -> str:
        return self.oracle.ask(f"Q {self.name} f t {' '.join(names)}")


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with Oracle() as engine:
        yield engine


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def assert_alike(caller: Caller, datagrams: Sequence[bytes]) -> None:
    """Send them, then compare all that is counted."""
    for datagram in datagrams:
        caller.send(datagram)
    caller.settle()
    assert caller.ours() == caller.theirs()
    assert caller.our_source() == caller.their_source()


@pytest.mark.parametrize("name", STREAMS)
def test_it_counts_a_stream_as_the_original(
    name: str, oracle: Oracle, resources: ExitStack
) -> None:
    assert_alike(Caller(oracle, resources), STREAMS[name][0])


def random_stream(chance: random.Random) -> list[bytes]:
    """A stream with everything that happens to streams, several times.

    New runs begin beyond 600, so that nothing from before zero comes into one that has just
    begun: that is where the original errs.
    """
    stream: list[bytes] = []
    sequence, ssrc, timestamp = chance.randrange(64000, 65536), 1, 0
    for _ in range(600):
        timestamp += FRAME
        marker = chance.random() < 0.02
        match chance.choices(range(8), weights=[600, 30, 30, 5, 3, 3, 3, 5])[0]:
            case 0:
                sequence += 1
            case 1:
                sequence += chance.randrange(1, 30)
            case 2 if stream:
                stream.append(chance.choice(stream[-20:]))
                continue
            case 3:
                sequence = chance.randrange(600, 65536)
            case 4:
                ssrc, sequence = chance.randrange(1, 20), chance.randrange(600, 65536)
            case 5:
                sequence, marker = chance.randrange(600, 65536), True
            case 6:
                sequence = 65000 + chance.randrange(500)
            case 7:
                stream.append(chance.randbytes(chance.randrange(30)))
                continue
        stream.append(
            packet(
                sequence,
                timestamp,
                ssrc=ssrc,
                payload_type=chance.choice([0, 8, 101]),
                marker=marker,
            )
        )
        if chance.random() < 0.05:
            stream.insert(-chance.randrange(1, 12), stream.pop())
    return stream


@pytest.mark.parametrize("seed", range(20))
def test_it_counts_a_random_stream_as_the_original(
    seed: int, oracle: Oracle, resources: ExitStack
) -> None:
    assert_alike(Caller(oracle, resources), random_stream(random.Random(seed)))


def test_it_measures_jitter_as_the_original(oracle: Oracle, resources: ExitStack) -> None:
    """One paced stream for each rule. What they measure differs by how promptly they are run."""
    frames = 40
    even = [packet(n, n * FRAME) for n in range(frames)]
    shaken = [packet(n, n * FRAME + n * n * 37 % 1600) for n in range(frames)]
    streams = {
        "even": even,
        "shaken": shaken,
        "every timestamp twice": [packet(n, n // 2 * 2 * FRAME) for n in range(frames)],
        "a jump": [*shaken[:20], *(packet(n, n * FRAME + 10**9) for n in range(20, frames))],
        "a jump back": [packet(n, (n * FRAME) % 3200 + 10**6 * (n < 20)) for n in range(frames)],
        "a wrap": [packet(n, n * FRAME + n % 3 * 900 - 3000) for n in range(frames)],
        "a sender that began anew": [
            *shaken[10:30],
            packet(5, 9 * 10**5, marker=True),
            *(packet(n, 9 * 10**5 + n * n * 50) for n in range(6, 25)),
        ],
        "two sources in turn": [
            packet(n, n * FRAME + n % 2 * 10**6 + n % 3 * 800, ssrc=n % 2) for n in range(frames)
        ],
        "many sources": [packet(n, n * FRAME + n % 2 * 1000, ssrc=n // 3) for n in range(frames)],
        "no clock": [packet(n, payload_type=96) for n in range(frames)],
        "16 kHz": [packet(n, n * 320 + n % 2 * 900, payload_type=6) for n in range(frames)],
    }
    callers = {name: Caller(oracle, resources) for name in streams}
    begin = time.monotonic()
    for n in range(frames):
        time.sleep(max(0.0, begin + n * 0.02 - time.monotonic()))
        for name, caller in callers.items():
            caller.send(streams[name][n])
    for name, caller in callers.items():
        caller.settle()
        expected = pytest.approx(caller.their_jitter(), rel=0.02, abs=100)
        assert caller.our_jitter() == expected, name
