"""What is known of codecs whose frames need no decoding to be counted, joined and cut.

A *frame* is the least a codec makes at a time, a *tick* one step of the RTP timestamp. Telephone
codecs have 8 ticks a millisecond; G.722 too, although it has 16 samples (RFC 3551 section 4.5.2).
"""

from __future__ import annotations

from typing import NamedTuple

PCMU, GSM, G723, PCMA, G722, L16, G729 = 0, 3, 4, 8, 9, 11, 18
"""Static payload types (RFC 3551 section 6); L16 is the one with a single channel."""


class Framing(NamedTuple):
    """How a codec's stream is made up of frames of equal length."""

    name: str
    octets: int
    """Of a frame."""
    ticks: int
    milliseconds: int


FRAMINGS = {
    PCMU: Framing("PCMU", 8, 8, 1),
    GSM: Framing("GSM", 33, 160, 20),
    G723: Framing("G723", 24, 240, 30),
    PCMA: Framing("PCMA", 8, 8, 1),
    G722: Framing("G722", 8, 8, 1),
    L16: Framing("L16", 882, 441, 10),
    G729: Framing("G729", 10, 80, 10),
}
"""By payload type: what a file of such frames can be played as. G.723 is that of 6.3 kbit/s."""

TICKS_PER_MS = 8

_PACKET_MS = {PCMU: 10, PCMA: 10, G722: 10, GSM: 20, G723: 30, G729: 10}
"""By payload type: packets of these codecs can be joined and cut at multiples of that length."""

_G723_OCTETS = (24, 20, 4)
"""Of a frame, by the two low bits of its first octet (RFC 3551 section 4.5.3)."""

_G729_NOISE = 2
"""Octets of a comfort noise frame, which only the last of a packet can be (section 4.5.6)."""


def packet_ticks(payload_type: int, milliseconds: int) -> int | None:
    """``milliseconds`` rounded up to whole frames, in ticks; None: cannot be re-packetised."""
    step = _PACKET_MS.get(payload_type)
    return None if step is None else -(-milliseconds // step) * step * TICKS_PER_MS


def ticks(payload_type: int, payload: bytes) -> int | None:
    """How long ``payload`` lasts; None where it is not made of whole frames, or of none."""
    size = len(payload)
    match payload_type:
        case 0 | 8 | 9:
            return size or None
        case 3:
            return None if size % 33 or not size else size // 33 * 160
        case 18:
            whole, rest = divmod(size, 10)
            return (whole + bool(rest)) * 80 or None if rest in (0, _G729_NOISE) else None
        case 4:
            at = count = 0
            while at < size:
                kind = payload[at] & 3
                if kind == 3:
                    return None
                at += _G723_OCTETS[kind]
                count += 1
            return count * 240 if at == size and count else None
        case _:
            return None


def is_closed(payload_type: int, payload: bytes) -> bool:
    """Whether nothing can be appended to a payload made of whole frames."""
    return payload_type == G729 and len(payload) % 10 != 0


def cut(payload_type: int, payload: bytes, at: int) -> int:
    """How many octets of a payload made of whole frames last at most ``at`` ticks."""
    match payload_type:
        case 3:
            octets = at // 160 * 33
        case 18:
            octets = at // 80 * 10
        case 4:
            octets = 0
            for _ in range(at // 240):
                if octets >= len(payload):
                    break
                octets += _G723_OCTETS[payload[octets] & 3]
        case _:
            octets = at
    return min(octets, len(payload))
