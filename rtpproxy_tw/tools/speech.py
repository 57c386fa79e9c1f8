"""What a soft phone says: a tone in G.711 mu-law, as RTP packets, and the RTCP that goes with it.

Pure: the caller decides when a packet leaves. Any packet can be made again from its number, so
that whoever hears it can be sure that nothing was changed on the way.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

FRAME = 0.02
"""Seconds of speech in one packet (RFC 3551 section 4.2, the default)."""

RATE = 8000
"""Samples in a second, and ticks of the RTP timestamp."""

SAMPLES = 160
"""Samples, and octets, in one packet."""

PCMU = 0
"""Payload type of G.711 mu-law (RFC 3551 table 4)."""

_FRAMES = round(1 / FRAME)
"""A tone of whole hertz repeats itself after so many packets."""

_LOUDNESS = 8000
"""Amplitude, of at most 32 767: about -12 dB."""

_BIAS = 132
_CLIP = 32635
"""Constants of the mu-law encoder (ITU-T G.711)."""

_NTP_EPOCH = 2_208_988_800
"""Seconds from 1900, where NTP counts from, to 1970."""


def mulaw(sample: int) -> int:
    """The octet for a signed 16-bit sample (ITU-T G.711)."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), _CLIP) + _BIAS
    exponent = magnitude.bit_length() - 8
    mantissa = magnitude >> (exponent + 3) & 0x0F
    return ~(sign | exponent << 4 | mantissa) & 0xFF


def tone(hertz: int) -> tuple[bytes, ...]:
    """One second of a sine of ``hertz``, cut into frames; the next second is the same."""
    step = 2 * math.pi * hertz / RATE
    octets = bytes(mulaw(round(_LOUDNESS * math.sin(step * n))) for n in range(RATE))
    return tuple(octets[at : at + SAMPLES] for at in range(0, RATE, SAMPLES))


@dataclass(frozen=True, slots=True, eq=False)
class Speaker:
    """One side's outgoing speech.

    ``ssrc``, ``sequence`` and ``timestamp`` are what the first packet carries; RFC 3550 section
    5.1 wants them random.
    """

    name: str
    hertz: int
    ssrc: int
    sequence: int
    timestamp: int
    _tone: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tone", tone(self.hertz))

    def payload(self, number: int) -> bytes:
        """The speech in packet ``number``, counted from 0."""
        return self._tone[number % _FRAMES]

    def packet(self, number: int) -> bytes:
        """RTP packet ``number`` (RFC 3550 section 5.1); the first one begins a talkspurt."""
        marker = 0x80 if number == 0 else 0
        sequence = self.sequence + number & 0xFFFF
        header = struct.pack(
            "!BBHII", 0x80, marker | PCMU, sequence, self._ticks(number), self.ssrc
        )
        return header + self.payload(number)

    def number(self, sequence: int) -> int:
        """Which packet carries ``sequence``: right for the first 65 536 packets."""
        return sequence - self.sequence & 0xFFFF

    def report(self, packets: int, wall: float) -> bytes:
        """A sender report and the name that has to go with it, after so many ``packets``.

        ``wall`` is seconds since 1970 (RFC 3550 sections 6.1, 6.4.1 and 6.5.1).
        """
        seconds = int(wall)
        sender = struct.pack(
            "!BBHIIIIII",
            *(0x80, 200, 6, self.ssrc),
            *(seconds + _NTP_EPOCH & 0xFFFFFFFF, int((wall - seconds) * 2**32)),
            *(self._ticks(packets), packets, packets * SAMPLES),
        )
        name = f"{self.name}@demo".encode()
        item = struct.pack("!BB", 1, len(name)) + name
        # At least one null octet ends the items, and as many as fill the last word.
        chunk = struct.pack("!I", self.ssrc) + item + bytes(4 - len(item) % 4)
        return sender + struct.pack("!BBH", 0x81, 202, len(chunk) // 4) + chunk

    def is_report(self, datagram: bytes) -> bool:
        """Whether ``datagram`` starts with one of this speaker's sender reports."""
        return datagram[1:2] == b"\xc8" and datagram[4:8] == self.ssrc.to_bytes(4, "big")

    def _ticks(self, number: int) -> int:
        return self.timestamp + number * SAMPLES & 0xFFFFFFFF
