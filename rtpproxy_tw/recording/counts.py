"""How many recordings there were, and what became of their packets, for whoever watches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rtpproxy_tw.recording.files import Files


@dataclass(slots=True)
class RecordingCounts:
    """Since the start of the process, but ``active``; packets are as of the latest ``look``.

    A recording is what one sidecar tells of: a party's files, or a file of both. Each that was
    started is active, finished or failed.
    """

    started: int = 0
    finished: int = 0
    failed: int = 0
    packets_written: int = 0
    packets_lost: int = 0
    """Those the disk did not take; what the network lost is the call's business."""
    _written: int = 0
    _lost: int = 0

    @property
    def active(self) -> int:
        """How many are being written now."""
        return self.started - self.finished - self.failed

    def complete(self, files: Files) -> None:
        """Nothing more will happen to ``files``."""
        if files.failed:
            self.failed += 1
        else:
            self.finished += 1
        self._written += files.packets
        self._lost += files.lost

    def look(self, open_files: Iterable[Files]) -> None:
        """Add up those that are complete and ``open_files``, which are all the others."""
        written, lost = self._written, self._lost
        for files in open_files:
            written += files.packets
            # Between the end and the last write nobody knows what that one will leave out.
            lost += files.lost if files.ended is None else 0
        self.packets_written = max(self.packets_written, written)
        self.packets_lost = max(self.packets_lost, lost)
