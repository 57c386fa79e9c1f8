"""Call records: what is left of a session when it has ended, one JSON object each.

A record is made when its session ends, by whatever cause, the relay's own end included, and is
handed to every sink: a file of lines, a web hook. Sinks never make the reactor wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.interfaces import ISessionObserver
from rtpproxy_tw.session import Ending, Session
from rtpproxy_tw.views.sessions import whole
from rtpproxy_tw.views.text import identifier, shown, to_json

FORMAT = 1
"""Of the records; only a change that takes something away makes it another."""


class Sink(Protocol):
    """Takes finished records."""

    def put(self, name: str, record: bytes) -> None:
        """Keep ``record``, one line without its end, known by ``name``. Must not block or raise."""


def record_of(session: Session, now: float, epoch: float, name: str, node: str) -> dict[str, Any]:
    """All that is to be kept of a session that ended at ``now``; times are since the epoch."""
    return {
        "format": FORMAT,
        "record": name,
        "node": node,
        "id": identifier(session.key.call_id),
        "call_id": shown(session.key.call_id),
        "finished": round(epoch + now, 3),
        **whole(session, now, epoch),
    }


@implementer(ISessionObserver)
class CallRecords:
    """Makes records. ``now`` and ``wall`` give monotonic seconds and those since the epoch.

    ``run`` is different for each run of the relay, so that names of records are unique.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        sinks: Sequence[Sink],
        now: Callable[[], float],
        node: str,
        run: str,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._sinks = tuple(sinks)
        self._now = now
        self._wall = wall
        self._node = node
        self._run = run
        self._count = 0

    def created(self, session: Session) -> None:
        """Nothing."""

    def completed(self, session: Session) -> None:
        """Nothing."""

    def ended(self, session: Session, why: Ending) -> None:
        """Record it, unless it goes on elsewhere."""
        if why is Ending.MOVED:
            return
        self._count += 1
        now, wall = self._now(), self._wall()
        # Names sort by time, and no two relays that share a receiver make the same one.
        name = f"{int(wall * 1000):015}-{self._run}-{self._count:06}"
        try:
            record = to_json(record_of(session, now, wall - now, name, self._node))
        except Exception:
            self._log.failure("no record could be made of a session")
            return
        for sink in self._sinks:
            sink.put(name, record)
