"""The second opinion: what the parties' own RTCP says of the media that passed through here.

A report is believed only where it fits what is known already: it comes from the SSRC whose media
is heard, speaks of the SSRC that was passed on, and its figures are possible.

The relay sees both halves of a round trip. A sender report of one party passes at some time, the
other party's report block names it and says how long it waited: what is left of the time between
is the round trip between the relay and that other party (RFC 3550 section 6.4.1).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from rtpproxy_tw.quality.analyzer import Analyzer
from rtpproxy_tw.rtcp import (
    ExtendedReport,
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    VoipMetrics,
    looks_like_rtcp,
    parse,
)

LONGEST_TRIP = 10.0
"""Seconds; a longer round trip is a clock that was set, or a lie."""

LONGEST_JITTER = 10.0
"""Seconds, likewise."""

REPORTS_KEPT = 8
"""Sender reports that a block may still refer to."""

SLACK = 2000
"""How many more packets than were passed on a receiver may miss: its count began earlier."""


def _is_possible(voip: VoipMetrics) -> bool:
    """Whether figures of which most combinations mean nothing can be those of a receiver."""
    return (
        voip.gmin > 0
        and voip.loss_ratio + voip.discard_ratio <= 1
        and voip.round_trip_ms <= 1000 * LONGEST_TRIP
        # Without bursts both densities are 0; else a burst is what has more loss than a gap.
        and (not voip.burst_density or voip.burst_density >= voip.gap_density)
    )


@dataclass(slots=True, eq=False)
class Opinion:
    """What one party's RTCP says."""

    believed: int = 0
    """Datagrams taken into account."""
    doubted: int = 0
    """RTCP by its first octets, but encrypted, damaged, or of figures that cannot be."""
    round_trip: float | None = None
    """Seconds between us and the party, by its last report that tells."""
    lost: int | None = None
    """Packets that the party misses of what the other one sent, wherever they were lost."""
    jitter: int = 0
    """Of what arrives at the party, in timestamp ticks."""
    voip: VoipMetrics | None = None
    """What it last said of what it hears of the other party (RFC 3611 section 4.7)."""
    said_goodbye: float | None = None
    """When it sent a BYE."""
    _reports: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=REPORTS_KEPT))

    def passed(self, middle: int) -> float | None:
        """When this party's sender report with that middle NTP time came by."""
        return next((when for known, when in reversed(self._reports) if known == middle), None)

    def heard(
        self,
        datagram: bytes,
        when: float,
        sent: Analyzer | None,
        passed_on: Analyzer | None,
        other: Opinion | None,
        clock_rate: int | None,
    ) -> None:
        """``datagram`` of the party came at ``when``.

        ``sent`` is its own media, ``passed_on`` the other party's, of ``clock_rate`` Hz, and
        ``other`` what that one's RTCP says.
        """
        packets = parse(datagram)
        if not packets:
            self.doubted += looks_like_rtcp(datagram)
            return
        blocks: tuple[ReportBlock, ...] = ()
        voip: VoipMetrics | None = None
        for packet in packets:
            match packet:
                case SenderReport() | ReceiverReport():
                    if sent is not None and sent.ssrc is not None and packet.ssrc != sent.ssrc:
                        self.doubted += 1
                        return
                    if isinstance(packet, SenderReport) and packet.middle:
                        self._reports.append((packet.middle, when))
                    blocks += packet.blocks
                case ExtendedReport() if packet.voip is not None:
                    if sent is not None and sent.ssrc is not None and packet.ssrc != sent.ssrc:
                        self.doubted += 1
                        return
                    voip = packet.voip
                case Goodbye():
                    self.said_goodbye = when
                case _:
                    pass
        if passed_on is not None and not self._blocks(blocks, when, passed_on, other, clock_rate):
            self.doubted += 1
            return
        if voip is not None and passed_on is not None and voip.ssrc == passed_on.ssrc:
            if not _is_possible(voip):
                self.doubted += 1
                return
            self.voip = voip
        self.believed += 1

    def _blocks(
        self,
        blocks: tuple[ReportBlock, ...],
        when: float,
        passed_on: Analyzer,
        other: Opinion | None,
        clock_rate: int | None,
    ) -> bool:
        """Take in the block about ``passed_on``; False where it cannot be true."""
        for block in blocks:
            if block.ssrc != passed_on.ssrc:
                continue
            if block.lost > passed_on.sent + SLACK:
                return False
            if block.jitter > LONGEST_JITTER * (clock_rate or 90_000):
                return False
            self.lost = max(0, block.lost)
            self.jitter = block.jitter
            passed = other.passed(block.lsr) if other is not None and block.lsr else None
            if passed is not None:
                trip = when - passed - block.dlsr / 65536
                # Two clocks of different pace may make a short trip negative.
                if -0.001 <= trip <= LONGEST_TRIP:
                    self.round_trip = max(0.0, trip)
        return True
