"""Which codec a payload type stands for, and what its payloads are made of.

Static payload types are those of RFC 3551 section 6. What a dynamic one means was said in the
SDP, which a relay does not see: somebody has to name it, or it is guessed from how much there is
in a packet and how its timestamps count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

NAMES = {
    "PCMU": 8000,
    "PCMA": 8000,
    "L16": 44100,
    "G722": 8000,
    "G729": 8000,
    "G723": 8000,
    "GSM": 8000,
    "ILBC": 8000,
    "SPEEX": 8000,
    "OPUS": 48000,
    "AMR": 8000,
    "AMR-WB": 16000,
    "G726-16": 8000,
    "G726-24": 8000,
    "G726-32": 8000,
    "G726-40": 8000,
    "CN": 8000,
    "TELEPHONE-EVENT": 8000,
}
"""What can be named, with the usual ticks in a second."""

NOISE = "CN"

SOUNDLESS = frozenset({NOISE, "TELEPHONE-EVENT"})
"""Their payloads are no samples: nothing, or a description of noise."""

BUILT_IN = frozenset({"PCMU", "PCMA", "L16"})
"""What needs no library."""


class Codec(NamedTuple):
    """A codec with ``clock`` ticks in a second; ``guessed``: nobody said so."""

    name: str
    clock: int
    channels: int = 1
    guessed: bool = False

    @property
    def rate(self) -> int:
        """Samples in a second once decoded; of G.722 twice its ticks (RFC 3551 4.5.2)."""
        return 16000 if self.name == "G722" else self.clock

    @property
    def text(self) -> str:
        """As in SDP."""
        channels = f"/{self.channels}" if self.channels > 1 else ""
        return f"{self.name}/{self.clock}{channels}"


STATIC = {
    0: Codec("PCMU", 8000),
    2: Codec("G726-32", 8000),
    3: Codec("GSM", 8000),
    4: Codec("G723", 8000),
    8: Codec("PCMA", 8000),
    9: Codec("G722", 8000),
    10: Codec("L16", 44100, 2),
    11: Codec("L16", 44100),
    13: Codec("CN", 8000),
    18: Codec("G729", 8000),
    19: Codec("CN", 8000),
}
"""By payload type; 2 is what it was before it was withdrawn, 19 what CN was in drafts."""

_NAMED = re.compile(r"([0-9]{1,3})=([A-Za-z0-9-]+)(?:/([0-9]{4,6}))?(?:/([12]))?")


def named(text: str) -> tuple[int, Codec]:
    """``PT=NAME[/CLOCK[/CHANNELS]]``, as in an SDP's ``rtpmap``. Raises ValueError."""
    found = _NAMED.fullmatch(text)
    name = found[2].upper() if found else ""
    if found is None or name not in NAMES or int(found[1]) > 127:
        known = ", ".join(NAMES)
        raise ValueError(f"{text}: must be PT=NAME[/CLOCK[/CHANNELS]] with a NAME of {known}")
    clock, channels = int(found[3] or NAMES[name]), int(found[4] or 1)
    if not 4000 <= clock <= 192_000:
        raise ValueError(f"{text}: no codec has that clock")
    return int(found[1]), Codec(name, clock, channels)


class Sample(NamedTuple):
    """What was seen of a payload type: ticks and seconds between packets, and payloads."""

    ticks: int
    seconds: float
    payloads: Sequence[bytes]


def guess(sample: Sample) -> Codec | None:
    """What an unnamed dynamic payload type may be; None: it could be anything.

    ``sample`` is of packets that follow each other.
    """
    sizes = {len(payload) for payload in sample.payloads}
    if not sizes or (sample.ticks <= 0 and sizes != {4}):
        return None
    if sizes == {4} and all(payload[0] <= 16 for payload in sample.payloads):
        return Codec("TELEPHONE-EVENT", 8000, guessed=True)
    per_second = sample.ticks / sample.seconds if sample.seconds > 0 else 0.0
    if 40_000 < per_second < 56_000 and _is_opus(sample.payloads, sample.ticks):
        return Codec("OPUS", 48000, guessed=True)
    if 14_000 < per_second < 18_000 and sample.ticks % 320 == 0:
        if _amr_fits(sample.payloads, wideband=True):
            return Codec("AMR-WB", 16000, guessed=True)
    elif 7_000 < per_second < 9_000:
        if sample.ticks % 160 == 0 and _amr_fits(sample.payloads, wideband=False):
            return Codec("AMR", 8000, guessed=True)
        if sample.ticks % 240 == 0 and sizes == {50 * (sample.ticks // 240)}:
            return Codec("ILBC", 8000, guessed=True)
        if sample.ticks % 160 == 0 and sizes == {38 * (sample.ticks // 160)}:
            return Codec("ILBC", 8000, guessed=True)
    return None


_OPUS_TICKS = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4
"""Of a frame, by the configuration in the first octet (RFC 6716 section 3.1, table 2)."""


def _is_opus(payloads: Sequence[bytes], ticks: int) -> bool:
    """Whether the frames of every packet last that long (RFC 6716 section 3.2)."""
    for payload in payloads:
        if not payload:
            return False
        count = (1, 2, 2)[payload[0] & 3] if payload[0] & 3 < 3 else (payload[1:2] or b"\0")[0] & 63
        if _OPUS_TICKS[payload[0] >> 3] * count != ticks:
            return False
    return True


# Octets and bits of speech by frame type (RFC 4867 section 3.6, 3GPP TS 26.101 and 26.201).
_AMR_BITS = (95, 103, 118, 134, 148, 159, 204, 244, 39)
_AMR_WB_BITS = (132, 177, 253, 285, 317, 365, 397, 461, 477, 40)
_NO_DATA = 15
_LOST = 14


def _bits(wideband: bool, frame_type: int) -> int | None:
    """Of a frame; None where there is no such type."""
    table = _AMR_WB_BITS if wideband else _AMR_BITS
    if frame_type < len(table):
        return table[frame_type]
    return 0 if frame_type == _NO_DATA or (wideband and frame_type == _LOST) else None


def _amr_fits(payloads: Sequence[bytes], *, wideband: bool) -> bool:
    return any(
        all(amr_frames(payload, wideband=wideband, aligned=aligned) for payload in payloads)
        for aligned in (False, True)
    )


def amr_is_aligned(payloads: Sequence[bytes], *, wideband: bool) -> bool:
    """Whether payloads are octet-aligned (RFC 4867 section 4.4), which only the SDP says."""
    fits = [
        sum(
            amr_frames(payload, wideband=wideband, aligned=aligned) is not None
            for payload in payloads
        )
        for aligned in (False, True)
    ]
    return fits[True] > fits[False]


def amr_frames(payload: bytes, *, wideband: bool, aligned: bool) -> list[bytes] | None:
    """The frames of an AMR payload as they are stored in files (RFC 4867 section 5.3).

    None where the payload is not made of whole frames. Interleaving and checksums are not known.
    """
    total = 8 * len(payload)
    value = int.from_bytes(payload, "big")

    def take(at: int, count: int) -> int:
        return value >> (total - at - count) & (1 << count) - 1

    at, types = (8 if aligned else 4), list[int]()
    more = True
    while more:
        if at + 6 > total:
            return None
        entry = take(at, 6)
        more = bool(entry & 0x20)
        types.append(entry & 0x1F)
        at += 8 if aligned else 6
    frames = []
    for each in types:
        count = _bits(wideband, each >> 1)
        if count is None or at + count > total:
            return None
        octets = (take(at, count) << -count % 8).to_bytes((count + 7) // 8, "big")
        frames.append(bytes([each << 2]) + octets)
        at += (count + 7) // 8 * 8 if aligned else count
    return frames if (at + 7) // 8 == len(payload) else None


_G723_OCTETS = (24, 20, 4, 1)
"""Of a frame, by the two low bits of its first octet (RFC 3551 section 4.5.3)."""


def frames(name: str, payload: bytes) -> Iterator[bytes]:
    """The frames in a payload, for codecs that put several into one packet."""
    match name:
        case "G729":
            yield from _cut(payload, 10)
        case "GSM":
            yield from _cut(payload, 33)
        case "ILBC":
            yield from _cut(payload, 50 if len(payload) % 50 == 0 else 38)
        case "G723":
            at = 0
            while at < len(payload):
                size = _G723_OCTETS[payload[at] & 3]
                yield payload[at : at + size]
                at += size
        case _:
            if payload:
                yield payload


def _cut(payload: bytes, size: int) -> Iterator[bytes]:
    return (payload[at : at + size] for at in range(0, len(payload), size))
