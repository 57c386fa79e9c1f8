"""How many recordings there were, and what became of their packets, for whoever watches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rtpproxy_tw.recording.files import Files


@dataclass(slots=True)
class RecordingCounts:
    """Since the relay's start, but ``active``; packets are as of the latest ``look``.

    A recording is what one sidecar tells of: a party's files, or a file of both. Each that was
    started is active, finished or failed. A process that takes over from another takes over its
    ``complete_ones``, too.
    """

    active: int = 0
    started: int = 0
    finished: int = 0
    failed: int = 0
    packets_written: int = 0
    packets_lost: int = 0
    """Those the disk did not take; what the network lost is the call's business."""
    _written: int = 0
    _lost: int = 0

    def begin(self) -> None:
        """There is another recording."""
        self.started += 1
        self.active += 1

    def adopt(self) -> None:
        """There is another one, which another process has begun."""
        self.active += 1

    def complete(self, files: Files) -> None:
        """Nothing more will happen to ``files``."""
        self.active -= 1
        if files.failed:
            self.failed += 1
        else:
            self.finished += 1
        self._written += files.packets
        self._lost += files.lost

    @property
    def complete_ones(self) -> tuple[int, int, int, int, int]:
        """How many were started, finished, failed; packets written and lost of complete ones."""
        return self.started, self.finished, self.failed, self._written, self._lost

    @complete_ones.setter
    def complete_ones(self, counts: tuple[int, int, int, int, int]) -> None:
        self.started, self.finished, self.failed, self._written, self._lost = counts

    def look(self, open_files: Iterable[Files]) -> None:
        """Add up those that are complete and ``open_files``, which are all the others."""
        written, lost = self._written, self._lost
        for files in open_files:
            written += files.packets
            # Between the end and the last write nobody knows what that one will leave out.
            lost += files.lost if files.ended is None else 0
        self.packets_written = max(self.packets_written, written)
        self.packets_lost = max(self.packets_lost, lost)
