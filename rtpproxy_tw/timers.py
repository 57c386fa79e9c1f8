"""Things that are to be done again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred, succeed


class Timer(TimerService):
    """One that can be stopped without having been started.

    Where a service does not start those after it never are, and all are stopped nevertheless;
    Twisted's would fail with that.
    """

    def stopService(self) -> Deferred[Any]:
        """Call nothing any more; fires when a call that is going on has ended. Idempotent."""
        if not self.running:
            return succeed(None)
        stopped: Deferred[Any] = super().stopService()
        return stopped


def every(seconds: float, reactor: Any, call: Callable[[], None]) -> Timer:
    """A service that calls ``call`` at once and then all ``seconds`` by ``reactor``'s time."""
    timer = Timer(seconds, call)
    timer.clock = reactor
    return timer
