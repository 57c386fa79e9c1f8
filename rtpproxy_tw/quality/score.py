"""The score of what a leg's party sends: codec, losses and delay put into the E-model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtpproxy_tw.quality.codecs import CODECS, Codec, clock_rate
from rtpproxy_tw.quality.emodel import effective_impairment, mos, rating

if TYPE_CHECKING:
    from rtpproxy_tw.session import Leg

PACKET_MS = 20.0
"""Delay of putting speech into packets, as nearly everybody does it; the codec's is small."""

BUFFER = 2.0
"""A receiver's jitter buffer holds about so many times the jitter."""


def codec_of(leg: Leg) -> Codec | None:
    """The codec last heard of the party that has a rating of its own."""
    analyzer = leg.rtp.analyzer
    if analyzer is None or analyzer.payload_type is None:
        return None
    return CODECS.get(analyzer.payload_type)


def jitter_ms(leg: Leg, ticks: float) -> float | None:
    """``ticks`` of the party's RTP clock in ms; None where the clock is in the SDP only."""
    analyzer = leg.rtp.analyzer
    rate = clock_rate(analyzer.payload_type) if analyzer is not None else None
    return 1000 * ticks / rate if rate else None


def delay_ms(leg: Leg) -> float:
    """The one-way delay from the party to the other one, as far as it is known."""
    network = 0.0
    for each in leg.session.legs:
        trip = each.monitor.opinion.round_trip if each.monitor is not None else None
        if trip is not None:
            network += 500 * trip
    analyzer = leg.rtp.analyzer
    jitter = jitter_ms(leg, analyzer.jitter_last) if analyzer is not None else None
    return network + PACKET_MS + BUFFER * (jitter or 0.0)


def score(leg: Leg, loss: float, burst_ratio: float) -> float | None:
    """The mean opinion score with ``loss`` (0 to 1); None for a codec without a rating."""
    codec = codec_of(leg)
    if codec is None or codec.ie is None:
        return None
    impairment = effective_impairment(codec.ie, codec.bpl, loss, burst_ratio)
    return mos(rating(delay_ms(leg), impairment, codec.scale), codec.scale)
