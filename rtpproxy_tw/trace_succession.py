"""The rings of ``--trace`` in another process, at no cost while both stand still.

What is handed over is an empty file in memory. The process that leaves fills it when the other one
serves already; that one reads it if somebody asks for a trace.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.recording.former import FormerRings, write
from rtpproxy_tw.recording.trace import HeaderRings

KEPT = 900.0
"""Seconds for which what was before a restart can be asked for; then its memory is given back."""


class TracesWhole:
    """What was heard before the restart."""

    _log = Logger()
    name = "traces"

    def __init__(
        self, rings: HeaderRings, later: Callable[[float, Callable[[], None]], object]
    ) -> None:
        """``later`` calls something after so many seconds."""
        self._rings = rings
        self._later = later
        self._file = -1

    def pack(self, luggage: Luggage) -> Any:
        """See Whole; None where nothing is traced."""
        if not self._rings.seconds:
            return None
        self._close()  # of an attempt that failed
        self._file = os.memfd_create("traces", os.MFD_CLOEXEC)
        return luggage.add(self._file)

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""
        former = FormerRings(luggage.take(value), shift)
        if not self._rings.seconds:
            former.close()
            return
        self._rings.former = former
        self._later(KEPT, former.close)

    def leave(self) -> None:
        """The other process serves: write down what was heard here."""
        if self._file < 0:
            return
        try:
            for call_id, ring in self._rings.all():
                write(self._file, call_id, ring)
        except OSError as error:
            self._log.warn("traces do not go over: {error}", error=error)
        self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
