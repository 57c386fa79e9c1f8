"""Finding the highest rate that still passes, when every try costs time and may be disturbed."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

LOWEST = 100.0
"""Packets a second; below it the answer is 0."""

STRIDE = 1.5
"""By what factor the rate is moved as long as only one bound is known."""


def highest(
    passes: Callable[[float], bool], guess: float, ceiling: float, precision: float
) -> float:
    """The highest rate found to pass, 0 where none does.

    Bisects, by factors, between the highest rate that passed and the lowest that did not, until
    these differ by no more than ``precision``, beginning at ``guess``. Nothing above ``ceiling``
    is tried. As a disturbance of the machine can spoil a try but never make one succeed, a rate
    has failed only when it did so twice.
    """
    good, bad = 0.0, ceiling * precision
    rate = min(guess, ceiling)
    while rate >= LOWEST and bad > good * precision:
        if passes(rate) or passes(rate):
            good = rate
            if good >= ceiling:
                break
            rate = min(good * STRIDE, sqrt(good * bad)) if bad > ceiling else sqrt(good * bad)
        else:
            bad = rate
            rate = sqrt(good * bad) if good else bad / STRIDE
        rate = min(rate, ceiling)
    return good
