"""Stamps for recordings: seconds since the epoch that no setting of the clock can make jump."""

from __future__ import annotations

from collections.abc import Callable


class SteadyWall:
    """The wall clock as it was last looked at, going on with the monotonic one.

    Were a clock set during a call, its recording would have an hour of silence, or its end before
    its beginning.
    """

    def __init__(self, wall: Callable[[], float], now: Callable[[], float]) -> None:
        self._wall = wall
        self._now = now
        self._offset = 0.0
        self.settle()

    def settle(self) -> None:
        """Look at the wall clock again."""
        self._offset = self._wall() - self._now()

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self._offset + self._now()
