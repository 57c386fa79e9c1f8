"""One recording on a disk, written by calls that may take as long as the disk likes."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256

from rtpproxy_tw.recording.sinks import Note, Place

BUFFER = 65536
"""Octets gathered before they are written without being asked for."""

CHUNK = 1 << 20
"""Octets read at once of a file that another process began."""

MODE = 0o666
"""Permission bits, less the umask: the original's."""

# No link is followed, so that nobody who may write into the directory can redirect a recording.
# O_NONBLOCK is for a FIFO of that name: opening it fails instead of waiting for a reader.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


@dataclass(frozen=True, slots=True)
class Calls:
    """The system calls that a full or broken disk makes fail."""

    open: Callable[..., int] = os.open
    write: Callable[[int, memoryview], int] = os.write


class DiskFile:
    """A file that grows by whole records. Every method may block."""

    __slots__ = (
        *("_calls", "_digest", "_fd", "_name", "_place", "_records", "_size"),
        *("accepted", "buffered", "packets"),
    )

    def __init__(self, place: Place, name: str, calls: Calls) -> None:
        self._place = place
        self._name = name
        self._calls = calls
        self._fd = -1
        self._size = 0
        self._digest = sha256()
        self._records: list[bytes] = []
        self.accepted = 0
        """Records that were to be written."""
        self.packets = 0
        """Records in the file as a whole."""
        self.buffered = 0
        """Octets not written yet."""

    def adopt(self, fd: int, size: int, packets: int) -> None:
        """Go on with an open file of that many octets and records. Raises OSError."""
        self._fd, self._size = fd, size
        self.accepted = self.packets = packets
        os.lseek(fd, size, os.SEEK_SET)
        with _directory(self._place.spool or self._place.directory) as parent:
            reading = os.open(self._name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if not os.path.samestat(os.fstat(reading), os.fstat(fd)):
                raise OSError(errno.ENOENT, "the file has been replaced", self._name)
            left = size
            while left and (part := os.read(reading, min(left, CHUNK))):
                self._digest.update(part)
                left -= len(part)
        finally:
            os.close(reading)

    @property
    def descriptor(self) -> int:
        """Of the open file, -1 without one."""
        return self._fd

    def open(self, header: bytes) -> None:
        """Create it, or empty the one that is there. Raises OSError, also where it is in use."""
        with _directory(self._place.spool or self._place.directory) as parent:
            self._fd = self._calls.open(self._name, _FLAGS, MODE, dir_fd=parent)
        try:
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", self._name)
            _own(self._fd, self._name)
            os.ftruncate(self._fd, 0)
        except OSError:
            self._close()
            raise
        self.add(header)
        self.write_out()
        self.accepted = self.packets = 0

    @property
    def size(self) -> int:
        """Octets in the file."""
        return self._size

    @property
    def sha256(self) -> str:
        """Of what is in the file, in hexadecimal, once it is complete."""
        return "" if self._fd >= 0 else self._digest.hexdigest()

    def add(self, record: bytes) -> None:
        """Append a record, sooner or later. Raises OSError."""
        self._records.append(record)
        self.accepted += 1
        self.buffered += len(record)
        if self.buffered >= BUFFER:
            self.write_out()

    def write_out(self) -> None:
        """Write what is buffered. Raises OSError, also when somebody has deleted the file."""
        records, self._records, self.buffered = self._records, [], 0
        octets = b"".join(records)
        rest, whole = memoryview(octets), len(octets)
        try:
            while rest:
                rest = rest[self._calls.write(self._fd, rest) :]
        finally:
            count, kept = _complete(records, whole - len(rest))
            self._size += kept
            self._digest.update(octets[:kept] if kept < whole else octets)
            self.packets += count
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


def write_note(note: Note) -> None:
    """Write a note, so that no half of it is ever seen. Raises OSError."""
    directory, spool = note.place
    with _directory(directory if note.final or spool is None else spool) as parent:
        draft = f".{note.name}.new"
        fd = os.open(draft, _FLAGS | os.O_TRUNC, MODE, dir_fd=parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(note.make())
            os.rename(draft, note.name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft, dir_fd=parent)
            raise
    if note.final and spool is not None:
        with suppress(OSError), _directory(spool) as parent:
            os.unlink(note.name, dir_fd=parent)


def _own(fd: int, name: str) -> None:
    """Mark the file as being written, for whoever looks for those a crash left behind.

    Raises OSError where another process is writing it. Some file systems know no such marks.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(errno.EBUSY, "another process is writing it", name) from error
    except OSError:
        return


def _complete(records: list[bytes], written: int) -> tuple[int, int]:
    """How many records, and octets of them, are there as a whole after so many were written."""
    count = total = 0
    for record in records:
        if total + len(record) > written:
            break
        total += len(record)
        count += 1
    return count, total
