"""The lines on their way to one listener: waiting, or written and not yet known to have arrived.

A stream socket never says what the other end has read, and the listeners confirm nothing. So a
written line is kept for a while and written again when the connection ends badly in between:
every line arrives at least once, in order, and now and then twice. A repeated notice does no
harm: the call it names is over, and the SIP proxy ignores it.

After a connection that ended badly one line goes first and alone. Should the listener choke on
just that one, the others do not share its fate.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

REFUSALS = 10
"""Connections that may break under one and the same line until it is given up. With the usual
back-off that is a few minutes; without a limit one bad line would hold up all others."""


@dataclass(slots=True)
class NoticeCounts:
    """What became of the notices, of all listeners together.

    A repeated line is counted once as accepted, once per repetition, and once as delivered or
    dropped.
    """

    accepted: int = 0
    delivered: int = 0
    repeated: int = 0
    dropped: int = 0


@dataclass(slots=True)
class Backlog:
    """At most ``limit`` lines wait, and as many may be unsure; the oldest give way."""

    limit: int
    counts: NoticeCounts
    waiting: deque[bytes] = field(default_factory=deque)
    unsure: deque[tuple[float, bytes]] = field(default_factory=deque)
    """When written, and what."""
    cautious: bool = False
    refusals: int = 0

    @property
    def empty(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.waiting or self.unsure)

    @property
    def lines(self) -> list[bytes]:
        """All that is left to do, oldest first."""
        return [*(line for _, line in self.unsure), *self.waiting]

    def add(self, line: bytes) -> bool:
        """Queue ``line``; False when an older one was dropped for it."""
        self.counts.accepted += 1
        self.waiting.append(line)
        return not self._trim()

    def take(self, now: float) -> bytes | None:
        """The line to write at ``now``; None: there is none, or none may be written yet."""
        window = 1 if self.cautious else self.limit
        if not self.waiting or len(self.unsure) >= window:
            return None
        line = self.waiting.popleft()
        self.unsure.append((now, line))
        return line

    def settle(self, until: float, keep: int = 0) -> bool:
        """What was written by ``until`` has arrived, the ``keep`` last lines apart.

        False when there was no such line.
        """
        before = len(self.unsure)
        while len(self.unsure) > keep and self.unsure[0][0] <= until:
            self.unsure.popleft()
        arrived = before - len(self.unsure)
        self.counts.delivered += arrived
        if arrived:
            self.cautious = False
            self.refusals = 0
        return arrived > 0

    def take_back(self) -> bytes | None:
        """The connection broke: what is unsure waits again, before everything else.

        Returns the line that was given up, if that was the last time it was tried.
        """
        if not self.unsure:
            return None
        self.refusals = self.refusals + 1 if self.cautious else 0
        self.cautious = True
        self.counts.repeated += len(self.unsure)
        self.waiting.extendleft(line for _, line in reversed(self.unsure))
        self.unsure.clear()
        if self.refusals >= REFUSALS:
            self.refusals = 0
            self.counts.repeated -= 1
            self.counts.dropped += 1
            return self.waiting.popleft()
        self._trim()
        return None

    def abandon(self) -> int:
        """No more connections: what still waits is dropped, and counted as such."""
        left = len(self.waiting)
        self.counts.dropped += left
        self.waiting.clear()
        self.settle(float("inf"))
        return left

    def _trim(self) -> bool:
        """Drop what exceeds the limit; whether anything did."""
        excess = len(self.waiting) - self.limit
        for _ in range(excess):
            self.waiting.popleft()
        self.counts.dropped += max(excess, 0)
        return excess > 0
