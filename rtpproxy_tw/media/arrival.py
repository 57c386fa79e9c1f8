"""When the packet at hand came, whoever hands it on."""

from __future__ import annotations

from collections.abc import Callable


class Arrival:
    """Called, it gives monotonic seconds: ``now``, or, while a copy is heard, when that came."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.of_copy: float | None = None
        """When the packet of which a copy is heard just now was relayed; None: it is no copy."""

    def __call__(self) -> float:
        """Monotonic seconds."""
        return self._now() if self.of_copy is None else self.of_copy
