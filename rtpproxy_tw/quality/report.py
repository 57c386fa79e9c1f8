"""The quality of what each party sends, in figures: what is shown, recorded and exported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtpproxy_tw.quality.analyzer import Analyzer
from rtpproxy_tw.quality.codecs import codec_name
from rtpproxy_tw.quality.emodel import NARROWBAND
from rtpproxy_tw.quality.monitor import Monitor
from rtpproxy_tw.quality.score import codec_of, jitter_ms, score
from rtpproxy_tw.rtcp import VoipMetrics

if TYPE_CHECKING:
    from rtpproxy_tw.session import Leg, Session

_NOTHING = Analyzer()
_NO_MEMORY = Monitor()
"""Of a leg that has not been heard or looked at; never written to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """VoIP metrics (RFC 3611 section 4.7), as the other party measured them."""

    loss_ratio: float
    """Share lost on the whole way, 0 to 1."""
    discard_ratio: float
    """Share that came too late or too early for its jitter buffer."""
    burst_density: float
    burst_ms: int
    gap_density: float
    gap_ms: int
    rtt_ms: int
    """Round trip between the two parties; 0: it does not know."""
    end_system_ms: int
    """Delay within the party's device."""
    r_factor: int | None
    mos_listening: float | None
    """MOS-LQ, without the delay; None where it does not tell."""
    mos_conversational: float | None
    """MOS-CQ, with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FarEnd:
    """The second opinion: the other party's own figures of what it gets."""

    lost: int | None
    """Packets it misses, wherever they were lost; None without a report on them."""
    jitter_ms: float | None
    voip: Heard | None
    """None where it sends no extended reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LegQuality:
    """What a party sends, as received here; ``None`` stands for what cannot be known."""

    packets: int
    """Different RTP packets received."""
    octets: int
    """Of all datagrams accepted on the RTP port."""
    lost: int
    """RTP packets that the party sent and that never came here: lost before us."""
    loss_ratio: float
    """``lost`` over what the party sent, 0 to 1."""
    duplicates: int
    reordered: int
    """Packets that came after a later one."""
    jitter_ms: float | None
    """Interarrival jitter now (RFC 3550 section 6.4.1); None where the clock is not known."""
    jitter_ticks: float
    """The same in ticks of the RTP clock."""
    jitter_max_ms: float | None
    rtt_ms: float | None
    """Round trip between us and the party, by its RTCP."""
    codec: str | None
    """Name of the payload type last heard, where it is a static one, else its number."""
    mos: float | None
    """Estimate for the call so far (ITU-T G.107); None without RTP or for an unknown codec."""
    mos_scale: str
    """``narrowband`` (G.107) or ``wideband`` (G.107.1): figures of one do not compare with those
    of the other."""
    mos_average: float | None
    """The mean over the intervals of 10 s."""
    mos_min: float | None
    """The worst interval's."""
    mos_min_at: float | None
    """When that interval ended, seconds after the creation of the session."""
    mos_last: float | None
    """The last whole interval's."""
    bursts: int
    """Bursts of loss (RFC 3611 section 4.7.2, Gmin 16)."""
    burst_density: float
    """Share of the packets within bursts that were lost, 0 to 1."""
    burst_ms: float | None
    """Mean length of a burst; None where the packet rate is not known."""
    gap_density: float
    """Share of the packets outside bursts that were lost, 0 to 1."""
    gap_ms: float | None
    """Mean length of what lies between bursts."""
    burst_ratio: float
    """Of G.107: mean run of losses over that of random loss; 1 where loss is random."""
    far_end: FarEnd | None
    """What the other party's RTCP says of it; None where it says nothing that can be believed."""
    loss_after_us: float | None
    """Share of what we passed on that the other party did not get, by its RTCP, 0 to 1."""
    ssrc: int | None
    ssrc_changes: int
    """How often the SSRC became another one."""
    longest_gap: float
    """Seconds between two packets."""


def report(session: Session, now: float) -> tuple[LegQuality, LegQuality]:
    """The quality of what the caller sends, then of what the callee sends. Pure."""
    return _of(session.caller), _of(session.callee)


def _of(leg: Leg) -> LegQuality:
    stream = leg.rtp
    analyzer = stream.analyzer or _NOTHING
    monitor = leg.monitor or _NO_MEMORY
    bursts = monitor.bursts
    lost = max(0, analyzer.lost)
    ratio = lost / analyzer.sent if analyzer.sent else 0.0
    codec = codec_of(leg)
    packet = _packet_ms(leg)
    minimum = monitor.mos_min
    payload_type = analyzer.payload_type
    return LegQuality(
        packets=analyzer.received,
        octets=stream.octets,
        lost=lost,
        loss_ratio=ratio,
        duplicates=analyzer.duplicates,
        reordered=analyzer.reordered,
        jitter_ms=jitter_ms(leg, analyzer.jitter_last),
        jitter_ticks=analyzer.jitter_last,
        jitter_max_ms=jitter_ms(leg, analyzer.jitter_max),
        rtt_ms=_ms(monitor.opinion.round_trip),
        codec=None if payload_type is None else codec_name(payload_type),
        mos=score(leg, ratio, bursts.ratio) if analyzer.received else None,
        mos_scale=codec.scale if codec is not None else NARROWBAND,
        mos_average=monitor.mos_sum / monitor.mos_count if monitor.mos_count else None,
        mos_min=minimum,
        mos_min_at=None if minimum is None else monitor.mos_min_at - leg.session.created,
        mos_last=monitor.mos_last,
        bursts=bursts.count,
        burst_density=bursts.burst_density,
        burst_ms=bursts.mean_burst * packet if packet is not None else None,
        gap_density=bursts.gap_density,
        gap_ms=bursts.mean_gap * packet if packet is not None else None,
        burst_ratio=bursts.ratio,
        far_end=_far_end(leg),
        loss_after_us=_lost_after(leg),
        ssrc=analyzer.ssrc,
        ssrc_changes=max(0, analyzer.ssrc_changes - 1),
        longest_gap=stream.longest_gap,
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _packet_ms(leg: Leg) -> float | None:
    """How much time a packet stands for, by how many the party sent while it was heard."""
    stream = leg.rtp
    duration = stream.last_heard - stream.first_heard
    sent = stream.analyzer.sent if stream.analyzer is not None else 0
    return 1000 * duration / (sent - 1) if sent > 1 and duration > 0 else None


def _far_end(leg: Leg) -> FarEnd | None:
    other = leg.opposite.monitor
    if other is None or (other.opinion.lost is None and other.opinion.voip is None):
        return None
    opinion, voip = other.opinion, other.opinion.voip
    told = opinion.lost is not None
    return FarEnd(
        lost=opinion.lost,
        jitter_ms=jitter_ms(leg, opinion.jitter) if told else None,
        voip=None if voip is None else _heard(voip),
    )


def _heard(voip: VoipMetrics) -> Heard:
    return Heard(
        loss_ratio=voip.loss_ratio,
        discard_ratio=voip.discard_ratio,
        burst_density=voip.burst_density,
        burst_ms=voip.burst_ms,
        gap_density=voip.gap_density,
        gap_ms=voip.gap_ms,
        rtt_ms=voip.round_trip_ms,
        end_system_ms=voip.end_system_ms,
        r_factor=voip.r_factor,
        mos_listening=voip.mos_listening,
        mos_conversational=voip.mos_conversational,
    )


def _lost_after(leg: Leg) -> float | None:
    """What the other party misses beyond what we miss, as a share of what was passed on."""
    other, analyzer = leg.opposite.monitor, leg.rtp.analyzer
    if other is None or analyzer is None or other.opinion.lost is None or not leg.rtp.relayed:
        return None
    return min(1.0, max(0, other.opinion.lost - analyzer.lost) / leg.rtp.relayed)
