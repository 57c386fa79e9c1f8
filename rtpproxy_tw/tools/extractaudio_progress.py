"""A progress bar for work that takes long enough to wonder about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

PATIENCE = 1.0
"""Seconds without a bar."""

EVERY = 0.1
WIDTH = 40


class Bar:
    """Draws on a terminal, if ``out`` is one and it is ``wanted``; erased at the end."""

    def __init__(
        self, out: TextIO, wanted: bool = True, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._out = out
        self._now = now
        self._shows = wanted and out.isatty()
        self._next = now() + PATIENCE
        self._drawn = False

    def __enter__(self) -> Bar:
        return self

    def __call__(self, done: float) -> None:
        """So much is done, from 0 to 1."""
        if not self._shows or self._now() < self._next:
            return
        self._next = self._now() + EVERY
        full = round(done * WIDTH)
        self._out.write(f"\r[{'#' * full}{'.' * (WIDTH - full)}] {done:4.0%}")
        self._out.flush()
        self._drawn = True

    def __exit__(self, *exc_info: object) -> None:
        if self._drawn:
            self._out.write("\r" + " " * (WIDTH + 8) + "\r")
            self._out.flush()
