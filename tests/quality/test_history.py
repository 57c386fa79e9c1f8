"""The quality of a leg, ten seconds at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.quality.history import MOST_INTERVALS, MOST_OCTETS, History, Interval
from rtpproxy_tw.session import Leg
from rtpproxy_tw.views.sessions import intervals, whole
from tests.quality.scene import FRAMES, Scene

INTERVALS = st.builds(
    Interval,
    at=st.integers(0, 10_000_000).map(lambda tenths: tenths / 10),
    seconds=st.integers(0, 65535).map(lambda tenths: tenths / 10),
    packets=st.integers(0, 65535),
    lost=st.integers(0, 65535),
    jitter_ms=st.none() | st.integers(0, 65534).map(lambda hundredths: hundredths / 100),
    mos=st.none() | st.integers(1000, 4500).map(lambda thousandths: thousandths / 1000),
)


@given(st.lists(INTERVALS, max_size=20))
def test_what_is_put_in_comes_out(put: list[Interval]) -> None:
    history = History()
    for each in put:
        history.add(each)
    assert list(history) == put
    assert list(History(bytes(history.octets))) == put


@given(
    st.builds(
        Interval,
        at=st.floats(0, 1e12),
        seconds=st.floats(0, 1e9),
        packets=st.integers(-5, 10**9),
        lost=st.integers(-(10**9), 10**9),
        jitter_ms=st.none() | st.floats(0, 1e9),
        mos=st.none() | st.floats(1, 4.5),
    )
)
def test_what_does_not_fit_is_as_much_as_fits(odd: Interval) -> None:
    history = History()
    history.add(odd)
    (kept,) = history
    assert (kept.jitter_ms is None) == (odd.jitter_ms is None)
    assert (kept.mos is None) == (odd.mos is None)
    assert 0 <= kept.packets <= max(0, odd.packets)
    assert 0 <= kept.lost <= max(0, odd.lost)


def test_of_an_endless_call_the_last_hour_is_kept() -> None:
    history = History()
    for number in range(MOST_INTERVALS + 50):
        history.add(Interval(10.0 * number, 10.0, 500, 0, 1.0, 4.4))
    assert len(history) == MOST_INTERVALS
    assert len(history.octets) == MOST_OCTETS
    assert next(iter(history)).at == 500.0


@given(st.binary(max_size=200))
def test_any_octets_are_some_history(octets: bytes) -> None:
    assert len(list(History(octets))) == len(octets) // 14


def of(leg: Leg) -> list[Interval]:
    """What is kept of a leg."""
    assert leg.monitor is not None
    return list(leg.monitor.history)


def test_each_interval_has_its_packets_losses_jitter_and_score() -> None:
    scene = Scene()
    scene.run(12)
    scene.callee.number += 30  # lost before us
    scene.run(12)
    first, second = of(scene.session.callee)
    assert (first.lost, second.lost) == (0, 30)
    assert first.packets == second.packets == 10 * FRAMES
    assert first.at == pytest.approx(11, abs=1.1)
    assert second.at == pytest.approx(first.at + 10, abs=0.2)
    assert first.mos is not None
    assert second.mos is not None
    assert second.mos < first.mos
    assert first.jitter_ms == pytest.approx(0, abs=0.2)
    assert [each.lost for each in of(scene.session.caller)] == [0, 0]


def test_a_codec_without_a_rating_has_a_history_without_scores() -> None:
    scene = Scene()
    scene.callee.payload_type = 111
    scene.run(12)
    (only,) = of(scene.session.callee)
    assert (only.mos, only.jitter_ms, only.packets) == (None, None, 10 * FRAMES)


def test_an_interval_with_a_silence_in_it_is_longer() -> None:
    scene = Scene()
    scene.run(5)
    scene.callee.sends = False
    scene.run(20)
    scene.callee.sends = True
    scene.run(2)
    (only,) = of(scene.session.callee)
    assert only.seconds > 20
    assert only.packets < 10 * FRAMES


def test_the_interface_has_it_and_a_record_has_not() -> None:
    scene = Scene()
    scene.run(25)
    now = scene.clock.seconds()
    told = whole(scene.session, now, 1e9, history=True)["legs"][1]["history"]
    assert len(told) == 2
    assert told[0].keys() == {"at", "seconds", "packets", "lost", "jitter_ms", "mos"}
    assert told[0]["at"] == pytest.approx(1e9 + scene.session.created + 11, abs=1.1)
    assert "history" not in whole(scene.session, now, 1e9)["legs"][1]


def test_a_leg_nobody_has_looked_at_has_none() -> None:
    assert intervals(Scene(complete=False).session.caller, 0.0) == {"history": []}
