"""A directory where records wait until they have been taken: it outlives the relay.

All methods but the constructor block, and are for a thread.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from rtpproxy_tw.beneath import open_file, read_file
from rtpproxy_tw.errors import ConfigError

SUFFIX = ".json"
REFUSED = "refused"
"""The folder of records that the receiver will never take."""

MOST_INSTANCES = 64
"""Relays that may share a directory; each has a folder of its own in it."""


class SpoolDirectory:
    """One relay's folder in ``path``: the first that no other living one has.

    Raises ConfigError.
    """

    def __init__(self, path: str) -> None:
        try:
            os.makedirs(path, 0o700, exist_ok=True)
            self.path, self._lock = _claimed(path)
            os.makedirs(os.path.join(self.path, REFUSED), 0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--webhook-spool {path}: {error.strerror}") from error

    def names(self) -> list[str]:
        """The records that wait, oldest first. What was half written is removed."""
        found = []
        for file in os.listdir(self.path):
            if file.endswith(SUFFIX):
                found.append(file.removesuffix(SUFFIX))
            elif file.endswith(".part"):
                os.unlink(os.path.join(self.path, file))
        return sorted(found)

    def write(self, name: str, record: bytes) -> None:
        """Keep a record. Raises OSError; then nothing of it is there."""
        part = self._at(name, ".part")
        try:
            with os.fdopen(open_file(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                file.write(record)
            os.rename(part, self._at(name))
        except OSError:
            with suppress(OSError):
                os.unlink(part)
            raise

    def read(self, name: str) -> bytes:
        """The record. Raises OSError."""
        return read_file(self._at(name))

    def remove(self, name: str) -> None:
        """It has been taken."""
        with suppress(FileNotFoundError):
            os.unlink(self._at(name))

    def refuse(self, name: str) -> None:
        """It never will be: keep it aside, for people. Raises OSError."""
        os.replace(self._at(name), os.path.join(self.path, REFUSED, name + SUFFIX))

    def close(self) -> None:
        """Let another relay have the folder."""
        os.close(self._lock)

    def _at(self, name: str, suffix: str = SUFFIX) -> str:
        return os.path.join(self.path, name + suffix)


def _claimed(path: str) -> tuple[str, int]:
    """A folder and the descriptor of its lock, which the kernel opens when the process ends."""
    for number in range(1, MOST_INSTANCES + 1):
        folder = os.path.join(path, str(number))
        os.makedirs(folder, 0o700, exist_ok=True)
        lock = open_file(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return folder, lock
    raise ConfigError(f"--webhook-spool {path}: {MOST_INSTANCES} relays use it already")
