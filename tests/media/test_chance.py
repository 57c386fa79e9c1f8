"""Numbers nobody can foresee: none is preferred, none comes twice because it was drawn once."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.media.chance import PORTION, WORD, Chance


class Source:
    """Gives octets that are known, and counts how often it was asked."""

    def __init__(self, *words: int) -> None:
        self.words = words
        self.asked = 0

    def __call__(self, size: int) -> bytes:
        """As os.urandom."""
        self.asked += 1
        octets = b"".join(word.to_bytes(WORD, "little") for word in self.words)
        return (octets * (size // len(octets) + 1))[:size]


@given(st.integers(1, 1 << 32), st.integers(0, (1 << 32) - 1))
def test_each_number_is_below_the_limit(limit: int, word: int) -> None:
    chance = Chance(Source(word, 0))
    assert all(0 <= chance.below(limit) < limit for _ in range(3))


def test_what_is_too_large_is_drawn_again_and_not_made_smaller() -> None:
    """The numbers come from the end of a portion; of three bits, 7 and 5 are no numbers below 5."""
    chance = Chance(Source(3, 7, 4, 5))
    assert [chance.below(5) for _ in range(4)] == [4, 3, 4, 3]


def test_every_number_comes_about_as_often() -> None:
    """60,000 throws of a die: one in many millions of runs has a side 6 % too rare."""
    chance = Chance(os.urandom)
    counts = Counter(chance.below(6) for _ in range(60_000))
    assert set(counts) == set(range(6))
    assert all(9_400 < count < 10_600 for count in counts.values())


def test_the_system_is_asked_once_for_many() -> None:
    source = Source(1)
    chance = Chance(source)
    for _ in range(PORTION):
        chance.below(1 << 32)
    assert source.asked == 1
    chance.below(2)
    assert source.asked == 2


@pytest.mark.parametrize("limit", [0, -1, (1 << 32) + 1])
def test_there_is_no_number_below_nothing(limit: int) -> None:
    with pytest.raises(ValueError, match="no number below"):
        Chance(os.urandom).below(limit)
