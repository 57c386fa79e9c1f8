"""Comfort noise: what a party that pauses is heard as while it sends next to nothing.

A packet describes the noise, and holds until the next packet. Its loudness is what is described;
the colour of the noise is not followed, ours is white.
"""

from __future__ import annotations

import random
from array import array
from functools import lru_cache

SID_OCTETS = 2
"""Of a G.729 frame that describes noise (RFC 3551 section 4.5.6, Annex B)."""

LONGEST = 60.0
"""Seconds a description holds; a party that is silent for longer is on hold."""

_PERIOD = 32_003
"""Samples of noise before it repeats: four seconds, in which no ear finds a pattern."""


def described(codec: str, payload: bytes) -> float | None:
    """How loud the noise is that follows the payload (root mean square); None: there is none."""
    if codec == "CN" and payload:
        # Decibels below the loudest that samples can be (RFC 3389 section 3.1).
        return 32_767 * _ratio(-(payload[0] & 0x7F))
    if codec == "G729" and len(payload) % 10 == SID_OCTETS:
        return sid_loudness(payload[-SID_OCTETS:])
    return None


def sid_loudness(frame: bytes) -> float:
    """Of G.729's noise. The index of its five bits stands for -12 dB, -4 to 12 dB in steps of 4 dB,
    and 16 to 66 dB in steps of 2 dB (Annex B, section B.4.2.1), at half the samples' scale.
    """
    index = int.from_bytes(frame, "big") >> 1 & 0x1F
    if index == 0:
        decibels = -12
    else:
        decibels = 4 * (index - 2) if index < 6 else 16 + 2 * (index - 6)
    return 2 * _ratio(decibels)


def noise(loudness: float, samples: int) -> bytes:
    """So many samples in host order. The same each time, so that a recording's sound is, too."""
    period = _scaled(round(loudness, 2))
    whole, rest = divmod(2 * samples, len(period))
    return period * whole + period[:rest]


@lru_cache(maxsize=1)
def _unit() -> tuple[float, ...]:
    chance = random.Random(3389)
    return tuple(chance.gauss(0.0, 1.0) for _ in range(_PERIOD))


@lru_cache(maxsize=64)
def _scaled(loudness: float) -> bytes:
    found = [max(-32768, min(32767, round(loudness * each))) for each in _unit()]
    return array("h", found).tobytes()


def _ratio(decibels: float) -> float:
    found: float = 10 ** (decibels / 20)
    return found
