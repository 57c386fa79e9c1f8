"""Sound as signed 16-bit samples in host order: decoding what needs no library, and joining.

Whole buffers are treated at once, by tables and by arithmetic on long integers, since a loop over
samples takes as long as it takes to talk to somebody.
"""

from __future__ import annotations

import sys
from array import array

LITTLE = sys.byteorder == "little"

CHUNK = 65_536
"""Octets treated at once where long integers are used; more is slower."""


def _mulaw(code: int) -> int:
    """The sample for an octet of G.711 mu-law (ITU-T G.711 table 2a, with 14 bits made 16)."""
    code = ~code & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << (code >> 4 & 7)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _alaw(code: int) -> int:
    """The sample for an octet of G.711 A-law (ITU-T G.711 table 1a, with 13 bits made 16)."""
    code ^= 0x55
    exponent = code >> 4 & 7
    magnitude = ((code & 0x0F) << 4) + 8
    if exponent:
        magnitude = magnitude + 0x100 << exponent - 1
    return magnitude if code & 0x80 else -magnitude


class Table:
    """Turns octets into samples by looking each one up."""

    def __init__(self, samples: list[int]) -> None:
        octets = array("h", samples).tobytes()
        self._even, self._odd = octets[0::2], octets[1::2]

    def decode(self, payload: bytes) -> bytes:
        """Two octets for each one."""
        samples = bytearray(2 * len(payload))
        samples[0::2] = payload.translate(self._even)
        samples[1::2] = payload.translate(self._odd)
        return bytes(samples)


MULAW = [_mulaw(code) for code in range(256)]
ALAW = [_alaw(code) for code in range(256)]

_mulaw_table, _alaw_table = Table(MULAW), Table(ALAW)


def from_mulaw(payload: bytes) -> bytes:
    """Decode PCMU (RFC 3551 section 4.5.14)."""
    return _mulaw_table.decode(payload)


def from_alaw(payload: bytes) -> bytes:
    """Decode PCMA (RFC 3551 section 4.5.14)."""
    return _alaw_table.decode(payload)


def from_l16(payload: bytes, channels: int = 1) -> bytes:
    """Decode L16 (RFC 3551 section 4.5.11); of several channels the mean. Half a sample is lost."""
    samples = array("h", payload[: len(payload) // (2 * channels) * 2 * channels])
    if LITTLE:
        samples.byteswap()
    if channels == 1:
        return samples.tobytes()
    apart = [samples[channel::channels] for channel in range(channels)]
    mean = array("h", [sum(each) // channels for each in zip(*apart, strict=True)])
    return mean.tobytes()


def _coder(samples: list[int]) -> bytes:
    """For each sample, less its 2 lowest bits, the code that is nearest."""
    order = sorted(range(256), key=lambda code: samples[code])
    table = bytearray(16384)
    nearest = 0
    for index in range(16384):
        sample = (index - 8192) * 4 + 2
        while nearest < 255 and abs(samples[order[nearest + 1]] - sample) <= abs(
            samples[order[nearest]] - sample
        ):
            nearest += 1
        table[index] = order[nearest]
    return bytes(table)


def to_codes(pcm: bytes, samples: list[int]) -> bytes:
    """Encode by MULAW or ALAW."""
    table = _coder(samples)
    return bytes([table[(sample >> 2) + 8192] for sample in array("h", pcm)])


def swapped(pcm: bytes) -> bytes:
    """The same in the other byte order."""
    samples = array("h", pcm)
    samples.byteswap()
    return samples.tobytes()


def little_endian(pcm: bytes) -> bytes:
    """The same as files of most kinds want it."""
    return pcm if LITTLE else swapped(pcm)


def resample(pcm: bytes, rate: int, wanted: int) -> bytes:
    """Change the number of samples in a second by straight lines between samples.

    Enough for speech that is to be louder than its codec's noise; where a decoding library is
    there, its filter is used instead.
    """
    if rate == wanted or not pcm:
        return pcm
    samples = array("h", pcm)
    last = len(samples) - 1
    found = array("h", bytes(2 * (len(samples) * wanted // rate)))
    for index in range(len(found)):
        at, part = divmod(index * rate, wanted)
        here = samples[at]
        found[index] = here + (samples[min(at + 1, last)] - here) * part // wanted
    return found.tobytes()


def interleaved(left: bytes, right: bytes) -> bytes:
    """Two channels, of which the shorter one goes on with silence."""
    size = max(len(left), len(right))
    both = bytearray(2 * size)
    for at, channel in ((0, left), (2, right)):
        whole = channel.ljust(size, b"\0")
        both[at::4], both[at + 1 :: 4] = whole[0::2], whole[1::2]
    return bytes(both)


def mean(one: bytes, other: bytes) -> bytes:
    """Both at half their loudness, of which the shorter one goes on with silence.

    Samples with their sign bit inverted count from 0 upwards. Halves of two of them never carry
    into the next sample, so that one addition of long integers adds all of them.
    """
    size = max(len(one), len(other))
    found = []
    for at in range(0, size, CHUNK):
        length = min(CHUNK, size - at)
        signs = int.from_bytes(b"\0\x80" * (length // 2), "little")
        upper = int.from_bytes(b"\xfe\xff" * (length // 2), "little")
        total = 0
        for pcm in (one, other):
            chunk = little_endian(pcm[at : at + length].ljust(length, b"\0"))
            total += ((int.from_bytes(chunk, "little") ^ signs) & upper) >> 1
        found.append(little_endian((total ^ signs).to_bytes(length, "little")))
    return b"".join(found)


class Track:
    """One party's sound from a common beginning on."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._samples = bytearray()
        self._ssrc: int | None = None

    def put(self, at: int, pcm: bytes, ssrc: int) -> None:
        """Place sound at sample ``at``, after silence if need be.

        Where there is sound already, that of the same source is replaced, while that of another
        one is heard as well: two sources may speak at a time.
        """
        start, end = 2 * at, 2 * at + len(pcm)
        samples = self._samples
        if start > len(samples):
            samples.extend(bytes(start - len(samples)))
        overlap = samples[start:end]
        if overlap and self._ssrc != ssrc:
            pcm = _sum(bytes(overlap), pcm[: len(overlap)]) + pcm[len(overlap) :]
        samples[start:end] = pcm
        self._ssrc = ssrc

    @property
    def pcm(self) -> bytes:
        """All of it."""
        return bytes(self._samples)


def _sum(one: bytes, other: bytes) -> bytes:
    """Both together, as loud as samples can be at most; they have the same length."""
    if not any(one):
        return other
    pairs = zip(array("h", one), array("h", other), strict=True)
    return array("h", [max(-32768, min(32767, a + b)) for a, b in pairs]).tobytes()
