"""Doing something again and again. Twisted's LoopingCall would install the default reactor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Repeated:
    """Calls ``what`` every so many ``seconds`` after ``start``, the first time after as many."""

    def __init__(self, reactor: Any, seconds: float, what: Callable[[], object]) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._what = what
        self._call: Any = None

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._call is None:
            self._call = self._reactor.callLater(self._seconds, self._again)

    def stop(self) -> None:
        """End. Idempotent."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _again(self) -> None:
        self._call = self._reactor.callLater(self._seconds, self._again)
        self._what()
