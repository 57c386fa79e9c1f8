"""What happens to each call, by chance; the seed is the run's, so a run can be repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum


class Fate(Enum):
    """How a call ends."""

    DELETED = "deleted by the proxy"
    HALF = "deleted before there was an answer"
    ABANDONED = "never answered, never deleted"
    FORGOTTEN = "answered, never deleted"
    TWICE = "deleted twice"


class Fault(Enum):
    """What goes wrong beside the calls."""

    GARBAGE = "a command of garbage"
    STRANGER = "an unknown call asked for, ended, recorded"
    HANG_UP = "a control connection that ends within a command"
    UNHEARD = "a control connection that ends before the reply"
    SPRAY = "datagrams of a stranger to ports of calls"
    STALL = "the process stopped for 0.2 s"
    DISK = "the directory of recordings away for 0.5 s"
    SHORTAGE = "files refused for 0.5 s, as at the limit of descriptors"


SHARES: dict[Fate, float] = {
    Fate.HALF: 0.02,
    Fate.ABANDONED: 0.01,
    Fate.FORGOTTEN: 0.01,
    Fate.TWICE: 0.02,
}
"""Of the calls; all others are deleted as calls usually are."""

MEDIA, MOVED, RECORDED, PROMPTED = 0.25, 0.1, 0.02, 0.04
"""Shares of the answered calls: with packets both ways, a re-INVITE, a recording, a prompt."""

WEIGHTS: dict[Fault, float] = {
    Fault.GARBAGE: 30,
    Fault.STRANGER: 30,
    Fault.HANG_UP: 15,
    Fault.UNHEARD: 15,
    Fault.SPRAY: 10,
    Fault.STALL: 0.5,
    Fault.DISK: 0.5,
    Fault.SHORTAGE: 0.5,
}
"""How often each comes compared with the others."""


@dataclass(frozen=True, slots=True)
class Script:
    """One call."""

    number: int
    fate: Fate
    media: bool
    moved: bool
    recorded: bool
    prompted: bool

    @property
    def answered(self) -> bool:
        """Whether there is an L."""
        return self.fate not in (Fate.HALF, Fate.ABANDONED)

    @property
    def deletions(self) -> int:
        """How many D."""
        return {Fate.ABANDONED: 0, Fate.FORGOTTEN: 0, Fate.TWICE: 2}.get(self.fate, 1)


class Chance:
    """Draws scripts and faults."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def script(self, number: int) -> Script:
        """Of the call with that number."""
        draw = self._random.random
        fate = self._random.choices(
            (*SHARES, Fate.DELETED), (*SHARES.values(), 1 - sum(SHARES.values()))
        )[0]
        media, moved, recorded, prompted = (
            draw() < share for share in (MEDIA, MOVED, RECORDED, PROMPTED)
        )
        return Script(number, fate, media, moved, recorded, prompted)

    def happens(self, probability: float) -> bool:
        """Whether something of that probability happens now."""
        return self._random.random() < probability

    def fault(self) -> Fault:
        """Which one."""
        return self._random.choices((*WEIGHTS,), (*WEIGHTS.values(),))[0]

    def garbage(self) -> bytes:
        """A line without its end."""
        line = self._random.randbytes(self._random.randrange(1, 200))
        return line.translate(None, b"\r\n\0") or b"?"
