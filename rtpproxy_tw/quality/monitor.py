"""What is remembered of a leg from one look at it to the next, once a second.

Packets only move counters. All that needs memory over time (losses by place, scores by interval,
silences, changes) is done here, from the differences between two looks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from rtpproxy_tw.quality.bursts import GRACE, SHORT_GRACE, Bursts
from rtpproxy_tw.quality.codecs import COMFORT_NOISE, clock_rate, codec_name, is_silent
from rtpproxy_tw.quality.history import History, Interval
from rtpproxy_tw.quality.letters import Letters
from rtpproxy_tw.quality.opinion import Opinion
from rtpproxy_tw.quality.score import jitter_ms, score
from rtpproxy_tw.rtcp import looks_like_rtcp
from rtpproxy_tw.rtp import peek

if TYPE_CHECKING:
    from rtpproxy_tw.quality.analyzer import Analyzer
    from rtpproxy_tw.session import Leg

INTERVAL = 10.0
"""Seconds a score is given for, besides the one for the whole call."""

LOOKED_AT = 1.0
"""Seconds from one look to the next, more or less."""

FEWEST = 50
"""Packets an interval must have for a score: one lost of a few says nothing."""

SILENT = 5.0
"""Seconds without RTP after which a party counts as silent: DTX still sends now and then."""

SLOW = 100
"""Packets a second of a stream whose bitmap holds an interval; of audio there are 50."""

SUFFERING = 10
"""Packets lost in a second, of the 50 that there usually are."""

LASTING = frozenset({"ok", "payload-never-negotiated"})
"""Verdicts on media that stay while it does not change,"""

LASTING_SILENCE = frozenset({"one-way", "stopped", "held"})
"""and those that stay while there is none, and nothing else comes."""

CHANGES_KEPT = 8
"""Of changes of source; what is older is only counted."""


@dataclass(slots=True, eq=False)
class Monitor:
    """The memory of one leg about what its party sends. :meth:`look` is called once a second."""

    bursts: Bursts = field(default_factory=Bursts)
    opinion: Opinion = field(default_factory=Opinion)
    mos_last: float | None = None
    mos_min: float | None = None
    mos_min_at: float = 0.0
    """When the worst interval ended, monotonic."""
    mos_sum: float = 0.0
    mos_count: int = 0
    """Intervals that have a score."""
    history: History = field(default_factory=History)
    """The intervals one by one, those without a score too."""
    quiet_since: float = inf
    """Since when every packet looked at had nothing to hear in it."""
    silent_since: float = inf
    """Since when there is no RTP although there was, as noted in the timeline."""
    ssrc_changed: float = -inf
    """When the SSRC was last seen to be another one."""
    flaps: deque[float] = field(default_factory=lambda: deque(maxlen=CHANGES_KEPT))
    """When the source changed, or the same stream came from a second source."""
    crossed: int = 0
    """Looks that found RTP on the RTCP port."""
    suffering: bool = False
    """Whether much was lost since the look before: it may come from where nobody listens."""
    code: str = ""
    """The verdict as of the last look, and since when it is so."""
    code_since: float = 0.0
    _interval: tuple[float, int, int, int, int] | None = None
    """When it began, and what had been sent, received, lost by bursts and by series then."""
    _sent: int = 0
    _received: int = 0
    _ssrc_changes: int = 0
    _payload_type: int | None = None
    _relatches: int = 0
    _accepted: int = 0
    _ignored: int = 0
    _unreachable: int = 0
    _looked: float = inf
    _slow: bool = False
    """Whether SLOW was kept to since the look before; unknown at the first one."""

    def look(self, leg: Leg, now: float) -> None:
        """Take in what happened since the last look."""
        stream = leg.rtp
        analyzer = stream.analyzer
        letters = leg.rtcp.letters
        self._slow = stream.accepted - self._accepted <= SLOW * (now - self._looked)
        self._looked = now
        if letters:
            leg.rtcp.letters, leg.rtcp.latest = None, b""
            self._read(leg, letters)
        if stream.accepted != self._accepted or stream.ignored != self._ignored:
            self._look_at_sources(leg, now)
        if analyzer is not None:
            self._look_at_stream(leg, analyzer, now)
        if stream.unreachable != self._unreachable:
            if not self._unreachable:
                self._tell(leg, now, "icmp", "cannot be reached, the network says")
            self._unreachable = stream.unreachable

    def rests_until(self, leg: Leg) -> float:
        """When the next look is due if media of the party only goes on, or on being away.

        Its figures are then as now but for the jitter, and the verdict depends on nothing that time
        alone could change. Where it may: in the past.
        """
        if leg.rtcp.accepted and not leg.rtcp.offloaded:
            return -inf
        if self.silent_since != inf:
            return self._looked + INTERVAL if self.code in LASTING_SILENCE else -inf
        if self.code not in LASTING or self._interval is None:
            return -inf
        pausing = self._looked - leg.rtp.last_heard > LOOKED_AT / 2
        if pausing or self.quiet_since != inf or not self._slow:
            return -inf
        return self._interval[0] + INTERVAL - LOOKED_AT / 2

    def finish(self, leg: Leg, now: float) -> None:
        """The session has ended: judge what is left."""
        self.look(leg, now)
        analyzer = leg.rtp.analyzer
        if analyzer is not None:
            self.bursts.read(analyzer, grace=0)
            self._end_interval(leg, analyzer, now)

    def _tell(self, leg: Leg, when: float, kind: str, text: str) -> None:
        leg.session.timeline.add(when, kind, f"{leg.side.value}: {text}")

    # RTCP.

    def _read(self, leg: Leg, letters: Letters) -> None:
        """Read what came on the RTCP port."""
        crossed = False
        for when, datagram in letters:
            if peek(datagram) is None:
                self._hear_rtcp(leg, datagram, when)
                continue
            if not (crossed or self.crossed):
                self._tell(leg, when, "source", "RTP arrives on the RTCP port")
            crossed = True
        self.crossed += crossed

    def _hear_rtcp(self, leg: Leg, datagram: bytes, when: float) -> None:
        other = leg.opposite
        passed_on = other.rtp.analyzer
        self.opinion.heard(
            datagram,
            when,
            leg.rtp.analyzer,
            passed_on,
            other.monitor.opinion if other.monitor is not None else None,
            clock_rate(passed_on.payload_type) if passed_on is not None else None,
        )

    # Sources.

    def _look_at_sources(self, leg: Leg, now: float) -> None:
        stream = leg.rtp
        relatches = stream.latch.relatches
        for _ in range(min(relatches - self._relatches, CHANGES_KEPT)):
            self.flaps.append(now)
        refusals, analyzer = stream.refusals, stream.analyzer
        if (
            relatches == self._relatches
            and refusals is not None
            and analyzer is not None
            and stream.ignored != self._ignored
            and stream.accepted != self._accepted
            and refusals.ssrc is not None
            and refusals.ssrc == analyzer.ssrc
            # What we sent ourselves, to a port of our own, is a loop.
            and (
                leg.local is None
                or refusals.source[0] not in (leg.local.host, leg.local.advertised)
            )
        ):
            self.flaps.append(now)
        self._relatches = relatches
        self._accepted, self._ignored = stream.accepted, stream.ignored

    # The stream.

    def _look_at_stream(self, leg: Leg, analyzer: Analyzer, now: float) -> None:
        stream = leg.rtp
        if analyzer.strays:
            # RTCP may come on the RTP port (RFC 5761).
            for when, stray in analyzer.strays:
                if looks_like_rtcp(stray):
                    self._hear_rtcp(leg, stray, when)
            analyzer.strays.clear()
        sent, received = analyzer.sent - self._sent, analyzer.received - self._received
        self._sent, self._received = analyzer.sent, analyzer.received
        self.suffering = sent - received >= SUFFERING and received > 0
        if now - stream.last_heard > SILENT:
            if self.silent_since == inf:
                self.silent_since = stream.last_heard
                self._tell(leg, stream.last_heard, "silence", "fell silent")
                self.quiet_since = inf
            return
        if self.silent_since != inf:
            gap = now - self.silent_since
            self._tell(leg, now, "silence", f"is heard again, after {gap:.0f} s")
            self.silent_since = inf
        if analyzer.ssrc_changes != self._ssrc_changes:
            if self._ssrc_changes:
                self.ssrc_changed = now
                self._tell(leg, now, "source", f"SSRC is now {analyzer.ssrc:08x}")
            self._ssrc_changes = analyzer.ssrc_changes
        if analyzer.payload_type != self._payload_type:
            if self._payload_type is not None and analyzer.payload_type is not None:
                name = codec_name(analyzer.payload_type)
                self._tell(leg, now, "source", f"sends {name} now")
            self._payload_type = analyzer.payload_type
        if stream.offloaded:
            # Another path shows no payload; its type alone may tell.
            self._is_quiet(analyzer.payload_type in COMFORT_NOISE, now)
        else:
            self._listen(stream.latest, now)
        stream.latest = b""
        self.bursts.read(analyzer, SHORT_GRACE if stream.offloaded else GRACE)
        if self._interval is None:
            self._begin_interval(analyzer, now)
        elif now - self._interval[0] > INTERVAL - LOOKED_AT / 2:
            self._end_interval(leg, analyzer, now)
            self._begin_interval(analyzer, now)

    def _listen(self, datagram: bytes, now: float) -> None:
        header = peek(datagram)
        if header is not None:
            payload = datagram[header.start : header.end]
            self._is_quiet(is_silent(header.payload_type, payload), now)

    def _is_quiet(self, quiet: bool, now: float) -> None:
        if not quiet:
            self.quiet_since = inf
        elif self.quiet_since == inf:
            self.quiet_since = now

    # Scores.

    def _begin_interval(self, analyzer: Analyzer, now: float) -> None:
        bursts = self.bursts
        self._interval = (now, analyzer.sent, analyzer.received, bursts.lost, bursts.runs)

    def _end_interval(self, leg: Leg, analyzer: Analyzer, now: float) -> None:
        if self._interval is None:
            return
        began, sent, received, lost, runs = self._interval
        self._interval = None
        packets, arrived = analyzer.sent - sent, analyzer.received - received
        made = None
        if packets >= FEWEST:
            ratio = max(0.0, 1 - arrived / packets)
            series = self.bursts.runs - runs
            losses = self.bursts.lost - lost
            made = score(leg, ratio, losses / series * (1 - ratio) if series else 1.0)
        if packets > 0:
            self.history.add(
                Interval(
                    at=now - leg.session.created,
                    seconds=now - began,
                    packets=arrived,
                    lost=packets - arrived,
                    jitter_ms=jitter_ms(leg, analyzer.jitter_last),
                    mos=made,
                )
            )
        if made is not None:
            self._note_score(made, now)

    def _note_score(self, made: float, now: float) -> None:
        self.mos_last = made
        self.mos_sum += made
        self.mos_count += 1
        if self.mos_min is None or made < self.mos_min:
            self.mos_min, self.mos_min_at = made, now
