"""Sessions that ended lately, in another process: who asks why there was no audio is answered."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.logger import Logger

from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.quality_succession import histories, set_histories
from rtpproxy_tw.session import Ending, Session
from rtpproxy_tw.snapshot import records
from rtpproxy_tw.snapshot.kinds import TIME, Damaged, listed, one_of, text
from rtpproxy_tw.web.recent import KEPT, Recent

BATCH = 8
"""Sessions written down in a turn of the reactor; each costs some tenths of a millisecond."""

LINES = listed(text(records.LONGEST), KEPT)
ENDING = one_of(Ending)


class RecentWhole:
    """Written down before anything stands still, and read when somebody asks for a call."""

    _log = Logger()
    name = "recent"

    def __init__(self, recent: Recent, later: Callable[[Callable[[], None]], object]) -> None:
        """``later`` calls something in the reactor's next turn."""
        self._recent = recent
        self._later = later
        self._lines: dict[Session, str] = {}

    def prepare(self) -> None:
        """Write down, by and by, what there is; what ends after that is left for the end."""
        kept = self._recent.kept()
        # Only those that are remembered still, from an earlier attempt.
        self._lines = {each: self._lines[each] for each, _ in kept if each in self._lines}
        self._write([each for each in kept if each[0] not in self._lines])

    def _write(self, left: list[tuple[Session, float]]) -> None:
        for session, at in left[:BATCH]:
            self._lines[session] = _line(session, at)
        if len(left) > BATCH:
            self._later(partial(self._write, left[BATCH:]))

    def pack(self, luggage: Luggage) -> Any:
        """See Whole; None where there is nothing."""
        lines = self._lines
        return [lines.get(each) or _line(each, at) for each, at in self._recent.kept()] or None

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole. What is damaged in it is found out when somebody asks."""
        lines = LINES.unpack(value, shift)
        self._recent.go_on(lambda: list(self._read(lines, shift)))

    def _read(self, lines: list[str], shift: float) -> list[tuple[Session, float]]:
        found = []
        for line in lines:
            try:
                found.append(_session(line, shift))
            except Damaged as damage:
                self._log.error("a session that has ended is forgotten: {why}", why=damage)
        return found


def _line(session: Session, at: float) -> str:
    why = None if session.ended is None else session.ended.value
    record = {"at": at, "ended": why, "record": records.pack(session, {})}
    return records.to_line(record | {"history": histories(session)}).decode()


def _session(line: str, shift: float) -> tuple[Session, float]:
    value = records.from_line(line.encode())
    if type(value) is not dict:
        raise Damaged("no object")
    session, _ = records.unpack(value.get("record"), shift)
    session.ended = ENDING.unpack(value.get("ended"), shift)
    history = value.get("history")
    if history is not None:
        set_histories(session, history)
    return session, TIME.unpack(value.get("at"), shift)
