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
        self._earlier: Callable[[], list[tuple[Session, float]]] = list

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
        return [each for each in reversed(self.kept()) if each[0].key.call_id == call_id]

    def kept(self) -> list[tuple[Session, float]]:
        """All that are remembered, the last one at the end."""
        self.catch_up()
        earlier, self._earlier = self._earlier(), list
        if earlier:
            self._ended = deque([*earlier, *self._ended], maxlen=KEPT)
        return list(self._ended)

    def go_on(self, earlier: Callable[[], list[tuple[Session, float]]]) -> None:
        """``earlier`` gives, when somebody asks, those another process has remembered."""
        self._earlier = earlier
