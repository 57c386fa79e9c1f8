"""When the next packet of each player is due: one timer for all, absolute deadlines, no drift.

A deadline is the one before plus a packet's length, never "now" plus it, so that what a late turn
of the reactor adds to one interval it takes away from the next.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

BURST = 64
"""Steps in one turn of the reactor, some 0.3 ms; then packets and commands have their turn."""

FORGIVEN = 0.25
"""Seconds. Who is later than that (a suspended machine) goes on from now, without catching up."""

Step = Callable[[float], float | None]
"""Given the time, does what is due; how many seconds until it is due again, None: never."""


class Pacer:
    """Calls steps when they are due. ``clock`` provides time and timers, in seconds."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Step]] = []
        self._serial = 0
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        """How many steps are waiting."""
        return len(self._due)

    def add(self, step: Step) -> None:
        """Call ``step`` as soon as possible, not now, and from then on as it says."""
        # The serial number decides between equal deadlines: steps cannot be compared.
        self._serial += 1
        heapq.heappush(self._due, (self._clock.seconds(), self._serial, step))
        self._arm()

    def stop(self) -> None:
        """Forget all steps."""
        self._due.clear()
        self._arm()

    def _run(self) -> None:
        self._call = None
        now = self._clock.seconds()
        due = self._due
        for _ in range(BURST):
            if not due or due[0][0] > now:
                break
            when, serial, step = due[0]
            pause = step(now)
            if pause is None:
                heapq.heappop(due)
            else:
                since = when if now - when < FORGIVEN else now
                heapq.heapreplace(due, (since + pause, serial, step))
        self._arm()

    def _arm(self) -> None:
        call = self._call
        if not self._due:
            if call is not None:
                call.cancel()
                self._call = None
            return
        first = self._due[0][0]
        if call is None:
            self._call = self._clock.callLater(max(0.0, first - self._clock.seconds()), self._run)
        elif first < call.getTime():
            call.reset(max(0.0, first - self._clock.seconds()))
