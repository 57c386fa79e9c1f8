"""The side that hands over.

::

   new                          old
   hello    what it understands
                                begin     whose clock it is
                                ahead     sessions as they are now, while calls and commands go on
   got
                                whole     counters, replies, ... ; one message each
   got
                                same      which of these are as they were, and have nothing more
   got
                                rest      what has changed in others, and their recordings
   got
                                gone      which of them are to be forgotten
   got
                                sessions  what did not go ahead: nearly none
   got
                                whole     recordings' writers, listeners: what must come last
   got
                                end
   serving

Until ``serving`` has come nothing has changed for the old relay: it has only sent copies of its
descriptors, and nobody else has read from them. So on any error it goes on as if nothing had been.

Sessions are written down while the new process is being started already. What has changed by the
time they go ahead is part of what has changed in the end.

With a relay that understands the second version of this only, there is no ``same``; with one that
understands the first, nothing goes ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from rtpproxy_tw.continuity.belongings import Luggage, Part, Whole
from rtpproxy_tw.continuity.channel import MOST_DESCRIPTORS, Channel, HandoverError
from rtpproxy_tw.session import Session
from rtpproxy_tw.snapshot import records

PROTOCOL = 3
"""Of these messages."""

WITHOUT_SAME = 2
"""The version before: each session that went ahead has its record in the end."""

WITHOUT_AHEAD = 1
"""Everything is sent when nobody relays any more."""

UNDERSTOOD = (WITHOUT_AHEAD, WITHOUT_SAME, PROTOCOL)

MOST_SESSIONS = 48
"""In one message: four descriptors each, and some to spare for recordings."""

MOST_CHANGES = 24
"""In one message: few, so that it is read while the next one is written."""

MOST_SAME = 128
"""Likewise, of those that are but named."""

SLICE = 0.005
"""Seconds of a turn that sessions sent ahead may take; packets wait as long."""

AHEAD = 2
"""Messages sent before the first of them is acknowledged: one is read while one is written."""


def boot() -> str:
    """What tells one run of the kernel, and so of its monotonic clock, from another."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


class Giver:
    """Hands over what it is given to the relay at the other end of ``channel``.

    To be called in this order: :meth:`prepare`, as often as there is time; :meth:`begin`;
    :meth:`ahead` again and again, with
    :meth:`acknowledged` whenever the other relay has something to say; :meth:`finish`. ``sessions``
    gives those that there are; what ``lasting`` parts say goes ahead, what the other ``parts`` say
    does not. ``now`` gives monotonic seconds. All of it may raise HandoverError.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        sessions: Callable[[], Iterable[Session]],
        lasting: Sequence[Part],
        parts: Sequence[Part],
        first: Sequence[Whole],
        last: Sequence[Whole],
        now: Callable[[], float],
    ) -> None:
        self._channel = channel
        self._sessions = sessions
        self._lasting = lasting
        self._parts = parts
        self._first = first
        self._last = last
        self._now = now
        self._unacknowledged = 0
        self._protocol = PROTOCOL
        self._numbers = count()
        self._sent: dict[Session, tuple[int, dict[str, Any]]] = {}
        """What went ahead: number and record."""
        self._queue: list[Session] = []
        self._written: dict[Session, Written] = {}
        """What is prepared."""
        self._unwritten: list[Session] | None = None
        self.hello: Mapping[str, Any] = {}
        """What the other relay has said of itself."""

    def prepare(self) -> bool:
        """Write some sessions down before the other relay is there; False when all are."""
        if self._unwritten is None:
            self._unwritten = list(self._sessions())
        until = self._now() + SLICE
        while self._unwritten and self._now() < until:
            session = self._unwritten.pop()
            if session.ended is None:
                self._written[session] = _written(session)
        return bool(self._unwritten)

    def begin(self) -> None:
        """The other relay is there, and has said so."""
        hello = self.hello = self._channel.receive("hello").fields
        theirs = hello.get("protocol")
        self._protocol = min(theirs, PROTOCOL) if type(theirs) is int else WITHOUT_AHEAD
        self._channel.send("begin", protocol=self._protocol, clock=self._now(), boot=boot())

    def acknowledged(self) -> None:
        """Something can be received while sessions go ahead."""
        self._settle(self._unacknowledged - 1)

    def ahead(self) -> bool:
        """Send some sessions ahead; False when it is time to finish."""
        if self._protocol == WITHOUT_AHEAD:
            return False
        while self._unacknowledged < AHEAD and self._next():
            lines: list[bytes] = []
            descriptors: list[int] = []
            until = self._now() + SLICE
            while self._next() and len(lines) < MOST_SESSIONS:
                lines.append(self._pack_ahead(self._queue.pop(), descriptors))
                if self._now() >= until:
                    break
            self._send("ahead", b"".join(lines), descriptors)
        return self._unacknowledged > 0

    def finish(self) -> None:
        """Hand over the rest; returns when the other relay serves. Nothing else may go on."""
        self._settle(0)
        self._wholes(self._first)
        fresh: list[Session] = []
        self._give_rest(fresh)
        if self._sent:
            gone = [number for number, _ in self._sent.values()]
            self._send("gone", records.to_line({"numbers": gone}), [])
        for body, descriptors in batches(map(self._whole_record, fresh), MOST_SESSIONS):
            self._send("sessions", body, descriptors)
        self._wholes(self._last)
        self._settle(0)
        self._channel.send("end")
        self._channel.receive("serving").close()

    def _next(self) -> bool:
        """Whether there is a session at the end of the queue that may go ahead."""
        if not self._queue:
            self._queue = [each for each in self._sessions() if each not in self._sent]
            self._queue.reverse()
        while self._queue and self._queue[-1].ended is not None:
            self._queue.pop()
        return bool(self._queue)

    def _pack_ahead(self, session: Session, descriptors: list[int]) -> bytes:
        if session not in self._written or self._written[session][0] != _ports(session):
            self._written[session] = _written(session)
        _, record, line = self._written.pop(session)
        number = next(self._numbers)
        self._sent[session] = number, record
        luggage = Luggage()
        parts = _said(self._lasting, session, luggage)
        descriptors += luggage.descriptors
        belongings = {"parts": parts, "number": number, "descriptors": len(luggage.descriptors)}
        return _joined(line, records.to_line(belongings))

    def _give_rest(self, fresh: list[Session]) -> None:
        """What became of those that went ahead; ``fresh`` gets all that must be sent as a whole.

        What went in vain is left in ``_sent``.
        """
        same: list[int] = []
        for body, descriptors in batches(self._rest(fresh, same), MOST_CHANGES):
            self._send("rest", body, descriptors)
        self._send_same(same)

    def _rest(self, fresh: list[Session], same: list[int]) -> Iterator[Packed]:
        names_same = self._protocol > WITHOUT_SAME
        for session in self._sessions():
            sent = self._sent.get(session)
            changed = None if sent is None else records.changes(sent[1], records.pack(session, {}))
            if sent is None or changed is None:
                fresh.append(session)
                continue
            del self._sent[session]
            luggage = Luggage()
            parts = _said(self._parts, session, luggage)
            if names_same and not changed and not parts:
                same.append(sent[0])
                if len(same) >= MOST_SAME:
                    self._send_same(same)
            else:
                yield self._change(sent[0], changed, parts, luggage)

    def _send_same(self, numbers: list[int]) -> None:
        if numbers:
            self._send("same", records.to_line({"numbers": numbers}), [])
            numbers.clear()

    def _change(
        self, number: int, changed: dict[str, Any], parts: dict[str, Any], luggage: Luggage
    ) -> Packed:
        count = len(luggage.descriptors)
        record = {"number": number, "changed": changed, "parts": parts, "descriptors": count}
        return record, luggage.descriptors

    def _whole_record(self, session: Session) -> Packed:
        luggage = Luggage()
        parts = _said((*self._lasting, *self._parts), session, luggage)
        record = records.pack(session, parts)
        record["descriptors"] = len(luggage.descriptors)
        return record, luggage.descriptors

    def _wholes(self, wholes: Iterable[Whole]) -> None:
        for whole in wholes:
            luggage = Luggage()
            value = whole.pack(luggage)
            if value is not None:
                body = records.to_line({"value": value})
                self._send("whole", body, luggage.descriptors, name=whole.name)

    def _send(self, kind: str, body: bytes, descriptors: Sequence[int], **fields: object) -> None:
        if len(descriptors) > MOST_DESCRIPTORS:
            raise HandoverError(f"{len(descriptors)} descriptors do not go into one message")
        self._channel.send(kind, body, descriptors, **fields)
        self._unacknowledged += 1
        self._settle(AHEAD)

    def _settle(self, left: int) -> None:
        while self._unacknowledged > max(left, 0):
            self._channel.receive("got").close()
            self._unacknowledged -= 1


Packed = tuple[dict[str, Any], list[int]]
"""A record and its descriptors."""


Written = tuple[object, dict[str, Any], bytes]
"""What ports a session had, its record without parts, and the line of that."""


def _written(session: Session) -> Written:
    record = records.pack(session, {})
    return _ports(session), record, records.to_line(record)


def _ports(session: Session) -> object:
    return [(leg.local, leg.port) for leg in session.legs]


def _joined(one: bytes, other: bytes) -> bytes:
    """The line of an object that has what those of two lines have."""
    return one[:-2] + b"," + other[1:]


def _said(parts: Iterable[Part], session: Session, luggage: Luggage) -> dict[str, Any]:
    said = ((part.name, part.pack(session, luggage)) for part in parts)
    return {name: value for name, value in said if value is not None}


def batches(packed: Iterable[Packed], most: int) -> Iterator[tuple[bytes, list[int]]]:
    """Lines and descriptors of one message after the other, of at most so many records."""
    lines: list[bytes] = []
    descriptors: list[int] = []
    for record, belonging in packed:
        if len(descriptors) + len(belonging) > MOST_DESCRIPTORS or len(lines) >= most:
            yield b"".join(lines), descriptors
            lines, descriptors = [], []
        lines.append(records.to_line(record))
        descriptors += belonging
    if lines:
        yield b"".join(lines), descriptors
