"""Things that are to be done again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.internet import TimerService


def every(seconds: float, reactor: Any, call: Callable[[], None]) -> TimerService:
    """A service that calls ``call`` at once and then all ``seconds`` by ``reactor``'s time."""
    timer = TimerService(seconds, call)
    timer.clock = reactor
    return timer
