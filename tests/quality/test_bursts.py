"""Bursts and gaps, against a plain reading of RFC 3611 section 4.7.2."""

from __future__ import annotations

from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.quality.analyzer import Analyzer
from rtpproxy_tw.quality.bursts import GMIN, Bursts
from tests.quality.streams import packet, packets

patterns = st.lists(st.integers(0, 40), max_size=30).map(
    lambda gaps: [arrived for gap in gaps for arrived in [True] * gap + [False]]
)
"""Losses with some arrivals before each."""


def judged(arrived: list[bool], *cuts: int) -> Bursts:
    """The bursts of a stream, read in pieces that end at ``cuts``."""
    bursts = Bursts()
    edges = [0, *sorted(min(cut, len(arrived)) for cut in cuts), len(arrived)]
    for start, end in pairwise(edges):
        piece = arrived[start:end]
        if piece:
            bits = int("".join("1" if each else "0" for each in piece), 2)
            bursts.judge(bits, len(piece))
    return bursts


def plainly(arrived: list[bool]) -> list[tuple[int, int]]:
    """The bursts as (first, last) places, found by looking at all losses at once."""
    losses = [place for place, came in enumerate(arrived) if not came]
    clusters: list[list[int]] = []
    for place in losses:
        if clusters and place - clusters[-1][-1] - 1 < GMIN:
            clusters[-1].append(place)
        else:
            clusters.append([place])
    return [(cluster[0], cluster[-1]) for cluster in clusters if len(cluster) > 1]


@given(patterns, st.lists(st.integers(0, 500), max_size=5))
def test_bursts_are_what_the_definition_says_however_they_are_read(
    arrived: list[bool], cuts: list[int]
) -> None:
    """Number, packets, losses within, densities; read at once or in pieces."""
    bursts = judged(arrived, *cuts)
    found = plainly(arrived)
    inside = [came for first, last in found for came in arrived[first : last + 1]]
    assert bursts.packets == len(arrived)
    assert bursts.lost == arrived.count(False)
    assert bursts.count == len(found)
    assert bursts.burst_packets == len(inside)
    assert bursts.burst_lost == inside.count(False)
    outside = len(arrived) - len(inside)
    rest = arrived.count(False) - inside.count(False)
    assert bursts.gap_density == pytest.approx(rest / outside if outside else 0)
    assert bursts.burst_density == pytest.approx(inside.count(False) / len(inside) if inside else 0)


@given(patterns, st.integers(0, 30))
def test_gaps_are_what_lies_between(arrived: list[bool], tail: int) -> None:
    """Stretches that hold at least a packet and are within no burst."""
    arrived = arrived + [True] * tail
    in_burst = [False] * len(arrived)
    for first, last in plainly(arrived):
        in_burst[first : last + 1] = [True] * (last + 1 - first)
    # Two bursts never touch: GMIN packets lie between them.
    gaps = [len(list(run)) for inside, run in groupby(in_burst) if not inside]
    bursts = judged(arrived)
    assert bursts.gaps == len(gaps)
    assert bursts.mean_gap == pytest.approx(sum(gaps) / len(gaps) if gaps else 0)


@given(patterns)
def test_the_burst_ratio_is_that_of_the_e_model(arrived: list[bool]) -> None:
    """The mean series of losses, times the share that is not lost."""
    series = [len(list(run)) for came, run in groupby(arrived) if not came]
    lost = arrived.count(False)
    expected = 1.0
    if series and lost < len(arrived):
        expected = lost / len(series) * (1 - lost / len(arrived))
    assert judged(arrived).ratio == pytest.approx(expected)


def test_the_worked_example() -> None:
    """Two losses 15 apart are one burst, 16 apart they are none."""
    near = judged([True] * 20 + [False] + [True] * 15 + [False] + [True] * 20)
    assert (near.count, near.burst_packets, near.burst_lost) == (1, 17, 2)
    far = judged([True] * 20 + [False] + [True] * 16 + [False] + [True] * 20)
    assert (far.count, far.burst_packets, far.lost) == (0, 0, 2)


def test_the_analyzers_bitmap_is_read_once_and_late_packets_are_waited_for() -> None:
    """A packet half a second late is none lost; the newest are judged at the end only."""
    analyzer, bursts = Analyzer(), Bursts()
    for datagram in packets(*range(10), *range(11, 40)):
        analyzer.heard(datagram, 0.0)
    analyzer.heard(packet(10), 0.0)
    bursts.read(analyzer)
    assert (bursts.packets, bursts.lost) == (15, 0)
    for datagram in packets(*range(45, 60)):
        analyzer.heard(datagram, 0.0)
    bursts.read(analyzer)
    bursts.read(analyzer, grace=0)
    assert (bursts.packets, bursts.lost, bursts.count) == (60, 5, 1)


def test_what_passed_faster_than_it_was_read_is_not_judged() -> None:
    """Video between two looks."""
    analyzer, bursts = Analyzer(), Bursts()
    for datagram in packets(*range(3000)):
        analyzer.heard(datagram, 0.0)
    bursts.read(analyzer, grace=0)
    assert bursts.packets + bursts.unjudged == 3000
    assert bursts.lost == 0


def test_another_source_begins_anew() -> None:
    """Its numbers have nothing to do with those before."""
    analyzer, bursts = Analyzer(), Bursts()
    for datagram in packets(*range(100)) + packets(*range(50000, 50100), ssrc=2):
        analyzer.heard(datagram, 0.0)
        bursts.read(analyzer)
    bursts.read(analyzer, grace=0)
    assert bursts.lost == 0


@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(1, 2)), max_size=80))
def test_whatever_arrives_losses_stay_within_reason(sent: list[tuple[int, int]]) -> None:
    """Steps, resets and changes of source poison nothing."""
    analyzer, bursts = Analyzer(), Bursts()
    for sequence, ssrc in sent:
        analyzer.heard(packet(sequence, ssrc=ssrc), 0.0)
        bursts.read(analyzer)
    bursts.read(analyzer, grace=0)
    assert 0 <= bursts.lost <= bursts.packets
    assert bursts.burst_lost <= bursts.lost
    assert bursts.burst_packets <= bursts.packets
    assert 0 <= bursts.gap_density <= 1
    assert bursts.ratio >= 0


def test_numbers_that_another_counter_did_not_remember_are_not_judged() -> None:
    """The bitmap of a fast path is short: what it lacks is not lost."""
    analyzer, bursts = Analyzer(), Bursts()
    for datagram in packets(*range(100)):
        analyzer.heard(datagram, 0.0)
    bursts.read(analyzer, grace=0)
    there = Analyzer()
    there.resume(analyzer.snapshot())
    for datagram in packets(*range(100, 290), *range(292, 300)):
        there.heard(datagram, 0.0)
    state = there.snapshot()
    state["seen"] &= (1 << 64) - 1
    analyzer.resume(state)
    bursts.read(analyzer, grace=0)
    assert (bursts.packets, bursts.unjudged, bursts.lost) == (100 + 64, 136, 2)
