"""Packets find their place in time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtpproxy_tw.recording.placement import Placement, place
from tests.recording.talking import EPOCH, Heard, Talker, disturbed, rtp


def moments(placement: Placement) -> list[tuple[float, bytes]]:
    """Every payload with the second it is to be heard in, in order."""
    return sorted(
        (round(stretch.start - EPOCH + piece.ticks / stretch.clock, 6), piece.payload)
        for stretch in placement.stretches
        for piece in stretch.pieces
    )


def starts(placement: Placement) -> list[float]:
    return [round(stretch.start - EPOCH, 6) for stretch in placement.stretches]


def test_an_undisturbed_party_is_one_stretch() -> None:
    talker = Talker(start=2.0)
    placement = place(talker.send(100))
    assert starts(placement) == [2.0]
    assert moments(placement) == [(round(2 + n * 0.02, 6), talker.payload(n)) for n in range(100)]
    assert (placement.packets, placement.lost, placement.duplicates) == (100, 0, 0)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    sequence=st.integers(0, 65535),
    timestamp=st.integers(0, 2**32 - 1),
    lost=st.floats(0, 0.3),
    late=st.floats(0, 0.3),
)
def test_loss_and_reordering_move_nothing(
    seed: int, sequence: int, timestamp: int, lost: float, late: float
) -> None:
    sent = [
        (EPOCH + n * 0.02, rtp(sequence + n, timestamp + n * 160, b"%d" % n)) for n in range(120)
    ]
    placement = place(disturbed(sent, random.Random(seed), lost=lost, late=late))
    found = moments(placement)
    numbers = [int(payload) for _, payload in found]
    assert numbers == sorted(set(numbers))
    begin = min(when - number * 0.02 for (when, _), number in zip(found, numbers, strict=True))
    for (when, _), number in zip(found, numbers, strict=True):
        assert when - number * 0.02 == pytest.approx(begin, abs=0.001)
    assert -0.001 <= begin <= 0.051
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    assert placement.lost == missing


@given(st.lists(st.tuples(st.floats(0, 1e10), st.binary(max_size=40)), max_size=8))
def test_whatever_was_recorded_can_be_placed(heard: list[Heard]) -> None:
    placement = place(heard)
    assert placement.packets + placement.other == len(heard)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e10),
            st.integers(0, 65535),
            st.integers(0, 2**32 - 1),
            st.integers(1, 2),
            st.sampled_from([0, 8, 111]),
        ),
        max_size=30,
    )
)
def test_nothing_but_duplicates_is_left_out(rows: list[tuple[float, int, int, int, int]]) -> None:
    heard = [
        (when, rtp(sequence, timestamp, b"x", ssrc=ssrc, payload_type=kind))
        for when, sequence, timestamp, ssrc, kind in rows
    ]
    placement = place(heard, {111: 48000})
    assert len(moments(placement)) + placement.duplicates == len(rows)
    assert all(piece.payload == b"x" for each in placement.stretches for piece in each.pieces)


def test_what_comes_twice_is_taken_once() -> None:
    sent = Talker().send(50)
    placement = place([packet for packet in sent for _ in range(2)])
    assert len(moments(placement)) == 50
    assert (placement.packets, placement.duplicates, placement.lost) == (100, 50, 0)


def test_a_hold_during_which_timestamps_stop_is_a_gap() -> None:
    talker = Talker()
    later = [(when + 30, packet) for when, packet in talker.send(100, first=100)]
    placement = place(talker.send(100) + later)
    assert starts(placement) == [0.0, 32.0]
    assert placement.lost == 0


def test_silence_during_which_timestamps_go_on_is_a_gap_too() -> None:
    talker = Talker()
    sent = talker.send(100)
    later = [
        (when + 30, rtp(talker.sequence + 100 + n, talker.timestamp + (1600 + n) * 160, b"later"))
        for n, (when, _) in enumerate(talker.send(50, first=100))
    ]
    placement = place(sent + later)
    assert starts(placement) == [0.0]
    assert moments(placement)[100][0] == pytest.approx(32.0)


def test_a_network_that_stalls_moves_nothing() -> None:
    talker = Talker()
    before, stalled, after = talker.send(100), talker.send(100, 100), talker.send(100, 200)
    burst = [(EPOCH + 3.99 + n * 0.0001, packet) for n, (_, packet) in enumerate(stalled)]
    placement = place(before + burst + after)
    assert starts(placement) == [0.0]
    assert [when for when, _ in moments(placement)] == [round(n * 0.02, 6) for n in range(300)]


def test_a_new_ssrc_is_placed_by_its_arrival() -> None:
    one, other = Talker(ssrc=1), Talker(ssrc=2, start=5.0, sequence=9, timestamp=77)
    placement = place(one.send(50) + other.send(50))
    assert starts(placement) == [0.0, 5.0]
    assert placement.ssrcs == [1, 2]
    assert placement.lost == 0


@pytest.mark.parametrize("sequence", [100, 40_000, 65_500 - 30])
@pytest.mark.parametrize("timestamp", [0, 2**31, 12345])
def test_a_sender_that_counts_anew_is_placed_by_its_arrival(sequence: int, timestamp: int) -> None:
    one = Talker(sequence=65_500 - 60)
    other = Talker(start=1.2, sequence=sequence, timestamp=timestamp)
    placement = place(one.send(60) + other.send(60))
    assert starts(placement) == [0.0, pytest.approx(1.2)]
    assert len(moments(placement)) == 120


@pytest.mark.parametrize("leap", [8000 * 3600, -8000 * 3600])
@pytest.mark.parametrize("when", [10, 100])
def test_timestamps_that_leap_move_nothing(leap: int, when: int) -> None:
    talker = Talker(timestamp=2**31)
    leapt = Talker(timestamp=2**31 + leap)
    placement = place(talker.send(when) + leapt.send(100, first=when))
    assert [each for each, _ in moments(placement)] == pytest.approx(
        [n * 0.02 for n in range(when + 100)]
    )


def test_a_drifting_clock_never_strays_far() -> None:
    # An hour with one packet a second, of a clock that is 0.02 % too fast.
    heard = [(EPOCH + n, rtp(n, round(n * 8000 * 1.0002), b"%d" % n)) for n in range(3600)]
    for when, payload in moments(place(heard)):
        assert abs(when - int(payload)) <= 0.21


def test_each_payload_type_has_its_clock() -> None:
    heard = [(EPOCH + n * 0.02, rtp(n, n * 960, b"x", payload_type=111)) for n in range(10)]
    placement = place(heard, {111: 48000})
    assert [when for when, _ in moments(placement)] == [round(n * 0.02, 6) for n in range(10)]


def test_a_change_of_codec_continues_the_count() -> None:
    heard = [
        (EPOCH + n * 0.02, rtp(n, n * 160, b"x", payload_type=0 if n < 5 else 8)) for n in range(10)
    ]
    placement = place(heard)
    assert [stretch.payload_type for stretch in placement.stretches] == [0, 8]
    assert starts(placement) == [0.0, 0.1]


def test_losses_are_told_with_their_place() -> None:
    sent = Talker().send(20)
    placement = place(sent[:5] + sent[8:])
    (loss,) = placement.losses
    assert loss.packets == 3
    assert loss.start - EPOCH == pytest.approx(0.1)
    assert loss.seconds == pytest.approx(0.06)
