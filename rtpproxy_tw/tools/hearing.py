"""What a soft phone hears of the other one, in figures.

While a relay still learns where a party behind a NAT is, it holds that party's packets back on
purpose. So loss is counted from the first packet that came through; what was sent before is
*held back*, and the time until then is how long learning took.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.rtp import peek
from rtpproxy_tw.tools.speech import FRAME, Speaker

IN_FLIGHT = 10
"""The last so many packets sent are not called lost yet while the call lasts."""


class Delay(NamedTuple):
    """One-way latency in milliseconds: half of the packets, 99 in 100, all were as fast."""

    median: float
    p99: float
    slowest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One direction of a call; times are milliseconds.

    ``sent`` is ``held_back`` + ``arrived`` + ``lost``, apart from what is still on its way.
    ``strangers`` came from another address than the phone was told, ``garbled`` is not what the
    other phone said, ``late`` came when the call was over.
    """

    sent: int = 0
    arrived: int = 0
    held_back: int = 0
    lost: int = 0
    duplicates: int = 0
    reordered: int = 0
    garbled: int = 0
    strangers: int = 0
    late: int = 0
    learned: float | None = None
    jitter: float = 0.0
    delay: Delay | None = None
    reports_sent: int = 0
    reports_arrived: int = 0

    @property
    def loss(self) -> float:
        """Lost packets as a share of those that should have arrived, 0 to 1."""
        due = self.arrived + self.lost
        return self.lost / due if due else 0.0


@dataclass(slots=True, eq=False)
class Hearing:
    """One phone's ear for ``speaker``; ``told`` is the relay's RTP address it was told.

    ``sent_at`` is when the speaker's packets left, by number, in monotonic seconds of the same
    clock as ``now``; the speaking phone appends to it.
    """

    speaker: Speaker
    told: Address
    sent_at: list[float]
    over: bool = False
    """The call has been deleted: nothing may come any more."""
    _first: int | None = None
    _learned: float = 0.0
    _highest: int = -1
    _came: set[int] = field(default_factory=set)
    _duplicates: int = 0
    _reordered: int = 0
    _garbled: int = 0
    _strangers: int = 0
    _late: int = 0
    _reports: int = 0
    _transit: float = 0.0
    _jitter: float = 0.0
    _delays: list[float] = field(default_factory=list)

    def heard(self, datagram: bytes, source: Address, now: float) -> None:
        """An RTP datagram came from ``source``."""
        if self.over:
            self._late += 1
        elif source != self.told:
            self._strangers += 1
        elif (number := self._number(datagram)) is None:
            self._garbled += 1
        elif number in self._came:
            self._duplicates += 1
        else:
            self._place(number, now)

    def heard_report(self, datagram: bytes, source: Address) -> None:
        """An RTCP datagram came from ``source``."""
        if self.over:
            self._late += 1
        elif source != (self.told[0], self.told[1] + 1):
            self._strangers += 1
        elif self.speaker.is_report(datagram):
            self._reports += 1
        else:
            self._garbled += 1

    def figures(self, *, reports_sent: int, final: bool) -> Figures:
        """The figures so far; ``final``: what has not come by now will not."""
        sent, arrived = len(self.sent_at), len(self._came)
        first = self._first
        held_back = lost = 0
        if first is not None:
            # A packet from before the first one can still come, and is then not held back.
            held_back = first - sum(1 for number in self._came if number < first)
            due = sent if final else max(self._highest + 1, sent - IN_FLIGHT)
            lost = due - held_back - arrived
        return Figures(
            sent=sent,
            arrived=arrived,
            held_back=held_back,
            lost=lost,
            duplicates=self._duplicates,
            reordered=self._reordered,
            garbled=self._garbled,
            strangers=self._strangers,
            late=self._late,
            learned=None if first is None else self._learned * 1000,
            jitter=self._jitter * 1000,
            delay=delay_of(self._delays),
            reports_sent=reports_sent,
            reports_arrived=self._reports,
        )

    def _number(self, datagram: bytes) -> int | None:
        """Which of the speaker's packets this is, None where it is none or was changed."""
        header = peek(datagram)
        if header is None:
            return None
        number = self.speaker.number(header.sequence)
        if number >= len(self.sent_at) or datagram != self.speaker.packet(number):
            return None
        return number

    def _place(self, number: int, now: float) -> None:
        """Take packet ``number`` into account, which has not come before."""
        if self._first is None:
            self._first = number
            self._learned = now - self.sent_at[0]
        self._came.add(number)
        if number < self._highest:
            self._reordered += 1
        self._highest = max(self._highest, number)
        self._delays.append(now - self.sent_at[number])
        self._vary(now - number * FRAME)

    def _vary(self, transit: float) -> None:
        """Interarrival jitter (RFC 3550 section 6.4.1), here in seconds."""
        if len(self._delays) > 1:
            self._jitter += (abs(transit - self._transit) - self._jitter) / 16
        self._transit = transit


def delay_of(seconds: list[float]) -> Delay | None:
    """The figures of these latencies, None where there are none."""
    if not seconds:
        return None
    ordered = sorted(seconds)

    def within(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000

    return Delay(within(0.5), within(0.99), ordered[-1] * 1000)
