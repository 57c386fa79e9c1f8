"""The diary of a session."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.quality.timeline import KINDS, LONGEST_TEXT, Timeline


@given(st.integers(2, 12), st.integers(0, 60))
def test_the_first_and_the_last_entries_are_kept_and_the_middle_is_counted(
    limit: int, count: int
) -> None:
    """In order, however many there are."""
    timeline = Timeline(limit)
    for number in range(count):
        timeline.add(float(number), "command", str(number))
    kept = [int(entry.text) for entry in timeline]
    assert len(timeline) == len(kept) == min(limit, count)
    assert timeline.dropped == count - len(kept)
    half = min(count, limit // 2)
    assert kept[:half] == list(range(half))
    assert kept[half:] == list(range(count - len(kept) + half, count))
    assert (*timeline.first, *timeline.last) == tuple(timeline)


def test_long_texts_are_cut() -> None:
    """A command may hold anything."""
    timeline = Timeline()
    timeline.add(0.0, "command", "x" * 10_000)
    assert len(next(iter(timeline)).text) == LONGEST_TEXT


def test_every_kind_is_described() -> None:
    """In words."""
    assert all(KINDS.values())
