"""Numbers nobody can foresee, drawn from the system in large portions.

To ask the system for each of them takes a tenth of the time in which a call is set up.
"""

from __future__ import annotations

from collections.abc import Callable

WORD = 4
"""Octets of one number."""

PORTION = 1_024
"""Numbers drawn at once."""


class Chance:
    """``octets`` gives so many unpredictable ones, as :func:`os.urandom` does."""

    __slots__ = ("_octets", "_words")

    def __init__(self, octets: Callable[[int], bytes]) -> None:
        self._octets = octets
        self._words: list[int] = []

    def below(self, limit: int) -> int:
        """Each number from 0 to ``limit`` - 1 is as probable as any other; ``limit`` is 1 to 2^32.

        Raises ValueError for another limit.
        """
        if not 0 < limit <= 1 << (8 * WORD):
            raise ValueError(f"no number below {limit} is drawn here")
        # What lies above the highest power of two that is needed is cut off, and what is still too
        # large drawn again: a remainder would prefer the small ones.
        mask = (1 << (limit - 1).bit_length()) - 1
        while True:
            if not self._words:
                self._words = memoryview(self._octets(WORD * PORTION)).cast("I").tolist()
            number = self._words.pop() & mask
            if number < limit:
                return number
