"""Sinks in memory, and sessions to record."""

from __future__ import annotations

from hashlib import sha256

from rtpproxy_tw.addresses import Address, LocalAddress
from rtpproxy_tw.errors import RecordingRefused
from rtpproxy_tw.latch import Latch
from rtpproxy_tw.recording.sinks import Note, Outcome, Place
from rtpproxy_tw.session import Component, Session, SessionKey, Stream, new_session


class MemorySink:
    """A file that never reaches a disk."""

    def __init__(self, header: bytes) -> None:
        self.header = header
        self.records: list[bytes] = []
        self.failed = False
        self.closed = False
        self.missed = 0

    @property
    def content(self) -> bytes:
        """What the file would be."""
        return self.header + b"".join(self.records)

    @property
    def outcome(self) -> Outcome:
        """As if all had reached a disk."""
        digest = sha256(self.content).hexdigest()
        return Outcome(len(self.records), self.missed, len(self.content), digest, None)

    def miss(self) -> None:
        """Count it."""
        self.missed += 1

    def write(self, record: bytes) -> None:
        """Keep it."""
        if not (self.failed or self.closed):
            self.records.append(record)

    def close(self) -> None:
        """No more."""
        self.closed = True


class MemorySinks:
    """Remembers every file ever opened: the last one of each name in ``files``."""

    def __init__(self) -> None:
        self.files: dict[str, MemorySink] = {}
        self.opened: list[tuple[Place, str]] = []
        self.notes: dict[str, bytes] = {}
        """The small files, as last written."""
        self.final: list[str] = []
        self.holding: list[Note] | None = None
        """Notes that wait, where they are to."""
        self.refusing = 0
        """Refuse from so many openings on; 0: never."""

    def open(self, place: Place, name: str, header: bytes) -> MemorySink:
        """A new one."""
        if self.refusing and len(self.opened) + 1 >= self.refusing:
            raise RecordingRefused("told to")
        self.opened.append((place, name))
        sink = self.files[name] = MemorySink(header)
        return sink

    def note(self, note: Note) -> None:
        """Write it at once, or keep it back."""
        if self.holding is not None:
            self.holding.append(note)
            return
        self.notes[note.name] = note.make()
        if note.final:
            self.final.append(note.name)
        note.done()


class CredulousLatch(Latch):
    """Believes whoever speaks."""

    __slots__ = ()

    def signal(self, address: Address, now: float) -> None:
        """The address is taken as it is."""
        self.remote = address

    def complete(self, now: float) -> None:
        """Nothing changes."""

    def hear(self, source: Address, datagram: bytes, now: float) -> bool:
        """Always."""
        return True

    def follow(self, rtp: Address, now: float) -> None:
        """Nothing changes."""


def a_session(call_id: str = "call", from_tag: str = "from;1", local: str = "127.0.0.1") -> Session:
    """A complete one: the caller sends to ports 40000 and 40001, the callee to 50000 and 50001."""

    def latch(component: Component) -> Latch:
        return CredulousLatch()

    session = new_session(SessionKey(call_id, from_tag), 0.0, 60.0, latch)
    for leg, port in zip(session.legs, (40000, 50000), strict=True):
        leg.local = LocalAddress(local)
        leg.port = port
    return session


def hear(stream: Stream, datagram: bytes, source: Address) -> None:
    """What the media plane does with an accepted datagram, as far as taps are concerned."""
    for tap in stream.taps:
        tap.heard(stream, datagram, source)
