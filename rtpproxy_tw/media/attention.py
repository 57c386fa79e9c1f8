"""Since when the relay has been listening without a break."""

from __future__ import annotations

SIGN_EVERY = 0.1
"""Seconds between two signs of life."""

BREAK = 0.5
"""Seconds without a sign that are a break: half of the silence after which a party may move."""


class Attention:
    """Tells a party's silence from the relay's own absence.

    A process that was stopped, or whose loop was held up, has heard nobody. What arrived meanwhile
    it reads afterwards, and to the first of these packets every party seems to have been silent:
    a stranger's would find doors open that only a silent party leaves open.
    """

    __slots__ = ("_seen", "_since")

    def __init__(self) -> None:
        self._seen: float | None = None
        self._since = float("-inf")

    def sign(self, now: float) -> None:
        """The loop runs. To be called every SIGN_EVERY seconds."""
        self.since(now)
        self._seen = now

    def since(self, now: float) -> float:
        """When listening began, or was taken up again after the last break.

        May be asked before the sign that is late: the packets are there first.
        """
        if self._seen is not None and now - self._seen >= BREAK:
            self._seen = self._since = now
        return self._since
