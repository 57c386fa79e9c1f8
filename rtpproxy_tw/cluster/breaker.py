"""When to ask a service that may be out of order: after a fault one try at a time, no more."""

from __future__ import annotations

FIRST, LONGEST = 0.1, 0.5
"""Seconds from a failure to the next try: the first, and at most."""


class Breaker:
    """Closed while all is well. After a failure it opens, and lets one try through now and then."""

    def __init__(self) -> None:
        self._pause = FIRST
        self._until: float | None = None
        self.why = ""
        """What failed last, while it is open."""
        self.failures = 0

    @property
    def closed(self) -> bool:
        """Whether all is well, as far as is known."""
        return self._until is None

    def admits(self, now: float) -> bool:
        """Whether to try; where it is open, nobody else is admitted until the outcome is known."""
        if self._until is None:
            return True
        if now < self._until:
            return False
        self._until = now + self._pause
        return True

    def failed(self, why: str, now: float) -> None:
        """A try failed."""
        self.failures += 1
        self._pause = FIRST if self._until is None else min(LONGEST, 2 * self._pause)
        self._until = now + self._pause
        self.why = why

    def succeeded(self) -> None:
        """A try went well."""
        self._until = None
        self._pause = FIRST
        self.why = ""
