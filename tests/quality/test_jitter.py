"""How jitter is measured: times are exact here, so its values are, too."""

from __future__ import annotations

import pytest

from rtpproxy_tw.quality.analyzer import Analyzer
from rtpproxy_tw.quality.jitter import CLOCK_RATES, SourceJitter
from tests.quality.streams import FRAME, packet

START = 4096.0
"""Seconds; this and all steps used are exact in binary."""

TICK = 1 / 8192
"""A clock of 8192 Hz is none of any codec, but steps of it are exact."""


def heard(*events: tuple[float, int], clock_rate: int = 8192) -> SourceJitter:
    """A filter that was told of packets: ticks since the start, timestamp."""
    source = SourceJitter()
    for ticks, timestamp in events:
        source.heard(timestamp, START + ticks * TICK, clock_rate, reset=False)
    return source


def test_one_packet_is_no_sample() -> None:
    source = heard((0, 0))
    assert (source.last, source.peak, source.samples) == (0.0, 0.0, 0)


def test_packets_in_step_have_no_jitter() -> None:
    source = heard(*((n * FRAME, 7 + n * FRAME) for n in range(10)))
    assert (source.last, source.samples) == (0.0, 9)


def test_a_sixteenth_of_each_deviation_is_taken_over() -> None:
    source = heard((0, 0), (FRAME + 32, FRAME), (2 * FRAME, 2 * FRAME))
    assert source.last == 2 + (32 - 2) / 16
    assert source.total == 2 + source.last
    assert source.samples == 2


def test_too_early_counts_as_too_late_does() -> None:
    assert heard((0, 0), (FRAME - 32, FRAME)).last == heard((0, 0), (FRAME + 32, FRAME)).last == 2


def test_the_peak_outlasts_the_filter() -> None:
    source = heard((0, 0), (FRAME + 32, FRAME), (2 * FRAME + 32, 2 * FRAME))
    assert source.last == 2 - 2 / 16
    assert source.peak == 2


def test_arrival_is_taken_in_whole_ticks() -> None:
    assert heard((0, 0), (FRAME + 0.75, FRAME)).last == 0.0


def test_a_timestamp_that_wraps_goes_on() -> None:
    assert heard((0, 2**32 - FRAME), (FRAME + 16, 0)).last == 1


def test_a_repeated_timestamp_is_no_sample() -> None:
    source = heard((0, 0), (FRAME, FRAME), (FRAME + 99, FRAME), (2 * FRAME, 2 * FRAME))
    assert (source.last, source.samples) == (0.0, 2)


def test_a_repeated_first_timestamp_is_measured_from_its_last_packet() -> None:
    assert heard((0, 0), (FRAME, 0), (2 * FRAME, FRAME)).last == 0.0


def test_a_timestamp_is_forgotten_after_ten_others() -> None:
    stream = [(n * FRAME, n * FRAME) for n in range(1, 12)]
    assert heard(*stream, (12 * FRAME, 2 * FRAME)).samples == 10
    assert heard(*stream, (12 * FRAME, FRAME)).samples == 11


@pytest.mark.parametrize(
    "step, samples",
    [(10 * 1024, 1), (10 * 1024 + 1, 0), (-10 * 50, 1), (-10 * 50 - 1, 0)],
)
def test_a_jump_of_the_timestamp_is_no_sample(step: int, samples: int) -> None:
    assert heard((0, 20_000), (10, 20_000 + step)).samples == samples


def test_after_a_jump_the_new_timestamps_are_measured() -> None:
    source = heard((0, 0), (FRAME, 10**9), (2 * FRAME + 16, 10**9 + FRAME))
    assert (source.last, source.samples) == (1.0, 1)


def test_packets_of_one_burst_are_samples_whatever_their_timestamps() -> None:
    assert heard((0, 0), (0, FRAME)).last == FRAME / 16


def test_another_clock_is_no_sample() -> None:
    source = SourceJitter()
    source.heard(0, START, 8000, reset=False)
    source.heard(FRAME, START + 0.02, 16000, reset=False)
    assert source.samples == 0
    source.heard(3 * FRAME, START + 0.04, 16000, reset=False)
    assert (source.last, source.samples) == (0.0, 1)


def test_a_reset_is_no_sample() -> None:
    source = heard((0, 0))
    source.heard(0x1000, START + 99, 8192, reset=True)
    assert source.samples == 0


# What the analyzer makes of it.


def analysed(*events: tuple[float, bytes]) -> Analyzer:
    """An analyzer that was told of packets: 20 ms frames since the start, datagram."""
    analyzer = Analyzer()
    for frames, datagram in events:
        # Half a tick later, so that no time falls between two ticks.
        analyzer.heard(datagram, 1000 + frames * 0.02 + 1 / 16000)
    return analyzer


def late(first: int, ssrc: int, timestamp: int = 0) -> list[tuple[float, bytes]]:
    """Two packets, the second of them a frame late: their jitter is 10 ticks."""
    return [
        (first, packet(first, timestamp, ssrc=ssrc)),
        (first + 2, packet(first + 1, timestamp + FRAME, ssrc=ssrc)),
    ]


def jitter(analyzer: Analyzer) -> tuple[float, float, float]:
    """Last, largest, mean."""
    return analyzer.jitter_last, analyzer.jitter_max, analyzer.jitter_mean


def test_jitter_is_told_from_the_second_packet_on() -> None:
    assert jitter(analysed(*late(1, 1)[:1])) == (0.0, 0.0, 0.0)
    assert jitter(analysed(*late(1, 1))) == (10.0, 10.0, 10.0)


def test_the_mean_is_that_of_all_samples() -> None:
    analyzer = analysed(*late(1, 1), (5, packet(3, 2 * FRAME, ssrc=1)))
    second = 10 + (160 - 10) / 16
    assert jitter(analyzer) == (second, second, (10 + second) / 2)


def test_the_newest_source_with_jitter_gives_the_last_value() -> None:
    steady = [(n, packet(n, n * FRAME, ssrc=2)) for n in (10, 11)]
    assert jitter(analysed(*late(1, 1), *steady)) == (0.0, 10.0, 5.0)
    assert jitter(analysed(*late(1, 1), *steady[:1])) == (10.0, 10.0, 10.0)


def test_a_source_that_returns_is_measured_on() -> None:
    analyzer = analysed(
        (0, packet(0, 0, ssrc=1)),
        (1, packet(1, FRAME, ssrc=1)),
        (2, packet(9, 5000, ssrc=2)),
        (4, packet(2, 3 * FRAME, ssrc=1)),
    )
    assert jitter(analyzer) == (10.0, 10.0, 5.0)


def test_a_forgotten_source_stays_in_the_largest_and_the_mean() -> None:
    others = [(100 * n + i, packet(i, i * FRAME, ssrc=n)) for n in range(2, 12) for i in (0, 1)]
    assert jitter(analysed(*late(1, 1), *others)) == (0.0, 10.0, 10.0 / 11)


def test_ten_sources_are_kept() -> None:
    others = [(100 * n, packet(0, ssrc=n)) for n in range(2, 11)]
    assert jitter(analysed(*late(1, 1), *others)) == (10.0, 10.0, 10.0)


def test_without_any_kept_source_that_has_jitter_there_is_none() -> None:
    others = [(100 * n, packet(0, ssrc=n)) for n in range(2, 12)]
    assert jitter(analysed(*late(1, 1), *others)) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("ssrc", [0, 9])
def test_what_earlier_sources_have_shown_outlasts_a_stay_elsewhere(ssrc: int) -> None:
    analyzer = analysed(*late(1, 1), (500, packet(0, ssrc=ssrc)))
    before = jitter(analyzer)
    analyzer.resume(analyzer.snapshot())
    assert jitter(analyzer) == before == (10.0, 10.0, 10.0)


@pytest.mark.parametrize("marker, second", [(True, 3), (False, 0)])
def test_the_first_packet_of_a_sender_that_began_anew_is_no_sample(
    marker: bool, second: int
) -> None:
    analyzer = analysed(
        (0, packet(10, 0)),
        (1, packet(second, 5000, marker=marker)),
        (3, packet(second + 1, 5000 + FRAME)),
    )
    assert jitter(analyzer) == (10.0, 10.0, 10.0)


def test_a_step_too_far_is_a_sample_all_the_same() -> None:
    analyzer = analysed((0, packet(10, 0)), (2, packet(5000, FRAME)))
    assert jitter(analyzer) == (10.0, 10.0, 10.0)


@pytest.mark.parametrize("payload_type", [1, 2, 19, 34, 96, 111, 127])
def test_payload_types_without_a_known_clock_have_no_jitter(payload_type: int) -> None:
    assert payload_type not in CLOCK_RATES
    analyzer = analysed(*((n * n, packet(n, payload_type=payload_type)) for n in range(9)))
    assert jitter(analyzer) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("payload_type, clock_rate", CLOCK_RATES.items())
def test_jitter_is_in_ticks_of_the_payload_types_clock(payload_type: int, clock_rate: int) -> None:
    analyzer = Analyzer()
    analyzer.heard(packet(1, 0, payload_type=payload_type), START)
    analyzer.heard(packet(2, clock_rate, payload_type=payload_type), START + 2)
    assert analyzer.jitter_last == clock_rate / 16


def test_packets_between_that_have_no_clock_do_not_disturb() -> None:
    analyzer = analysed(
        (0, packet(0, 0)),
        (1, packet(1, 7_000_000, payload_type=101)),
        (2, packet(2, 2 * FRAME)),
    )
    assert jitter(analyzer) == (0.0, 0.0, 0.0)


def test_what_another_has_measured_on_is_as_if_it_were_resumed() -> None:
    here, there = Analyzer(), Analyzer()
    late = 0.0
    for number in range(20):
        there.heard(packet(number), START + number * 0.02 + late)
        late = 0.003 - late
    here.resume(there.snapshot())
    resumed = Analyzer()
    for number in range(20, 60):
        there.heard(packet(number), START + number * 0.02 + late)
        late = 0.007 - late
    told = there.snapshot()
    resumed.resume(told)
    names = "jitter_last", "jitter_peak", "jitter_total", "jitter_samples", "source_samples"
    assert here.goes_on(told["highest"], told["received"])
    assert here.jitters_on(*(told[name] for name in names))
    for name in ("jitter_last", "jitter_max", "jitter_mean"):
        assert getattr(here, name) == getattr(resumed, name) == getattr(there, name) > 0
    assert {name: here.snapshot()[name] for name in names} == {name: told[name] for name in names}


def test_what_sources_have_changed_is_not_measured_on() -> None:
    analyzer = Analyzer()
    assert not analyzer.jitters_on(1.0, 1.0, 1.0, 1, 1)
    for ssrc in (1, 2):
        for number in range(3):
            analyzer.heard(packet(number, ssrc=ssrc), START + number * 0.02)
    before = analyzer.snapshot()
    assert not analyzer.jitters_on(1.0, 1.0, 1.0, 1, 1)
    assert analyzer.snapshot() == before
