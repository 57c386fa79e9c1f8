"""What rows need not keep of the invariants, and why: nothing else is excused.

The text of each is in docs/hostile.rst too, with the rows that have it; tests/hostile/test_rows.py
compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

GROWTH = 24 << 20
"""Octets of memory that one row may leave behind at most: allocators keep what they had."""


class Invariant(Enum):
    """What must hold after a row."""

    LIFE = "the process lives"
    LAG = "the reactor is in time"
    LOSS = "other calls lose nothing"
    TRACEBACK = "no traceback is logged"


@dataclass(frozen=True)
class Exemption:
    """Why some invariants are not asked of a row, or in another measure."""

    why: str
    lifts: frozenset[Invariant] = frozenset()
    growth: int = GROWTH
    """Octets it may have grown by."""
    descriptors: int = 0
    """So many more may be open than before."""
    alone: bool = False
    """There can be no other call."""


KILLED = Exemption(
    "the row kills the relay while it has calls: only its log is left to be read",
    frozenset({Invariant.LIFE, Invariant.LAG, Invariant.LOSS}),
    alone=True,
)
STOPPED = Exemption(
    "the row stops the process, and its loop with it: how late that was is not asked",
    frozenset({Invariant.LAG}),
)
UNREACHABLE = Exemption(
    "the network is taken away: what other calls say meanwhile is lost, but nothing from then on",
    frozenset({Invariant.LOSS}),
)
REPLACED = Exemption(
    "the row stops the relay until another one has all its calls: it has no other call to keep",
    frozenset({Invariant.LAG, Invariant.LOSS}),
    alone=True,
)
ADDRESSLESS = Exemption(
    "the relay has no address that media could reach: there can be no other call",
    frozenset({Invariant.LOSS}),
    alone=True,
)
UNREAD = Exemption(
    "its log is a pipe that nobody reads: tracebacks cannot be looked for",
    frozenset({Invariant.TRACEBACK}),
)
BROKEN = Exemption(
    "bugs are planted in the relay: their tracebacks are what the row looks for, and counts",
    frozenset({Invariant.TRACEBACK}),
)
THRONGED = Exemption(
    "thousands of calls at once: the allocator may keep 192 MB of what they had",
    growth=8 * GROWTH,
)
STORELESS = Exemption(
    "the store is found after the baseline was taken: its two connections are not left behind",
    descriptors=2,
)
