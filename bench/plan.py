"""How much is measured: the sizes of a run, and the telling of how far it has come."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a run. Times are in seconds, rates in packets a second, both ways together."""

    repeats: int = 3
    """How often everything is measured; all contestants take turns within each repeat."""
    sessions: int = 1000
    """Relayed at the same time; at 50 packets a second each way, 1000 make 100 000."""
    payload: int = 160
    """Octets of each packet after the RTP header; 160 are 20 ms of PCMU."""
    rates: tuple[float, ...] = (25_000, 75_000, 100_000)
    window: float = 1.5
    """How long a rate is offered while it is measured."""
    trial: float = 1.0
    """The same, of each step in the search of the highest rate; 0: no search."""
    precision: float = 1.05
    """The highest rate passed and the lowest one failed differ by no more than this factor."""
    calls: int = 1000
    """Set up and deleted in each repeat of the set-up measurement."""
    grown: int = 1000
    """Sessions for which memory is measured."""


FULL = Plan()

QUICK = Plan(
    repeats=1,
    sessions=200,
    rates=(25_000,),
    window=0.8,
    trial=0.5,
    precision=1.12,
    calls=300,
    grown=300,
)


class Progress:
    """Tells on standard error what is being done, and since when."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def __call__(self, doing: str) -> None:
        """``doing`` begins now."""
        if not self._quiet:
            print(f"[{self.elapsed:5.1f} s] {doing}", file=sys.stderr, flush=True)
