"""What is to be told of an ended session, told when there is time.

To end a session takes little; what follows from it (a verdict, records, counts, whoever watches)
takes twice as long, and the SIP proxy, whose worker waits for the reply, has no use for it. So the
observers given to this one hear of ends a moment later: as soon as no more sessions end, and at the
latest after LATEST seconds, a few at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.interfaces import ISessionObserver
from rtpproxy_tw.session import Ending, Session

PAUSE = 0.001
"""Seconds without another end after which there is time."""

LATEST = 0.2
"""Seconds; then it is told however many more sessions end."""

FEW = 8
"""Ends told of in one go: less than a millisecond."""


@implementer(ISessionObserver)
class Aftermath:
    """Passes everything on to ``observers``, in their order, and ends later.

    Beginnings are passed on at once: they are about to be looked at. ``clock`` schedules.
    """

    _log = Logger()

    def __init__(self, observers: Sequence[ISessionObserver], clock: Any) -> None:
        self._observers = tuple(observers)
        self._clock = clock
        self._untold: deque[tuple[Session, Ending, float]] = deque()
        self._turn: IDelayedCall | None = None
        self._latest = 0.0
        """When the last session ended."""

    def __len__(self) -> int:
        """How many ends are still to be told of."""
        return len(self._untold)

    def stop(self) -> None:
        """Tell all, as nothing more will be told later."""
        self.catch_up()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def catch_up(self) -> None:
        """Tell all that has not been told yet."""
        while self._untold:
            self._tell()

    # ISessionObserver.

    def created(self, session: Session) -> None:
        """See ISessionObserver."""
        for observer in self._observers:
            observer.created(session)

    def completed(self, session: Session) -> None:
        """See ISessionObserver."""
        for observer in self._observers:
            observer.completed(session)

    def ended(self, session: Session, why: Ending) -> None:
        """See ISessionObserver."""
        self._latest = self._clock.seconds()
        self._untold.append((session, why, self._latest))
        if self._turn is None:
            self._turn = self._clock.callLater(PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._turn = None
        if not self._untold:
            return
        now = self._clock.seconds()
        # One timer that comes too early is cheaper than one that is moved by every end.
        if now - self._latest >= PAUSE or now - self._untold[0][2] >= LATEST:
            for _ in range(min(FEW, len(self._untold))):
                self._tell()
        if self._untold:
            self._turn = self._clock.callLater(PAUSE, self._go_on)

    def _tell(self) -> None:
        session, why, _ = self._untold.popleft()
        for observer in self._observers:
            try:
                observer.ended(session, why)
            except Exception:
                # Nobody is there any more to be told.
                self._log.failure("the end of a session could not be told of")
