"""One recording on a disk, written by calls that may take as long as the disk likes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from rtpproxy_tw.recording.sinks import Place

BUFFER = 65536
"""Octets gathered before they are written without being asked for."""

MODE = 0o666
"""Permission bits, less the umask: the original's."""

# No link is followed, so that nobody who may write into the directory can redirect a recording.
# O_NONBLOCK is for a FIFO of that name: opening it fails instead of waiting for a reader.
_FLAGS = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_TRUNC
    | os.O_NOFOLLOW
    | os.O_CLOEXEC
    | os.O_NONBLOCK
    | os.O_NOCTTY
)


@dataclass(frozen=True, slots=True)
class Calls:
    """The system calls that a full or broken disk makes fail."""

    open: Callable[..., int] = os.open
    write: Callable[[int, memoryview], int] = os.write


class DiskFile:
    """A file that grows by whole records. Every method may block."""

    __slots__ = ("_calls", "_fd", "_name", "_place", "_records", "_size", "buffered")

    def __init__(self, place: Place, name: str, calls: Calls) -> None:
        self._place = place
        self._name = name
        self._calls = calls
        self._fd = -1
        self._size = 0
        self._records: list[bytes] = []
        self.buffered = 0
        """Octets not written yet."""

    def open(self, header: bytes) -> None:
        """Create it, or empty the one that is there. Raises OSError."""
        with _directory(self._place.spool or self._place.directory) as parent:
            self._fd = self._calls.open(self._name, _FLAGS, MODE, dir_fd=parent)
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            self._close()
            raise OSError(errno.EINVAL, "not a regular file", self._name)
        self.add(header)
        self.write_out()

    def add(self, record: bytes) -> None:
        """Append a record, sooner or later. Raises OSError."""
        self._records.append(record)
        self.buffered += len(record)
        if self.buffered >= BUFFER:
            self.write_out()

    def write_out(self) -> None:
        """Write what is buffered. Raises OSError, also when somebody has deleted the file."""
        records, self._records, self.buffered = self._records, [], 0
        rest = memoryview(b"".join(records))
        whole = len(rest)
        try:
            while rest:
                rest = rest[self._calls.write(self._fd, rest) :]
        finally:
            self._size += _complete(records, whole - len(rest))
        if os.fstat(self._fd).st_nlink == 0:
            raise OSError(errno.ENOENT, "the file has been deleted", self._name)

    def finish(self) -> None:
        """Write the rest, close, and move it out of the spool directory. Raises OSError."""
        self.write_out()
        self._close()
        self._move()

    def abandon(self) -> None:
        """After an error: keep the records that are whole, if that much is possible."""
        self._records, self.buffered = [], 0
        if self._fd < 0:
            return
        with suppress(OSError):
            os.ftruncate(self._fd, self._size)
        with suppress(OSError):
            self._close()
        with suppress(OSError):
            self._move()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)

    def _move(self) -> None:
        directory, spool = self._place
        if spool is None:
            return
        with _directory(spool) as old, _directory(directory) as new:
            os.rename(self._name, self._name, src_dir_fd=old, dst_dir_fd=new)


@contextmanager
def _directory(path: str) -> Iterator[int]:
    """A descriptor of the directory, opened each time: it may have been made anew."""
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _complete(records: list[bytes], written: int) -> int:
    """How many of the ``written`` octets belong to records that are there as a whole."""
    total = 0
    for record in records:
        if total + len(record) > written:
            break
        total += len(record)
    return total
