"""The quality of what each party sends, in figures: what is shown, recorded and exported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtpproxy_tw.session import Leg, Session


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
    loss_after_us: float | None
    """Share of what we passed on that the other party did not get, by its RTCP, 0 to 1."""
    ssrc: int | None
    ssrc_changes: int
    """How often the SSRC became another one."""
    longest_gap: float
    """Seconds between two packets."""


def report(session: Session, now: float) -> tuple[LegQuality, LegQuality]:
    """The quality of what the caller sends, then of what the callee sends. Pure."""
    return _of(session.caller, now), _of(session.callee, now)


def _of(leg: Leg, now: float) -> LegQuality:
    stream = leg.rtp
    analyzer = stream.analyzer
    sent = analyzer.sent if analyzer else 0
    lost = max(0, analyzer.lost) if analyzer else 0
    return LegQuality(
        packets=analyzer.received if analyzer else 0,
        octets=stream.octets,
        lost=lost,
        loss_ratio=lost / sent if sent else 0.0,
        duplicates=analyzer.duplicates if analyzer else 0,
        reordered=0,
        jitter_ms=None,
        jitter_ticks=analyzer.jitter_last if analyzer else 0.0,
        jitter_max_ms=None,
        rtt_ms=None,
        codec=None,
        mos=None,
        mos_scale="narrowband",
        mos_min=None,
        mos_min_at=None,
        mos_last=None,
        bursts=0,
        burst_density=0.0,
        burst_ms=None,
        gap_density=0.0,
        gap_ms=None,
        burst_ratio=1.0,
        loss_after_us=None,
        ssrc=analyzer.ssrc if analyzer else None,
        ssrc_changes=max(0, analyzer.ssrc_changes - 1) if analyzer else 0,
        longest_gap=stream.longest_gap,
    )
