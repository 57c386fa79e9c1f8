"""What of a command is done when its reply has been sent.

The SIP proxy's worker waits for the reply, and of what a command does, much can make no difference
to that: counters, notes, who is told. It is done as soon as the reply is on its way, while the
client reads it, and before anything else happens: no other command, no packet and no timer comes in
between.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from twisted.logger import Logger


class Later:
    """Within its ``with`` block, work is put off until the end of the block; elsewhere it is not.

    What is put off is done in order. What it raises is logged, as there is nobody left to tell.
    """

    _log = Logger()

    __slots__ = ("_left", "_open")

    def __init__(self) -> None:
        self._open = False
        self._left: list[Callable[[], None]] = []

    def do(self, work: Callable[[], None]) -> None:
        """Do ``work``, now or at the end of the block; now it may raise whatever it does."""
        if self._open:
            self._left.append(work)
        else:
            work()

    def catch_up(self) -> None:
        """Do what was put off so far."""
        left, self._left = self._left, []
        for work in left:
            try:
                work()
            except Exception:
                self._log.failure("a fault of the relay itself, after a command was answered")

    def __enter__(self) -> Later:
        # One command within another (a transport that answers at once) finds the first one done.
        self.catch_up()
        self._open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        if self._left:
            self.catch_up()
