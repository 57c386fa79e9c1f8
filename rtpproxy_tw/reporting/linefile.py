"""A file to which lines are appended by a thread of its own, as no packet may wait for a disk.

The thread opens the file again whenever it is not there under its name any more, so that it can
be rotated by renaming. Lines that cannot be written wait, up to a number, until they can.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from contextlib import suppress
from typing import BinaryIO

from twisted.logger import Logger

from rtpproxy_tw.beneath import is_at, open_file
from rtpproxy_tw.errors import ConfigError

MOST_LINES = 20_000
"""That wait for the disk; of some kilobytes each."""

RETRY = 1.0
"""Seconds between two attempts to write to a disk that refuses."""

STOP = 5.0
"""Seconds that the end of the process waits for the disk."""


class LineFile:
    """Appends records to ``path``. Raises ConfigError where that cannot be opened."""

    _log = Logger()

    def __init__(self, path: str) -> None:
        self._path = path
        self._lines: deque[bytes] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._trouble: str | None = None
        self._told: str | None = None
        self.lost = 0
        """Lines there was no room for."""
        try:
            self._file: BinaryIO | None = _opened(path)
        except OSError as error:
            raise ConfigError(f"--record-calls {path}: {error.strerror}") from error

    def put(self, name: str, record: bytes) -> None:
        """Append one line."""
        with self._wake:
            if len(self._lines) >= MOST_LINES:
                self.lost += 1
            else:
                self._lines.append(record + b"\n")
            self._wake.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="records", daemon=True)
            self._thread.start()
        self._tell()

    def stop(self) -> None:
        """Write what waits, for a limited time. Idempotent."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(STOP)
        if self._lines:
            self._log.error(
                "{count} records could not be written to {path}: {why}",
                count=len(self._lines),
                path=self._path,
                why=self._trouble or "the disk hangs",
            )
        if self._file is not None and not (self._thread and self._thread.is_alive()):
            self._file.close()
            self._file = None

    def _tell(self) -> None:
        # By whoever puts, as log observers are made for the reactor's thread.
        trouble = self._trouble
        if trouble != self._told:
            self._told = trouble
            if trouble is not None:
                self._log.error("{path}: {why}; records wait", path=self._path, why=trouble)
            else:
                self._log.info("{path} is written to again", path=self._path)

    # In the thread.

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._lines and not self._stopping:
                    self._wake.wait()
                if not self._lines:
                    return
                batch = [*self._lines]
            if self._write(b"".join(batch)):
                with self._wake:
                    for _ in batch:
                        self._lines.popleft()
            elif self._stopping:
                return
            else:
                time.sleep(RETRY)

    def _write(self, octets: bytes) -> bool:
        try:
            if self._file is None or not is_at(self._file.fileno(), self._path):
                if self._file is not None:
                    self._file.close()
                self._file = _opened(self._path)
            self._append(self._file, octets)
        except OSError as error:
            self._trouble = error.strerror or str(error)
            return False
        self._trouble = None
        return True

    def _append(self, file: BinaryIO, octets: bytes) -> None:
        before = os.fstat(file.fileno()).st_size
        rest = memoryview(octets)
        try:
            while rest:
                rest = rest[os.write(file.fileno(), rest) :]
        except OSError:
            # Half a line would spoil the next one, and all of it will be written again.
            with suppress(OSError):
                os.ftruncate(file.fileno(), before)
            raise


def _opened(path: str) -> BinaryIO:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    return os.fdopen(open_file(path, flags, 0o640), "wb", buffering=0)
