"""What a crash must not take along, written down and given into safe keeping all the time.

A record of each session is in memory that the safe holds, and so are its sockets. It is written
soon after whatever a command does, within a second of what is learned from packets, and from time
to time for the counters' sake; the time between is told, so that none of it counts as silence.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.continuity.belongings import Luggage, Part, Whole
from rtpproxy_tw.continuity.blocks import Blocks
from rtpproxy_tw.continuity.giving import boot
from rtpproxy_tw.continuity.safe import Safe
from rtpproxy_tw.interfaces import ISessionObserver
from rtpproxy_tw.session import Ending, Leg, Session, Side
from rtpproxy_tw.snapshot import records

VERSION = 1
"""Of what is written around the records of sessions."""

TICK = 0.05
"""Seconds between two looks at a share of the sessions."""

SHARES = 20
"""So many looks until all have been looked at."""

REFRESHED = 2
"""Sessions written anew with each look though nothing but counters may have changed."""

AT_ONCE = 4
"""Sessions written before packets have their turn; each costs some tenths of a millisecond."""

KEEP_REPLIES = 35.0
"""Seconds; see ``control.replies.KEEP``."""


@dataclass(slots=True, eq=False)
class _Entry:
    number: int
    mark: tuple[Any, ...] | None = None
    """What it was like when it was written; None: to be written in any case."""
    kept: dict[Side, tuple[tuple[str, int], str]] = field(default_factory=dict)
    """Where the leg's sockets are bound, and the name under which they are kept."""


@implementer(ISessionObserver)
class Testament:
    """Written by the process for the one after it. An observer of sessions.

    ``sockets`` gives the descriptors of a leg; ``parts`` and ``wholes`` must not need any.
    ``replies`` gives what was answered since it was last asked, None for nothing; ``later`` calls
    something in the reactor's next turn.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        safe: Safe,
        sessions: Callable[[], Iterable[Session]],
        sockets: Callable[[Leg], Sequence[int] | None],
        refresh: Callable[[Session], None],
        replies: Callable[[], Any],
        now: Callable[[], float],
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        self.safe = safe
        self.parts: Sequence[Part] = ()
        self.wholes: Sequence[Whole] = ()
        self.deposits: Callable[[], Mapping[str, int]] = dict
        """The descriptors that belong to no session, by what they are for."""
        self._sessions = sessions
        self._sockets = sockets
        self._refresh = refresh
        self._replies = replies
        self._now = now
        self._later = later
        self._numbers = count(1)
        self._entries: dict[Session, _Entry] = {}
        self._dirty: dict[Session, None] = {}
        self._called = False
        self._round: list[Session] = []
        self._looks = 0
        self._share = 0
        self._said: dict[str, tuple[int, bytes]] = {}
        self._replied: deque[tuple[float, int]] = deque()
        self._deposits: dict[str, tuple[int, int, str]] = {}
        self._stale: deque[Session] = deque()
        self._memory = -1
        self._kept: str | None = None
        self._filled = False
        self._complained = False

    # The life of the process.

    def start(self) -> None:
        """Begin to write. What was kept for processes before us stays until all is written."""
        self._memory = os.memfd_create("testament", os.MFD_CLOEXEC)
        self._blocks = Blocks(self._memory)
        head = {"kind": "memory", "v": VERSION, "boot": boot(), "began": self._now()}
        self._put(0, head)
        self._kept = self.safe.keep([self._memory])
        for session in self._sessions():
            self.changed(session)
        self._soon()

    def stop(self) -> None:
        """The process ends in order: nothing is left to anybody. Idempotent."""
        if self._memory < 0:
            return
        for entry in self._entries.values():
            self._forget(entry)
        for _, _, name in self._deposits.values():
            self.safe.forget(name)
        if self._kept is not None:
            self.safe.forget(self._kept)
        self.safe.forget_strangers()
        os.close(self._memory)
        self._memory = -1

    # What happens to sessions.

    def created(self, session: Session) -> None:
        """See ISessionObserver."""
        self.changed(session)

    def completed(self, session: Session) -> None:
        """See ISessionObserver."""
        self.changed(session)

    def ended(self, session: Session, why: Ending) -> None:
        """See ISessionObserver."""
        self._dirty.pop(session, None)
        entry = self._entries.pop(session, None)
        if entry is None:
            return
        self._forget(entry)
        if self._memory < 0:
            return
        if self._filled:
            self._blocks.drop(entry.number)
        else:
            # It may stand in the memory of the process before us, which is still to be read.
            self._put(entry.number, {"kind": "ended", "key": list(session.key)})

    def abandoned(self, session: Session) -> None:
        """It was to be taken over, and could not be."""
        self.ended(session, Ending.SHUTDOWN)

    def changed(self, session: Session) -> None:
        """A command has, or may have, changed it."""
        if self._memory >= 0:
            self._dirty[session] = None
            self._soon()

    def claim(self, leg: Leg, name: str) -> None:
        """The sockets of ``leg`` are kept under ``name`` since a process before us."""
        if leg.local is not None:
            self.safe.claim(name, 2)
            self._entry(leg.session).kept[leg.side] = ((leg.local.host, leg.port), name)

    def names(self, session: Session) -> Mapping[Side, str]:
        """The names under which its legs' sockets are kept."""
        entry = self._entries.get(session)
        return {} if entry is None else {side: name for side, (_, name) in entry.kept.items()}

    # What belongs to no session.

    def _deposit(self, wanted: Mapping[str, int]) -> None:
        """Have just these descriptors kept; whoever comes after us finds them by purpose."""
        for purpose, (descriptor, number, name) in list(self._deposits.items()):
            if wanted.get(purpose) != descriptor:
                del self._deposits[purpose]
                self._blocks.drop(number)
                self.safe.forget(name)
        for purpose, descriptor in wanted.items():
            kept = None if purpose in self._deposits else self.safe.keep([descriptor])
            if kept is not None:
                number = next(self._numbers)
                self._deposits[purpose] = descriptor, number, kept
                self._put(number, {"kind": "deposit", "purpose": purpose, "name": kept})

    # Writing.

    def tick(self) -> None:
        """To be called every TICK seconds."""
        if self._memory < 0:
            return
        try:
            self.safe.flush()
            if self._kept is None:
                self._kept = self.safe.keep([self._memory])
            self._write_replies()
            self._look()
        except Exception:
            self._fault()

    def _soon(self) -> None:
        if not self._called:
            self._called = True
            self._later(self._write_some)

    def _write_some(self) -> None:
        self._called = False
        if self._memory < 0:
            return
        try:
            self._write_replies()
            for session in [session for session, _ in zip(self._dirty, range(AT_ONCE))]:  # noqa: B905
                del self._dirty[session]
                self._write(session)
        except Exception:
            self._fault()
        if self._dirty:
            self._soon()
        elif not self._filled and self._kept is not None:
            self._filled = True
            self.write_wholes()
            self.safe.forget_strangers()

    def _look(self) -> None:
        if not self._round:
            self._round = list(self._sessions())
            self._share = -(-len(self._round) // SHARES)
            self._looks += 1
            self.write_wholes()
        for session in self._round[: self._share]:
            entry = self._entries.get(session)
            if session.ended is None and (entry is None or entry.mark != _mark(session)):
                self.changed(session)
        del self._round[: self._share]
        for _ in range(REFRESHED):
            if not self._stale:
                self._stale.extend(self._entries)
            if self._stale and self._stale[0] in self._entries:
                self._write(self._stale[0])
            if self._stale:
                self._stale.popleft()

    def write_wholes(self) -> None:
        """Write what belongs to no session, as far as it has changed."""
        self._deposit(self.deposits())
        for whole in self.wholes:
            value = whole.pack(Luggage())
            line = records.to_line({"kind": "whole", "name": whole.name, "value": value})
            number, before = self._said.get(whole.name, (0, b""))
            if line != before:
                number = number or next(self._numbers)
                self._said[whole.name] = number, line
                self._put_line(number, line)

    def _write_replies(self) -> None:
        now = self._now()
        while self._replied and now - self._replied[0][0] > KEEP_REPLIES:
            self._blocks.drop(self._replied.popleft()[1])
        value = self._replies()
        if value:
            number = next(self._numbers)
            self._replied.append((now, number))
            self._put(number, {"kind": "whole", "name": "replies", "value": value})

    def _write(self, session: Session) -> None:
        entry = self._entry(session)
        entry.mark = _mark(session)
        self._refresh(session)
        luggage = Luggage()
        said = {part.name: part.pack(session, luggage) for part in self.parts}
        record = records.pack(session, {n: each for n, each in said.items() if each is not None})
        self._put(entry.number, {"kind": "session", "at": self._now(), "record": record})
        for leg in session.legs:
            self._keep(leg, entry)

    def _keep(self, leg: Leg, entry: _Entry) -> None:
        place = (leg.local.host, leg.port) if leg.local is not None and leg.port else ("", 0)
        before, name = entry.kept.get(leg.side, (("", 0), ""))
        if before == place:
            return
        if name:
            del entry.kept[leg.side]
            self.safe.forget(name)
        descriptors = self._sockets(leg) if leg.port else None
        if descriptors is None:
            return
        kept = self.safe.keep(descriptors)
        if kept is None:
            entry.mark = None  # once more with the next look
        else:
            entry.kept[leg.side] = place, kept

    def _entry(self, session: Session) -> _Entry:
        entry = self._entries.get(session)
        if entry is None:
            entry = self._entries[session] = _Entry(next(self._numbers))
        return entry

    def _forget(self, entry: _Entry) -> None:
        for _, name in entry.kept.values():
            self.safe.forget(name)

    def _put(self, number: int, value: dict[str, Any]) -> None:
        self._put_line(number, records.to_line(value))

    def _put_line(self, number: int, line: bytes) -> None:
        try:
            self._blocks.put(number, line)
        except (OSError, ValueError) as error:
            if not self._complained:
                self._log.warn("a crash would lose something: {error}", error=error)
            self._complained = True

    def _fault(self) -> None:
        # A fault of the relay itself, which must not cost it its calls.
        if not self._complained:
            self._log.failure("what a crash must not lose could not be written")
        self._complained = True


def _mark(session: Session) -> tuple[Any, ...]:
    """Differs when something other than counters has changed."""
    timeline, caller, callee = session.timeline, session.caller, session.callee
    one, two, three, four = (
        caller.rtp.latch,
        caller.rtcp.latch,
        callee.rtp.latch,
        callee.rtcp.latch,
    )
    return (
        len(timeline) + timeline.dropped,
        session.touched,
        session.complete,
        *(caller.port, callee.port, caller.ttl, callee.ttl, caller.held, callee.held),
        *(one.source, two.source, three.source, four.source),
        *(one.remote, two.remote, three.remote, four.remote),
    )
