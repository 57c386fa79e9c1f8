"""Sessions that ended lately: whoever asks why there was no audio mostly asks after the call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from zope.interface import implementer

from rtpproxy_tw.interfaces import ISessionObserver
from rtpproxy_tw.session import Ending, Session, take_apart

KEPT = 256
"""Sessions, of some kilobytes each."""


@implementer(ISessionObserver)
class Recent:
    """Remembers ended sessions and when they ended; ``now`` gives monotonic seconds.

    ``catch_up`` is called before anybody looks: who asks for a call that has just ended gets it.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.catch_up: Callable[[], object] = lambda: None
        self._ended: deque[tuple[Session, float]] = deque(maxlen=KEPT)

    def created(self, session: Session) -> None:
        """Nothing."""

    def completed(self, session: Session) -> None:
        """Nothing."""

    def ended(self, session: Session, why: Ending) -> None:
        """Remember it, and the oldest one no longer."""
        if len(self._ended) == KEPT:
            take_apart(self._ended[0][0])
        self._ended.append((session, self._now()))

    def of_call(self, call_id: str) -> list[tuple[Session, float]]:
        """The sessions of a call that are remembered, the last one first."""
        self.catch_up()
        return [each for each in reversed(self._ended) if each[0].key.call_id == call_id]
