"""The accounting file and the journal beside it. Everything here may block: it is for a thread.

The journal holds the sessions that are alive, each as the record it would leave now. Its owner
holds a lock on it, which the kernel releases however the process ends; so a journal that can be
locked was left behind by a crash, and the next relay in that directory writes its records. A
session may have had its record before the crash without having been struck from the journal;
therefore the journal's first line tells how long the accounting file was when the journal was
begun, and what has been appended since is looked through.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from rtpproxy_tw.beneath import is_at, open_file
from rtpproxy_tw.reporting.acct_record import COLUMNS, HEADER

MODE = 0o644

ERRORS = "surrogateescape"
"""Bytes of a call-id that are not Unicode are written as they came."""

SUFFIX = ".journal"

_NAME = slice(COLUMNS.index("rtpp_pid"), COLUMNS.index("from_tag") + 1)
"""The columns by which a record is known."""

_CALL = COLUMNS.index("call_id") - _NAME.start

_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT
_REWRITE = os.O_RDWR | os.O_CREAT | os.O_TRUNC

SLACK = 1000
"""Lines a journal may have beyond four for each session, before it is written anew."""


class CsvFile:
    """The file at ``path``: shared with other relays, and rotated by renaming."""

    def __init__(self, path: str) -> None:
        self.path = path

    def append(self, lines: str) -> None:
        """Append whole lines, under a lock, with the header in front of the first. Raises OSError.

        After an error nothing of them is there.
        """
        with self._locked() as fd:
            before = os.fstat(fd).st_size
            rest = memoryview((lines if before else HEADER + lines).encode("utf-8", ERRORS))
            try:
                while rest:
                    rest = rest[os.write(fd, rest) :]
            except OSError:
                with suppress(OSError):
                    os.ftruncate(fd, before)
                raise

    def place(self) -> tuple[int, int]:
        """Which file it is and how long: inode and octets. Raises OSError."""
        with self._locked() as fd:
            about = os.fstat(fd)
            return about.st_ino, about.st_size

    def since(self, inode: int, size: int) -> str:
        """What has been written since ``place`` gave these, rotated files included."""
        found = ""
        folder, name = os.path.split(self.path)
        for each in sorted(os.listdir(folder or os.curdir)):
            if not each.startswith(name) or each.endswith(SUFFIX):
                continue
            path = os.path.join(folder, each)
            with suppress(OSError), os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
                same = os.fstat(file.fileno()).st_ino == inode
                if same or each == name:
                    file.seek(size if same else 0)
                    found += file.read().decode("utf-8", ERRORS)
        return found

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """A descriptor of the file that has the name while it is locked."""
        while True:
            fd = open_file(self.path, _APPEND, MODE)
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX)
                if is_at(fd, self.path):
                    yield fd
                    return
                # Rotated while we waited for the lock.
            finally:
                os.close(fd)


class Journal:
    """The sessions of this process that have no record yet: number -> line."""

    def __init__(self, file: CsvFile, pid: int) -> None:
        self._file = file
        self._path = f"{file.path}.{pid}{SUFFIX}"
        self._fd = -1
        self._lines = 0
        self.alive: dict[int, str] = {}

    def note(self, changes: dict[int, str]) -> None:
        """These are alive, with these records to leave. Raises OSError."""
        self.alive.update(changes)
        if self._fd < 0 or self._lines > 4 * len(self.alive) + SLACK:
            self._rewrite()
            return
        self._write(self._fd, changes)
        self._lines += len(changes)

    def forget(self, number: int) -> None:
        """It has its record."""
        self.alive.pop(number, None)

    def close(self) -> None:
        """At the end: there is nothing to be told by the next relay, unless some are alive."""
        if self._fd >= 0:
            if not self.alive:
                with suppress(OSError):
                    os.unlink(self._path)
            os.close(self._fd)
            self._fd = -1

    def _rewrite(self) -> None:
        part = self._path + ".part"
        fd = open_file(part, _REWRITE, MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            inode, size = self._file.place()
            os.write(fd, (json.dumps({"inode": inode, "size": size}) + "\n").encode())
            self._write(fd, self.alive)
            os.rename(part, self._path)
        except OSError:
            os.close(fd)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._lines = fd, len(self.alive)

    def _write(self, fd: int, changes: dict[int, str]) -> None:
        text = "".join(f"{json.dumps([number, line])}\n" for number, line in changes.items())
        if text:
            os.write(fd, text.encode())


def recover(file: CsvFile, elsewhere: Collection[str] = ()) -> int:
    """Write the records that crashed relays owe to ``file``; how many. Raises OSError.

    ``elsewhere`` are the calls that others have gone on with: they tell of them.
    """
    count = 0
    for path in _journals(file):
        with _left_behind(path) as journal:
            if journal is not None:
                lines = [line for line in _owed(file, journal) if _call(line) not in elsewhere]
                if lines:
                    file.append("".join(lines))
                os.unlink(path)
                count += len(lines)
    return count


def owed_calls(file: CsvFile) -> list[str]:
    """The calls of which crashed relays owe records. Raises OSError."""
    found: set[str] = set()
    for path in _journals(file):
        with _left_behind(path) as journal:
            if journal is not None:
                found.update(map(_call, _owed(file, journal)))
    return sorted(found)


def _journals(file: CsvFile) -> list[str]:
    folder, name = os.path.split(file.path)
    names = sorted(os.listdir(folder or os.curdir))
    return [
        os.path.join(folder, each)
        for each in names
        if each.startswith(name + ".") and each.endswith(SUFFIX)
    ]


@contextmanager
def _left_behind(path: str) -> Iterator[BinaryIO | None]:
    """The journal there, None where its owner lives."""
    with os.fdopen(open_file(path, os.O_RDONLY), "rb") as journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
        else:
            yield journal


def _owed(file: CsvFile, journal: BinaryIO) -> list[str]:
    inode, size, owed = _read(journal.read().decode("utf-8", "replace"))
    told = _told(file.since(inode, size))
    return [line for line in owed.values() if _name(line) not in told]


def _read(text: str) -> tuple[int, int, dict[int, str]]:
    inode = size = 0
    owed: dict[int, str] = {}
    for at, entry in enumerate(text.splitlines()):
        # A crash may have cut the last line.
        with suppress(ValueError, TypeError, KeyError):
            if at == 0:
                head = json.loads(entry)
                inode, size = int(head["inode"]), int(head["size"])
            else:
                number, line = json.loads(entry)
                owed[int(number)] = str(line)
    return inode, size, owed


def _told(text: str) -> set[tuple[str, ...]]:
    return {tuple(row[_NAME]) for row in csv.reader(io.StringIO(text, newline=""))}


def _call(line: str) -> str:
    return _name(line)[_CALL]


def _name(line: str) -> tuple[str, ...]:
    return tuple(next(csv.reader(io.StringIO(line, newline="")))[_NAME])
