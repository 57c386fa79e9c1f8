"""Recordings that go on in further files, where the open ones cannot be passed on.

That is so after a crash, and when another node takes over. Sidecars tell which files are parts of
one recording.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.logger import Logger

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.errors import RecordingRefused
from rtpproxy_tw.recording.files import Earlier
from rtpproxy_tw.recording.recorders import FileRecorders
from rtpproxy_tw.session import Leg, Session, Side
from rtpproxy_tw.snapshot.kinds import (
    ADDRESS,
    COUNT,
    FLAG,
    TEXT,
    Damaged,
    either,
    listed,
    one_of,
    row,
    text,
)


class Recorded(NamedTuple):
    """How a party is recorded."""

    side: Side
    single: bool
    paused: bool
    target: str | None
    """The name that the command gave."""
    earlier: Earlier


class Copied(NamedTuple):
    """Where what a party sends is copied to."""

    side: Side
    to: Address


RECORDED = listed(
    row(
        *(one_of(Side), FLAG, FLAG, either(TEXT)),
        row(text(64), COUNT, into=lambda found: Earlier(*found)),
        into=lambda found: Recorded(*found),
    ),
    2,
)
COPIED = listed(row(one_of(Side), ADDRESS, into=lambda found: Copied(*found)), 2)


class RecordedPart:
    """What is recorded and copied of a session, but for the open files.

    With ``writing`` False it is only read: who passes open files on says nothing here. What is
    read is begun with :meth:`begin`, when files that a crash left are out of the way.
    """

    name = "recorded"
    _log = Logger()

    def __init__(self, recorders: FileRecorders, *, writing: bool) -> None:
        self._recorders = recorders
        self._writing = writing
        self._waiting: list[tuple[Session, list[Recorded], list[Copied]]] = []

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part."""
        parties = self._recorders.parties(session) if self._writing else []
        recorded, copied = [], []
        for leg, recording, paused in parties:
            files = recording.files
            if files is not None:
                earlier = Earlier(files.recording, files.part)
                recorded.append(Recorded(leg.side, files.single, paused, files.target, earlier))
            elif recording.target is not None:
                copied.append(Copied(leg.side, recording.target))
        assert RECORDED.pack is not None
        assert COPIED.pack is not None
        return [RECORDED.pack(recorded), COPIED.pack(copied)] if parties else None

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part."""
        if type(value) is not list or len(value) != 2:
            raise Damaged("not two lists of recordings and copies")
        recorded, copied = RECORDED.unpack(value[0], shift), COPIED.unpack(value[1], shift)
        self._waiting.append((session, recorded, copied))

    def begin(self, is_there: Callable[[Session], bool] = lambda session: True) -> None:
        """Go on with all that was read, of sessions that are there."""
        waiting, self._waiting = self._waiting, []
        for session, recorded, copied in waiting:
            if is_there(session):
                wanted: list[Recorded | Copied] = [*recorded, *copied]
                for each in wanted:
                    self._begin(_leg(session, each.side), each)

    def _begin(self, leg: Leg, found: Recorded | Copied) -> None:
        try:
            match found:
                case Copied(_, to):
                    self._recorders.copy(leg, to)
                case Recorded(_, single, paused, target, earlier):
                    self._recorders.record(leg, target, single, earlier=earlier)
                    if paused:
                        self._recorders.pause(leg)
        except RecordingRefused as refusal:
            self._log.error("a recording does not go on: {reason}", reason=str(refusal))


def _leg(session: Session, side: Side) -> Leg:
    return session.caller if side is Side.CALLER else session.callee
