"""What happened to a session, in order: a bounded diary for whoever asks why afterwards."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

MOST_ENTRIES = 200
"""Per session; a call is understood by how it began and by what happened last."""

LONGEST_TEXT = 200
"""Characters of an entry; more is cut, as the text may hold what a command said."""

KINDS = {
    "command": "a command of the SIP proxy",
    "latch": "a source was believed for the first time",
    "relatch": "another source was believed in place of the one before",
    "hold": "a party was put on hold, or taken off it",
    "silence": "a party fell silent, or was heard again",
    "prompt": "a prompt began or stopped",
    "recording": "a recording began or stopped",
    "path": "packets took another path through the relay",
    "digit": "a party pressed a key (RFC 4733)",
    "source": "the stream itself changed: its SSRC, its payload type",
    "address": "the relay's own address outside became another one",
    "icmp": "the network reported that a party cannot be reached",
    "verdict": "the verdict of a leg became another one",
    "end": "the session ended",
}
"""Every kind of entry and what it tells."""


class Entry(NamedTuple):
    """One thing that happened, ``when`` in monotonic seconds, ``kind`` one of ``KINDS``."""

    when: float
    kind: str
    text: str


class Timeline:
    """The first and the last entries of a session; from the middle they are dropped and counted.

    Half of ``limit`` is for the first ones. Entries are kept in the order they are added.
    """

    __slots__ = ("_first", "_last", "_limit", "dropped")

    def __init__(self, limit: int = MOST_ENTRIES) -> None:
        self._limit = limit
        self._first: list[Entry] = []
        self._last: deque[Entry] | None = None
        self.dropped = 0
        """How many entries of the middle are gone."""

    def add(self, when: float, kind: str, text: str) -> None:
        """``text`` happened at ``when``. An endless series of entries takes no more memory."""
        entry = Entry(when, kind, text[:LONGEST_TEXT])
        if len(self._first) < self._limit // 2:
            self._first.append(entry)
            return
        if self._last is None:
            self._last = deque(maxlen=self._limit - self._limit // 2)
        if len(self._last) == self._last.maxlen:
            self.dropped += 1
        self._last.append(entry)

    def __len__(self) -> int:
        """How many entries are kept."""
        return len(self._first) + len(self._last or ())

    def __iter__(self) -> Iterator[Entry]:
        """The entries that are kept, oldest first."""
        yield from self._first
        yield from self._last or ()

    @property
    def first(self) -> tuple[Entry, ...]:
        """The entries before those that were dropped."""
        return tuple(self._first)

    @property
    def last(self) -> tuple[Entry, ...]:
        """The entries after those that were dropped; empty while there is room for all."""
        return tuple(self._last or ())
