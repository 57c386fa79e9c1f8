"""The program's RTP statistics against those of the slow path, packet by packet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rtpproxy_tw.media.kernel.path import RtpState
from rtpproxy_tw.quality.analyzer import Analyzer
from tests.kernel.bench_program import Bench, hosts_of, new_bench
from tests.kernel.frames import Datagram, rtp
from tests.quality.streams import MALFORMED, STREAMS, UNUSUAL, packet, upwards

pytestmark = pytest.mark.kernel

HERE, PEER = hosts_of(4)
LOCAL, SOURCE, LEAVES, TO = (HERE, 2), (PEER, 4), ("198.51.100.1", 6), ("198.51.100.9", 8)

OLDER_THAN_THE_WINDOW = {
    name for name in STREAMS if name in ("the earliest late one after a wrap",)
}
"""Streams with a repetition of a number that is more than 64 behind."""


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = new_bench()
    yield made
    made.close()


def hear(bench: Bench, datagrams: list[bytes]) -> tuple[RtpState, Analyzer]:
    """What both tell of the same packets at the same times."""
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO)
    analyzer = Analyzer()
    for datagram in datagrams:
        bench.run(Datagram(SOURCE, LOCAL, datagram))
        analyzer.heard(datagram, bench.table.traffic(slot).last_ns / 1e9)
    return bench.sample(slot).rtp, analyzer


@pytest.mark.parametrize("name", sorted(STREAMS.keys() - OLDER_THAN_THE_WINDOW))
def test_the_counts_are_those_of_the_slow_path(bench: Bench, name: str) -> None:
    datagrams, counts = STREAMS[name]
    state, analyzer = hear(bench, datagrams)
    lost = state.sent - state.received
    assert (state.sent, state.received, state.duplicates, lost, state.errors) == counts
    assert state.ssrc == analyzer.ssrc
    assert state.ssrc_changes == analyzer.ssrc_changes
    assert state.payload_type == analyzer.payload_type


@pytest.mark.parametrize("name", OLDER_THAN_THE_WINDOW)
def test_a_repetition_older_than_the_window_counts_as_new(bench: Bench, name: str) -> None:
    datagrams, counts = STREAMS[name]
    state, _ = hear(bench, datagrams)
    assert state.received + state.duplicates == counts.received + counts.duplicates
    assert state.sent == counts.sent


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_rtp_is_an_error(bench: Bench, name: str) -> None:
    state, _ = hear(bench, [MALFORMED[name]])
    assert (state.errors, state.received, state.ssrc) == (1, 0, None)


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_rtp_however_unusual_is_none(bench: Bench, name: str) -> None:
    state, _ = hear(bench, [UNUSUAL[name]])
    assert (state.errors, state.received) == (0, 1)


def near(state: RtpState, analyzer: Analyzer) -> None:
    """Jitter within 2 %."""
    mean = state.jitter_total / state.jitter_samples
    assert state.jitter_last == pytest.approx(analyzer.jitter_last, rel=0.02, abs=0.1)
    assert state.jitter_peak == pytest.approx(analyzer.jitter_max, rel=0.02, abs=0.1)
    assert mean == pytest.approx(analyzer.jitter_mean, rel=0.02, abs=0.1)


@pytest.mark.parametrize("payload_type", [0, 6, 11, 14, 16, 17, 18])
def test_jitter_is_that_of_the_slow_path(bench: Bench, payload_type: int) -> None:
    near(*hear(bench, [packet(number, payload_type=payload_type) for number in range(60)]))


def test_repeated_timestamps_are_no_samples(bench: Bench) -> None:
    stamps = [n // 3 * 160 for n in range(40)]
    near(*hear(bench, [packet(n, stamp) for n, stamp in enumerate(stamps)]))


def test_a_jump_of_the_senders_clock_is_no_sample(bench: Bench) -> None:
    stamps = [n * 160 + (1_000_000_000 if n > 20 else 0) for n in range(40)]
    near(*hear(bench, [packet(n, stamp) for n, stamp in enumerate(stamps)]))


def test_timestamps_may_wrap(bench: Bench) -> None:
    near(*hear(bench, [packet(n, 2**32 - 3200 + n * 160) for n in range(40)]))


def test_a_payload_type_of_unknown_clock_has_no_jitter(bench: Bench) -> None:
    state, _ = hear(bench, [packet(n, payload_type=96) for n in range(10)])
    assert state.jitter_samples == 0


def test_jitter_of_two_sources_is_of_the_newer_one(bench: Bench) -> None:
    near(*hear(bench, upwards(1, 20) + upwards(500, 20, ssrc=9)))


def test_statistics_go_on_from_those_given(bench: Bench) -> None:
    datagrams = [rtp(number) for number in (65530, 65532, 65531, 65535, 3, 3, 1, 700, 701, 701)]
    for cut in range(len(datagrams)):
        before, _ = hear(bench, datagrams[:cut])
        (slot,) = bench.table.slots()
        bench.table.remove(slot)
        slot = bench.flow(LOCAL, SOURCE, LEAVES, TO, rtp=before)
        for datagram in datagrams[cut:]:
            bench.run(Datagram(SOURCE, LOCAL, datagram))
        after = bench.sample(slot).rtp
        bench.table.remove(slot)
        whole, _ = hear(bench, datagrams)
        bench.table.remove(*bench.table.slots())
        assert (after.sent, after.received, after.duplicates) == (
            whole.sent,
            whole.received,
            whole.duplicates,
        )
        assert (after.highest, after.offset, after.seen) == (
            whole.highest,
            whole.offset,
            whole.seen,
        )
        assert after.recent == whole.recent
