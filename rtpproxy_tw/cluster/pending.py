"""What is still to be written: the last state of each session only, so there is a bound to it."""

from __future__ import annotations

from collections.abc import Callable

from rtpproxy_tw.cluster.store import Batch
from rtpproxy_tw.session import Session

MOST_GONE = 10_000
"""Ended sessions that are remembered while the store is away; then it is gone through anew."""

PER_BATCH = 200
"""Sessions; to write them down takes some milliseconds, in which nothing else is done."""


def name_of(session: Session) -> str:
    """The name of a session in the store."""
    return "\n".join(session.key)


class Pending:
    """Of one address. ``record`` makes a session's line, ``now`` gives seconds."""

    def __init__(
        self, record: Callable[[Session], bytes], now: Callable[[], float] = float
    ) -> None:
        self._record = record
        self._now = now
        self.since = 0.0
        """When it was last empty, while it is not."""
        self._changed: dict[str, Session] = {}
        self._gone: dict[str, None] = {}
        self.incomplete = False
        """More ended than could be remembered: what the store has must be compared with ours."""

    def __len__(self) -> int:
        return len(self._changed) + len(self._gone)

    def changed(self, session: Session) -> None:
        """It is not as it was written down. Idempotent."""
        name = name_of(session)
        self._begin()
        self._gone.pop(name, None)
        self._changed[name] = session

    def gone(self, session: Session) -> None:
        """It has ended."""
        name = name_of(session)
        self._changed.pop(name, None)
        self.forget(name)

    def forget(self, name: str) -> None:
        """There is no session of that name."""
        self._begin()
        if len(self._gone) >= MOST_GONE:
            self.incomplete = True
        else:
            self._gone[name] = None

    def _begin(self) -> None:
        if not self._changed and not self._gone:
            self.since = self._now()

    def clear(self) -> None:
        """It is somebody else's business now."""
        self._changed.clear()
        self._gone.clear()
        self.incomplete = False

    def take(self, most: int = PER_BATCH) -> tuple[Batch, list[Session]]:
        """What is to be written next, and the sessions in it."""
        gone = list(self._gone)[: 10 * most]
        for name in gone:
            del self._gone[name]
        names = list(self._changed)[:most]
        sessions = [self._changed.pop(name) for name in names]
        lines = {
            name: self._record(session)
            for name, session in zip(names, sessions, strict=True)
            if session.ended is None
        }
        calls = {session.key.call_id for session in sessions if session.ended is None}
        return Batch(lines, gone, calls), sessions

    def put_back(self, batch: Batch, sessions: list[Session]) -> None:
        """It was not written; whatever changed meanwhile stays newer."""
        since = self.since
        for name in batch.gone:
            if name not in self._changed:
                self.forget(name)
        for session in sessions:
            if session.ended is None:
                self._changed.setdefault(name_of(session), session)
        self.since = since
