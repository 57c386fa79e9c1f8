"""The real reactor, turned by hand: what it is told to do happens while a test waits."""

from __future__ import annotations

import time
from collections.abc import Callable


def spin(until: Callable[[], object], seconds: float = 10.0) -> None:
    """Turn the reactor until ``until`` is true; AssertionError after ``seconds``.

    A condition that is None is true after a few turns.
    """
    from twisted.internet import reactor

    deadline = time.monotonic() + seconds
    for turn in range(1_000_000):
        reactor.iterate(0.005 if turn else 0)
        found = until()
        if found or (found is None and turn > 5):
            return
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain"
