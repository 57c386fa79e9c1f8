"""What is known of a payload type without the SDP: its name, its clock, how it bears losses."""

from __future__ import annotations

from typing import NamedTuple

from rtpproxy_tw.quality.emodel import NARROWBAND, WIDEBAND
from rtpproxy_tw.quality.jitter import CLOCK_RATES

UNCONCEALED = 4.3
"""Bpl of G.711 without concealment of losses (G.113 appendix I): taken for codecs of which no
Bpl is published, so that their score errs on the low side."""


class Codec(NamedTuple):
    """One encoding. ``ie`` and ``bpl`` are those of G.113, None where it has no rating."""

    name: str
    ie: float | None = None
    bpl: float = UNCONCEALED
    scale: str = NARROWBAND


CODECS = {
    # Phones have concealed losses of G.711 by its appendix I for decades: Bpl 25.1, not 4.3.
    0: Codec("PCMU", 0, 25.1),
    3: Codec("GSM", 20),
    4: Codec("G723", 15, 16.1),
    5: Codec("DVI4"),
    6: Codec("DVI4"),
    7: Codec("LPC"),
    8: Codec("PCMA", 0, 25.1),
    9: Codec("G722", 13, scale=WIDEBAND),
    10: Codec("L16"),
    11: Codec("L16"),
    12: Codec("QCELP"),
    13: Codec("CN"),
    14: Codec("MPA"),
    15: Codec("G728", 7),
    16: Codec("DVI4"),
    17: Codec("DVI4"),
    18: Codec("G729", 11, 19.0),
    19: Codec("CN"),
    25: Codec("CelB"),
    26: Codec("JPEG"),
    28: Codec("nv"),
    31: Codec("H261"),
    32: Codec("MPV"),
    33: Codec("MP2T"),
    34: Codec("H263"),
}
"""By static payload type (RFC 3551 tables 4 and 5)."""

COMFORT_NOISE = frozenset((13, 19))
"""Payload types that carry the description of a noise, no sound (RFC 3389; 19 is its old one)."""

_SILENT_SAMPLES = {0: b"\xff\xfe\x7f\x7e", 8: b"\xd5\xd4\x55\x54"}
"""The quietest code words of PCMU and PCMA: zero, and one step off it."""


def codec_name(payload_type: int) -> str:
    """``PCMU``, or ``payload type 96`` where it is dynamic: what it means is in the SDP alone."""
    codec = CODECS.get(payload_type)
    return codec.name if codec else f"payload type {payload_type}"


def clock_rate(payload_type: int | None) -> int | None:
    """Hz of the timestamps of a static audio type, else None."""
    return CLOCK_RATES.get(payload_type) if payload_type is not None else None


def is_silent(payload_type: int, payload: bytes) -> bool:
    """Whether ``payload`` holds nothing to hear: comfort noise, or PCM samples all about zero."""
    if payload_type in COMFORT_NOISE:
        return True
    quiet = _SILENT_SAMPLES.get(payload_type)
    return quiet is not None and len(payload) > 0 and not payload.strip(quiet)
