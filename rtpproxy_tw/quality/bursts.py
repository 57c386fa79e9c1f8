"""How losses are spread: bursts and gaps (RFC 3611 section 4.7.2), and the burst ratio of G.107.

A *burst* begins and ends with a lost packet and has at least two; between two of its losses fewer
than GMIN packets arrive. All the rest is *gap*, single losses included.

Nothing is done per packet: the analyzer's bitmap is read about once a second.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtpproxy_tw.quality.analyzer import WINDOW_SIZE, Analyzer

GMIN = 16
"""Packets that must arrive in a row to end a burst (RFC 3611 section 4.7.2)."""

GRACE = 25
"""The newest packets are not judged yet, as a late one may still come: 0.5 s of speech."""

SHORT_GRACE = 5
"""The same where the bitmap is short: a second of speech and this fit into 64 bits."""


@dataclass(slots=True, eq=False)
class Bursts:
    """What became of a stream's packets, judged in the order of their numbers."""

    packets: int = 0
    """How many were judged, arrived or lost."""
    lost: int = 0
    unjudged: int = 0
    """Passed too fast for the bitmap, or another path than ours carried them."""
    runs: int = 0
    """Series of losses without an arrival between."""
    _since: int = -1
    """Arrivals since the last loss; -1 before any."""
    _span: int = 0
    """From the first to the last loss of what is, or may become, a burst; and its losses."""
    _span_lost: int = 0
    _closed: int = 0
    """Finished bursts, their packets, their losses."""
    _closed_packets: int = 0
    _closed_lost: int = 0
    _gaps: int = 0
    """Stretches outside finished bursts, up to the last of these."""
    _gap_packets: int = 0
    """Packets since the last finished burst."""
    _run: int = 0
    """Which run of the analyzer is read, and from which number on."""
    _next: int = 0

    def read(self, analyzer: Analyzer, grace: int = GRACE) -> None:
        """Judge what ``analyzer`` has heard since the last time, but for the newest ``grace``."""
        highest = analyzer.highest
        if analyzer.runs != self._run:
            self._run = analyzer.runs
            self._next = analyzer.lowest
        end = highest + 1 - grace
        count = end - self._next
        if count <= 0:
            return
        oldest = max(highest + 1 - WINDOW_SIZE, analyzer.known_from)
        if self._next < oldest:
            passed = min(end, oldest) - self._next
            self.unjudged += passed
            count -= passed
        self._next = end
        if count > 0:
            self.judge(analyzer.seen >> (highest + 1 - end) & (1 << count) - 1, count)

    def judge(self, arrived: int, count: int) -> None:
        """``count`` packets, the oldest one the highest bit of ``arrived``: set where it came."""
        self.packets += count
        if arrived + 1 == 1 << count:
            self._arrivals(count)
            return
        left = count
        missing = ~arrived & (1 << count) - 1
        while missing:
            place = missing.bit_length() - 1
            if left - 1 - place:
                self._arrivals(left - 1 - place)
            self._loss()
            left = place
            missing ^= 1 << place
        if left:
            self._arrivals(left)

    def _arrivals(self, count: int) -> None:
        self._gap_packets += count
        if self._since >= 0:
            self._since += count

    def _loss(self) -> None:
        self.lost += 1
        self._gap_packets += 1
        if self._since != 0:
            self.runs += 1
        if 0 <= self._since < GMIN:
            self._span += self._since + 1
            self._span_lost += 1
        else:
            self._close()
            self._span = self._span_lost = 1
        self._since = 0

    def _close(self) -> None:
        """What may have become a burst is over: was it one?"""
        if self._span_lost < 2:
            return
        self._closed += 1
        self._closed_packets += self._span
        self._closed_lost += self._span_lost
        # Counted until now: a gap, the burst, what came after it, and the loss just noted.
        after = self._since + 1
        self._gaps += self._gap_packets > self._span + after
        self._gap_packets = after

    @property
    def _open(self) -> bool:
        return self._span_lost >= 2

    @property
    def count(self) -> int:
        """How many bursts there were."""
        return self._closed + self._open

    @property
    def burst_packets(self) -> int:
        """How many packets lie within bursts."""
        return self._closed_packets + (self._span if self._open else 0)

    @property
    def burst_lost(self) -> int:
        """How many of these were lost."""
        return self._closed_lost + (self._span_lost if self._open else 0)

    @property
    def gaps(self) -> int:
        """How many gaps there were."""
        if not self._open:
            return self._gaps + (self._gap_packets > 0)
        before = self._gap_packets > self._span + max(0, self._since)
        return self._gaps + before + (self._since > 0)

    @property
    def burst_density(self) -> float:
        """Share of the packets within bursts that were lost, 0 to 1."""
        packets = self.burst_packets
        return self.burst_lost / packets if packets else 0.0

    @property
    def gap_density(self) -> float:
        """Share of the packets outside bursts that were lost, 0 to 1."""
        packets = self.packets - self.burst_packets
        return (self.lost - self.burst_lost) / packets if packets else 0.0

    @property
    def mean_burst(self) -> float:
        """Packets in a burst, on average; 0 without any."""
        return self.burst_packets / self.count if self.count else 0.0

    @property
    def mean_gap(self) -> float:
        """Packets in a gap, on average; 0 without any."""
        gaps = self.gaps
        return (self.packets - self.burst_packets) / gaps if gaps else 0.0

    @property
    def ratio(self) -> float:
        """BurstR: the mean series of losses over that of random loss, which is 1/(1 - loss)."""
        if not self.runs or self.lost == self.packets:
            return 1.0
        return self.lost / self.runs * (1 - self.lost / self.packets)
