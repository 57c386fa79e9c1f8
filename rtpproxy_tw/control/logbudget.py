"""How often the same kind of thing is worth a log line."""

from __future__ import annotations

from collections.abc import Hashable

LINES = 5
"""Lines of one kind that are written in one period."""

PERIOD = 10.0
"""Seconds after which a kind has its lines again."""


class LogBudget:
    """Counts the lines of each kind, so that whoever causes them cannot fill the disk.

    Kinds must be few: error codes, not addresses.
    """

    def __init__(self, *, lines: int = LINES, period: float = PERIOD) -> None:
        self._lines = lines
        self._period = period
        self._spent: dict[Hashable, tuple[float, int]] = {}

    def admit(self, kind: Hashable, now: float) -> int | None:
        """How many lines of that kind were left out before this one; None: leave it out too."""
        since, count = self._spent.get(kind, (now, 0))
        if now - since >= self._period:
            self._spent[kind] = (now, 1)
            return max(0, count - self._lines)
        self._spent[kind] = (since, count + 1)
        return 0 if count < self._lines else None
