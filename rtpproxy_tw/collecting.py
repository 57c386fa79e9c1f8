"""The garbage collector, kept from being heard.

A full collection looks at every object there is: some 25 µs for each session, which at 2,000 calls
is a gap of 50 ms in every one of them. What a process needs for good is therefore set aside at the
start, young objects are collected in small portions, and everything is looked at only when there is
little to look at. Ended sessions need no collector: see :func:`rtpproxy_tw.session.take_apart`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sized
from typing import Any

from twisted.internet.defer import Deferred

from rtpproxy_tw.timers import Timer

YOUNG = 1000
"""Objects made, less those gone again, between two collections of the youngest: half a
millisecond."""

PORTIONS = 0
"""Further such portions until what is left of them is looked at a second time, and the last: every
second collection, of one millisecond. More of them make that one longer, and the sum no less."""

NEVER = 1 << 30

LOOK_EVERY = 60.0
"""Seconds between two thoughts of looking at everything."""

FEW = 100
"""Sessions; with no more of them a full collection takes a few milliseconds."""

PATIENCE = 24 * 60
"""Looks after which everything is looked at however many sessions there are: once a day."""


class Collecting(Timer):
    """Has garbage collected while the relay runs. ``sessions`` tells how many there are.

    The settings are the process's; the end puts them back.
    """

    def __init__(
        self, sessions: Sized, clock: Any, collect: Callable[[], object] = gc.collect
    ) -> None:
        super().__init__(LOOK_EVERY, self.look)
        self.clock = clock
        self._sessions = sessions
        self._collect = collect
        self._waited = 0
        self._before = gc.get_threshold()

    def startService(self) -> None:
        """Set aside what there is."""
        self._before = gc.get_threshold()
        gc.freeze()
        gc.set_threshold(YOUNG, PORTIONS, NEVER)
        super().startService()

    def stopService(self) -> Deferred[Any]:
        """Leave it to Python again."""
        if not self.running:
            return super().stopService()
        gc.unfreeze()
        gc.set_threshold(*self._before)
        return super().stopService()

    def look(self) -> None:
        """Collect everything, if nobody hears it or it was put off for long."""
        self._waited += 1
        if len(self._sessions) <= FEW or self._waited >= PATIENCE:
            self._waited = 0
            self._collect()
