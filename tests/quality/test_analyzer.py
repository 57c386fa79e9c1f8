"""What is counted of a stream."""

from __future__ import annotations

import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtpproxy_tw.quality.analyzer import MAX_STEP, Analyzer
from tests.quality.streams import (
    MALFORMED,
    ROUND,
    STREAMS,
    UNUSUAL,
    Counts,
    packet,
    packets,
    upwards,
)


def analysed(datagrams: list[bytes], analyzer: Analyzer | None = None) -> Analyzer:
    """The analyzer after them, 20 ms apart."""
    analyzer = analyzer or Analyzer()
    for n, datagram in enumerate(datagrams):
        analyzer.heard(datagram, 1000 + n * 0.02)
    return analyzer


def counts(analyzer: Analyzer) -> Counts:
    """What it has counted."""
    return Counts(
        analyzer.sent,
        analyzer.received,
        analyzer.duplicates,
        analyzer.lost,
        analyzer.errors,
    )


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_counted_as_the_original_does(name: str) -> None:
    datagrams, expected = STREAMS[name]
    assert counts(analysed(datagrams)) == expected


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_rtp_is_an_error_and_nothing_else(name: str) -> None:
    before = analysed(packets(1))
    after = analysed([MALFORMED[name]], analysed(packets(1)))
    assert counts(after) == counts(before)._replace(errors=1)
    assert (after.ssrc, after.payload_type) == (before.ssrc, before.payload_type)


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_unusual_is_rtp(name: str) -> None:
    assert counts(analysed([UNUSUAL[name]])) == Counts(1, 1)


def test_before_anything_was_heard_there_is_nothing() -> None:
    analyzer = Analyzer()
    assert counts(analyzer) == Counts(0, 0)
    assert (analyzer.ssrc, analyzer.ssrc_changes, analyzer.payload_type) == (None, 0, None)
    assert (analyzer.jitter_last, analyzer.jitter_max, analyzer.jitter_mean) == (0.0, 0.0, 0.0)


def test_the_first_source_is_the_first_change() -> None:
    analyzer = analysed(packets(1, 2, ssrc=0))
    assert (analyzer.ssrc, analyzer.ssrc_changes) == (0, 1)


def test_each_further_source_is_a_change_even_a_former_one() -> None:
    analyzer = analysed([*packets(1, ssrc=1), *packets(1, 2, ssrc=2), *packets(2, ssrc=1)])
    assert (analyzer.ssrc, analyzer.ssrc_changes) == (1, 3)


def test_the_payload_type_is_the_last_heard() -> None:
    analyzer = analysed([packet(1, payload_type=0), packet(2, payload_type=101, marker=True)])
    assert analyzer.payload_type == 101


def test_a_number_not_counted_tells_its_payload_type_all_the_same() -> None:
    analyzer = analysed([*ROUND, *packets(5000), packet(4999, payload_type=8)])
    assert analyzer.payload_type == 8


def test_a_late_one_from_before_zero_is_older_than_the_first() -> None:
    assert counts(analysed(packets(10, 65530, 11))) == Counts(18, 3, lost=15)


def test_a_late_one_from_before_zero_does_not_disturb_another_source_after_a_wrap() -> None:
    analyzer = analysed([*ROUND, *packets(10, 65530, ssrc=2)])
    assert counts(analyzer) == counts(analysed([*ROUND, *packets(10, ssrc=2)]))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40)))
def test_no_bytes_whatever_raise(datagrams: list[bytes]) -> None:
    analyzer = analysed(datagrams)
    assert analyzer.received + analyzer.duplicates + analyzer.errors == len(datagrams)


numbers = st.one_of(
    st.integers(0, 65535),
    st.integers(0, 600),
    st.integers(64900, 65535),
)
rtp = st.builds(
    packet,
    numbers,
    st.integers(0, 2**32 - 1),
    ssrc=st.integers(1, 3),
    payload_type=st.integers(0, 70),
    marker=st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(rtp, st.floats(-1e6, 1e6)), max_size=60))
def test_figures_stay_sane_whatever_comes(events: list[tuple[bytes, float]]) -> None:
    analyzer = Analyzer()
    for datagram, now in events:
        analyzer.heard(datagram, now)
        assert analyzer.sent >= analyzer.received >= 0
        assert analyzer.lost == analyzer.sent - analyzer.received
        assert analyzer.sent <= len(events) * 2 * MAX_STEP + 1
        assert analyzer.received + analyzer.duplicates <= len(events)
        assert 0 <= analyzer.jitter_last <= analyzer.jitter_max < float("inf")
        assert 0 <= analyzer.jitter_mean <= analyzer.jitter_max


@settings(deadline=None)
@given(
    st.integers(0, 65535 - MAX_STEP),
    st.lists(st.integers(0, MAX_STEP), min_size=1, max_size=60),
    st.randoms(use_true_random=False),
)
def test_the_order_within_the_window_does_not_matter(
    first: int, offsets: list[int], chance: random.Random
) -> None:
    stream = [first + offset for offset in offsets]
    shuffled = chance.sample(stream, len(stream))
    expected = Counts(
        max(stream) - min(stream) + 1,
        len(set(stream)),
        len(stream) - len(set(stream)),
        max(stream) - min(stream) + 1 - len(set(stream)),
    )
    assert counts(analysed(packets(*stream))) == expected
    assert counts(analysed(packets(*shuffled))) == expected


@settings(deadline=None)
@given(st.integers(0, 65535), st.integers(1, 400))
def test_a_stream_in_order_has_no_losses_wherever_it_starts(first: int, count: int) -> None:
    assert counts(analysed(upwards(first, count))) == Counts(count, count)


@pytest.mark.parametrize("step", [1, 7, 535, 536, 537, 30000, 65535])
@pytest.mark.parametrize("sources", [1, 3, 100_000])
def test_nothing_a_sender_does_makes_it_grow(step: int, sources: int) -> None:
    hostile = [packet(n * step, ssrc=n % sources) for n in range(3000)]
    assert len(pickle.dumps(analysed(hostile))) < 3000


def test_a_long_call_does_not_make_it_grow() -> None:
    assert len(pickle.dumps(analysed(upwards(0, 30_000)))) < 1000


def test_after_thousands_of_wraps_another_source_costs_no_more() -> None:
    analyzer = analysed(upwards(1, 20_000, step=MAX_STEP))
    before = len(pickle.dumps(analyzer))
    analysed([*packets(1, ssrc=1), *packets(65530, ssrc=1)], analyzer)
    assert len(pickle.dumps(analyzer)) < before + 300


@given(
    st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 3)), max_size=60), st.integers(0, 60)
)
def test_counting_goes_on_elsewhere_from_a_snapshot(
    packets: list[tuple[int, int]], cut: int
) -> None:
    """A counter resumed in the middle ends with the same figures."""
    whole, first, second = Analyzer(), Analyzer(), Analyzer()
    for number, (sequence, ssrc) in enumerate(packets):
        datagram = packet(sequence, timestamp=160 * number, ssrc=ssrc)
        whole.heard(datagram, 0.02 * number)
        if number == cut:
            second.resume(first.snapshot())
        (first if number < cut else second).heard(datagram, 0.02 * number)
    resumed = second if len(packets) > cut else first
    names = ("sent", "received", "duplicates", "lost", "errors", "ssrc", "ssrc_changes")
    assert [getattr(resumed, name) for name in names] == [getattr(whole, name) for name in names]
    assert resumed.jitter_max >= resumed.jitter_last >= 0
