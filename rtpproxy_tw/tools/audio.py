"""Sound files in, telephone codecs out, as far as that needs no library; PyAV for the rest.

Samples are ``array("h")``: signed 16 bits, one channel.
"""

from __future__ import annotations

import importlib
import math
import sys
import wave
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from operator import mul
from typing import Any, NamedTuple

ZERO_CROSSINGS = 16
"""Of the resampling filter's sinc, on each side: aliases stay below about -60 dB."""

RAW_SUFFIXES = (".raw", ".sln", ".slin", ".s16", ".pcm")
"""Names of files without a header: signed 16 bits, little-endian, 8,000 a second."""

RAW_RATE = 8000


class AudioError(Exception):
    """A file or codec that cannot be had; the text is for the user."""


class Sound(NamedTuple):
    """Samples, so many a second."""

    samples: array[int]
    rate: int


def library() -> Any:
    """PyAV, or None."""
    try:
        return importlib.import_module("av")
    except ImportError:
        return None


def read(path: str, rate: int, *, raw: bool = False) -> Sound:
    """The sound in ``path``; ``rate`` is what is wanted, if that can be chosen. Raises AudioError.

    ``raw``: without a header, whatever the name says.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(12)
        if raw or path.lower().endswith(RAW_SUFFIXES):
            return _read_raw(path)
        if start[:4] == b"RIFF" and start[8:] == b"WAVE":
            try:
                return _read_wave(path)
            except wave.Error as error:
                if library() is None:
                    raise AudioError(f"{path}: {error}; PyAV may know it ({HOW})") from error
        return _read_any(path, rate)
    except (OSError, EOFError) as error:
        raise AudioError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


HOW = "pip install 'rtpproxy-tw[audio]'"


def _read_raw(path: str) -> Sound:
    with open(path, "rb") as file:
        octets = file.read()
    return Sound(_little_endian(octets[: len(octets) // 2 * 2]), RAW_RATE)


def _read_wave(path: str) -> Sound:
    with wave.open(path, "rb") as file:
        width, channels = file.getsampwidth(), file.getnchannels()
        octets = file.readframes(file.getnframes())
    frames = len(octets) // (width * channels)
    octets = octets[: frames * width * channels]
    if width == 1:  # the only unsigned one
        samples = array("h", ((octet - 128) << 8 for octet in octets))
    else:
        # The two most significant octets of each sample are its last ones.
        kept = bytearray(2 * frames * channels)
        kept[0::2], kept[1::2] = octets[width - 2 :: width], octets[width - 1 :: width]
        samples = _little_endian(bytes(kept))
    if channels > 1:
        each = [samples[number::channels] for number in range(channels)]
        samples = array("h", (sum(one) // channels for one in zip(*each, strict=True)))
    with wave.open(path, "rb") as file:
        return Sound(samples, file.getframerate())


def _read_any(path: str, rate: int) -> Sound:
    av = library()
    if av is None:
        raise AudioError(f"{path}: neither WAV nor raw; other formats need PyAV ({HOW})")
    try:
        with av.open(path) as container:
            if not container.streams.audio:
                raise AudioError(f"{path}: there is no sound in it")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
            octets = bytearray()
            for frame in (*container.decode(audio=0), None):
                for made in resampler.resample(frame):
                    octets += bytes(made.planes[0])[: made.samples * 2]
    except av.FFmpegError as error:
        raise AudioError(f"{path}: {error}") from error
    samples = array("h")
    samples.frombytes(bytes(octets))
    return Sound(samples, rate)


def resampled(sound: Sound, rate: int) -> array[int]:
    """``sound`` with ``rate`` samples a second, band-limited (a windowed sinc, in phases)."""
    if sound.rate == rate or not sound.samples:
        return sound.samples
    common = math.gcd(rate, sound.rate)
    up, down = rate // common, sound.rate // common
    # Towards a lower rate the filter is that much longer, and cuts that much lower.
    stretch = max(1.0, down / up)
    reach = math.ceil(ZERO_CROSSINGS * stretch)
    padded = array("h", bytes(2 * reach)) + sound.samples + array("h", bytes(2 * (reach + 1)))

    @cache
    def taps(phase: int) -> tuple[float, ...]:
        weights = [_kernel((at - phase / up) / stretch) for at in range(1 - reach, reach + 1)]
        total = sum(weights)
        return tuple(weight / total for weight in weights)

    made = array("h")
    for number in range(len(sound.samples) * up // down):
        at, phase = divmod(number * down, up)
        window = padded[at + 1 : at + 1 + 2 * reach]
        value = round(sum(map(mul, taps(phase), window)))
        made.append(max(-32768, min(32767, value)))
    return made


def _kernel(x: float) -> float:
    """A sinc under a raised-cosine (Hann) window."""
    if abs(x) >= ZERO_CROSSINGS:
        return 0.0
    if x == 0:
        return 1.0
    angle = math.pi * x
    return math.sin(angle) / angle * (0.5 + 0.5 * math.cos(angle / ZERO_CROSSINGS))


def mulaw(samples: Sequence[int]) -> bytes:
    """ITU-T G.711, mu-law."""
    return _companded(samples, _mulaw_table())


def alaw(samples: Sequence[int]) -> bytes:
    """ITU-T G.711, A-law."""
    return _companded(samples, _alaw_table())


def big_endian(samples: array[int]) -> bytes:
    """As L16 wants them (RFC 3551 section 4.5.11)."""
    made = array("h", samples)
    if sys.byteorder == "little":
        made.byteswap()
    return made.tobytes()


def _companded(samples: Sequence[int], table: bytes) -> bytes:
    return bytes(table[sample & 0xFFFF] for sample in samples)


@cache
def _mulaw_table() -> bytes:
    return bytes(map(_mulaw, _all_samples()))


@cache
def _alaw_table() -> bytes:
    return bytes(map(_alaw, _all_samples()))


def _all_samples() -> Iterator[int]:
    """In the order of their two octets as an unsigned number."""
    yield from range(32768)
    yield from range(-32768, 0)


def _mulaw(sample: int) -> int:
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), 32635) + 132
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | magnitude >> (exponent + 3) & 0x0F) & 0xFF


def _alaw(sample: int) -> int:
    sign = 0x80 if sample >= 0 else 0
    magnitude = (sample if sample >= 0 else ~sample) >> 4
    exponent = max(0, magnitude.bit_length() - 4)
    mantissa = (magnitude >> max(0, exponent - 1)) & 0x0F
    return (sign | exponent << 4 | mantissa) ^ 0x55


def _little_endian(octets: bytes) -> array[int]:
    samples = array("h")
    samples.frombytes(octets)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def encoder(names: Sequence[str], rate: int, bit_rate: int) -> Callable[[array[int]], bytes] | None:
    """What encodes by the first of PyAV's codecs in ``names`` that is there; None: none is."""
    av = library()
    for name in names if av is not None else ():
        try:
            context = av.CodecContext.create(name, "w")
            context.sample_rate, context.layout, context.format = rate, "mono", "s16"
            context.bit_rate = bit_rate
            context.open()
        except (ValueError, av.FFmpegError):
            continue
        return lambda samples: _encoded(av, context, samples)
    return None


def _encoded(av: Any, context: Any, samples: array[int]) -> bytes:
    size = context.frame_size or 320
    out = bytearray()
    for at in range(0, len(samples), size):
        some = samples[at : at + size]
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(some))
        frame.sample_rate, frame.pts = context.sample_rate, at
        octets = some.tobytes()
        # A plane may be longer than what is in it.
        frame.planes[0].update(octets + bytes(frame.planes[0].buffer_size - len(octets)))
        for made in context.encode(frame):
            out += bytes(made)
    for made in context.encode(None):
        out += bytes(made)
    return bytes(out)
