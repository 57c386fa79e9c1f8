"""The quality of a leg interval by interval, kept small: an hour of a call takes five kilobytes."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

MOST_INTERVALS = 360
"""An hour of them, the last one."""

_ROW = Struct("!IHHHHH")
"""In tenths of a second twice, packets, packets, hundredths of a millisecond, thousandths."""

_MOST = 0xFFFF
"""What does not fit is as much as fits; of jitter it stands for unknown."""

MOST_OCTETS = MOST_INTERVALS * _ROW.size


class Interval(NamedTuple):
    """What a party sent in some ten seconds, as received here."""

    at: float
    """When it ended, seconds after the creation of the session."""
    seconds: float
    """How long it was: longer than usual where the party was silent in it."""
    packets: int
    """Those received."""
    lost: int
    """Those that were sent and did not come, as far as was known then."""
    jitter_ms: float | None
    """At its end; None where the clock is not known."""
    mos: float | None
    """None with too few packets, or for a codec without a rating."""


class History:
    """The last MOST_INTERVALS intervals, oldest first."""

    __slots__ = ("octets", "untold")

    def __init__(self, octets: bytes = b"") -> None:
        whole = len(octets) // _ROW.size * _ROW.size
        self.octets = bytearray(octets[:whole][-MOST_OCTETS:])
        """All of it, so that it can be kept elsewhere."""
        self.untold = 0
        """Octets at its end that :meth:`tell` has not given."""

    def add(self, interval: Interval) -> None:
        """Append one; the oldest makes room."""
        at, seconds, packets, lost, jitter, mos = interval
        if len(self.octets) >= MOST_OCTETS:
            del self.octets[: _ROW.size]
        self.octets += _ROW.pack(
            min(0xFFFFFFFF, round(10 * at)),
            _fitting(10 * seconds),
            _fitting(packets),
            _fitting(lost),
            _MOST if jitter is None else min(_MOST - 1, _fitting(100 * jitter)),
            0 if mos is None else _fitting(1000 * mos),
        )
        self.untold = min(self.untold + _ROW.size, MOST_OCTETS)

    def tell(self) -> bytes:
        """All of it; :meth:`since_told` gives what is added from now on."""
        self.untold = 0
        return bytes(self.octets)

    def since_told(self) -> bytes:
        """What was added since :meth:`tell`, as far as it is kept; it may be asked for again."""
        return bytes(self.octets[len(self.octets) - self.untold :])

    def extend(self, octets: bytes) -> None:
        """Append what another one has; the oldest make room. What is no whole interval is not."""
        whole = octets[: len(octets) // _ROW.size * _ROW.size]
        self.octets += whole
        del self.octets[: max(0, len(self.octets) - MOST_OCTETS)]
        self.untold = min(self.untold + len(whole), MOST_OCTETS)

    def __len__(self) -> int:
        return len(self.octets) // _ROW.size

    def __iter__(self) -> Iterator[Interval]:
        for at, seconds, packets, lost, jitter, mos in _ROW.iter_unpack(self.octets):
            yield Interval(
                at / 10,
                seconds / 10,
                packets,
                lost,
                None if jitter == _MOST else jitter / 100,
                mos / 1000 if mos else None,
            )


def _fitting(value: float) -> int:
    return min(_MOST, max(0, round(value)))
