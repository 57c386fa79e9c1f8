"""The seam between what is recorded and how it reaches a disk."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Place(NamedTuple):
    """Directories: where a recording ends up and, if elsewhere, where it grows."""

    directory: str
    spool: str | None = None


class Sink(Protocol):
    """Takes the records of one file."""

    @property
    def failed(self) -> bool:
        """Whether nothing more will be written, whatever comes."""

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
