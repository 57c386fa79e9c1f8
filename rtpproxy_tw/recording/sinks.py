"""The seam between what is recorded and how it reaches a disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol


class Place(NamedTuple):
    """Directories: where a recording ends up and, if elsewhere, where it grows."""

    directory: str
    spool: str | None = None


class Outcome(NamedTuple):
    """What a file has become."""

    packets: int = 0
    """How many are in it."""
    lost: int = 0
    """How many are not, though they were to be."""
    octets: int = 0
    sha256: str = ""
    error: str | None = None
    """Why it has failed, in words."""


class Note(NamedTuple):
    """A small file ``name`` beside recordings, written when all is done that was asked before.

    ``make`` gives its content then; it may be called on another thread. A ``final`` one is where
    the recordings end up, and one that is where they grow is removed. ``done`` is called, on the
    reactor's thread, when it has been written.
    """

    place: Place
    name: str
    make: Callable[[], bytes]
    final: bool = False
    done: Callable[[], None] = lambda: None


class Sink(Protocol):
    """Takes the records of one file."""

    @property
    def failed(self) -> bool:
        """Whether nothing more will be written, whatever comes."""

    @property
    def outcome(self) -> Outcome:
        """What became of what was written, so far."""

    def miss(self) -> None:
        """A packet came that nothing is written of, the recording having failed."""

    def write(self, record: bytes) -> None:
        """Take a whole record. Neither blocks nor raises; nothing happens after ``close``."""

    def close(self) -> None:
        """That was all. Idempotent; neither blocks nor raises."""


class Sinks(Protocol):
    """Makes them."""

    def open(self, place: Place, name: str, header: bytes) -> Sink:
        """A new file ``name``, replacing one that is there, beginning with ``header``.

        Does not block. Raises RecordingRefused.
        """

    def note(self, note: Note) -> None:
        """Write it, or replace the one that is there. Neither blocks nor raises."""
