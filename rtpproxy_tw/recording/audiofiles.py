"""Sound files: WAV, AU and raw samples by ourselves, others by the library that decodes, too.

What only the original's tool makes otherwise is left to the library it uses itself.
"""

from __future__ import annotations

import io
import struct
from array import array
from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any, NamedTuple

from rtpproxy_tw.recording import pcm, sndfile


class FormatError(Exception):
    """A kind of file that cannot be made; the text says why."""


class Sound(NamedTuple):
    """Interleaved 16-bit samples."""

    samples: bytes
    rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / (2 * self.channels * self.rate)


class _Coding(NamedTuple):
    bits: int
    wav: int
    """WAVE_FORMAT tag."""
    au: int
    """Encoding number; 0: none."""
    encode: Callable[[bytes], bytes]
    """From samples in host order to octets as in WAV."""


def _to_u8(samples: bytes) -> bytes:
    return bytes([(sample >> 8) + 128 for sample in array("h", samples)])


CODINGS = {
    "pcm_16": _Coding(16, 1, 3, pcm.little_endian),
    "pcm_u8": _Coding(8, 1, 0, _to_u8),
    "ulaw": _Coding(8, 7, 1, lambda samples: pcm.to_codes(samples, pcm.MULAW)),
    "alaw": _Coding(8, 6, 27, lambda samples: pcm.to_codes(samples, pcm.ALAW)),
}
"""By the names that ``-D`` knows."""

PLAIN = ("wav", "au", "raw")
"""Containers made here, by the names that ``-F`` knows."""


class _Encoded(NamedTuple):
    container: str
    codings: dict[str, str]
    """Encoders of the library; the first one is the default."""


_PCM = {"pcm_16": "pcm_s16le", "pcm_24": "pcm_s24le", "pcm_32": "pcm_s32le", "float": "pcm_f32le"}

BY_LIBRARY = {
    "mp3": _Encoded("mp3", {"mp3": "libmp3lame"}),
    "opus": _Encoded("ogg", {"opus": "libopus"}),
    "ogg": _Encoded("ogg", {"opus": "libopus"}),
    "flac": _Encoded("flac", {"pcm_16": "flac"}),
    "aiff": _Encoded("aiff", {"pcm_16": "pcm_s16be"}),
    "w64": _Encoded("w64", _PCM),
    "caf": _Encoded("caf", {"pcm_16": "pcm_s16le"}),
    "wav": _Encoded("wav", {**_PCM, "ms_adpcm": "adpcm_ms", "ima_adpcm": "adpcm_ima_wav"}),
}
"""Containers, and codings of them, that the library makes."""

CONTAINERS = tuple(dict.fromkeys((*PLAIN, *BY_LIBRARY, *sndfile.CONTAINERS)))

_BIT_RATE = 32_000
"""Of one channel, for encoders that leave something out: enough for all of a telephone's band."""

_LOSSY = ("libmp3lame", "libopus")

_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


def container_of(name: str) -> str:
    """What a file of that name is to be: by its ending, else WAV."""
    ending = name.rpartition(".")[2].lower()
    return ending if ending in CONTAINERS else "wav"


def check(container: str, coding: str | None) -> None:
    """Raises FormatError where no such file can be made, or not by what is installed."""
    if container not in CONTAINERS:
        raise FormatError(f"{container}: files can be {', '.join(CONTAINERS)}")
    if _is_ours(container, coding) or _is_of_library(container, coding):
        return
    ours = [*_ours(container), *_of_library(container)]
    if container not in sndfile.CONTAINERS or coding not in (None, *sndfile.CODINGS):
        able = dict.fromkeys(ours + [each for each in sndfile.CODINGS if not ours])
        raise FormatError(f"{coding}: what is in a {container} file can be {', '.join(able)}")
    try:
        sndfile.coding_of(container, coding)
    except sndfile.Unavailable as error:
        raise FormatError(f"{container}, {coding or 'without -D'}: {error}") from error


def _ours(container: str) -> list[str]:
    """What we put into it."""
    if container not in PLAIN:
        return []
    return [name for name, each in CODINGS.items() if each.au or container != "au"]


def _of_library(container: str) -> Collection[str]:
    return BY_LIBRARY[container].codings if container in BY_LIBRARY else ()


def _is_ours(container: str, coding: str | None) -> bool:
    return container in PLAIN and (coding is None or coding in _ours(container))


def _is_of_library(container: str, coding: str | None) -> bool:
    return container in BY_LIBRARY and (coding is None or coding in _of_library(container))


def made(sound: Sound, container: str, coding: str | None = None) -> bytes:
    """The file. ``coding`` None: the container's default. Raises FormatError."""
    check(container, coding)
    if _is_ours(container, coding):
        return _plain(sound, container, CODINGS[coding or "pcm_16"])
    if _is_of_library(container, coding):
        return _by_library(sound, BY_LIBRARY[container], coding)
    try:
        return sndfile.made(sound.samples, sound.rate, sound.channels, container, coding)
    except sndfile.Unavailable as error:
        raise FormatError(str(error)) from error


def _plain(sound: Sound, container: str, coding: _Coding) -> bytes:
    data = coding.encode(sound.samples)
    match container:
        case "raw":
            return data
        case "au":
            if coding.bits == 16:
                data = pcm.swapped(data)
            size = min(len(data), 0xFFFFFFFF)
            shape = (sound.rate, sound.channels)
            return struct.pack("!4sIIIII", b".snd", 24, size, coding.au, *shape) + data
    return _wav(sound, coding, data)


def _wav(sound: Sound, coding: _Coding, data: bytes) -> bytes:
    frame = sound.channels * coding.bits // 8
    rate = sound.rate
    head = struct.pack(
        "<HHIIHH", coding.wav, sound.channels, rate, rate * frame, frame, coding.bits
    )
    chunks = [(b"fmt ", head if coding.wav == 1 else head + b"\0\0")]
    if coding.wav != 1:
        # What is not PCM has to tell its number of samples (Multimedia Data Standards Update).
        chunks.append((b"fact", struct.pack("<I", len(data) // frame & 0xFFFFFFFF)))
    chunks.append((b"data", data))
    body = b"".join(
        name + struct.pack("<I", len(content)) + content + bytes(len(content) & 1)
        for name, content in chunks
    )
    if len(body) > 0xFFFFFFF0:
        raise FormatError("wav: more than 4 GB do not fit; use w64 or flac")
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


def _by_library(sound: Sound, kind: _Encoded, coding: str | None) -> bytes:
    try:
        av: Any = import_module("av")
    except ImportError as error:
        raise FormatError(
            f"{kind.container} files are made by PyAV: pip install rtpproxy-tw[audio]"
        ) from error
    file = io.BytesIO()
    try:
        with av.open(file, "w", format=kind.container) as container:
            encoder = kind.codings[coding] if coding else next(iter(kind.codings.values()))
            _feed(av, container, encoder, sound)
    except (av.FFmpegError, ValueError) as error:
        raise FormatError(f"{kind.container}: {error}") from error
    return file.getvalue()


def _feed(av: Any, container: Any, encoder: str, sound: Sound) -> None:
    """Encode all of it, a second at a time."""
    rate = sound.rate
    if encoder == "libopus":
        rate = next((each for each in _OPUS_RATES if each >= rate), 48000)
    stream = container.add_stream(encoder, rate=rate)
    stream.layout = "stereo" if sound.channels == 2 else "mono"
    if encoder in _LOSSY:
        stream.bit_rate = _BIT_RATE * sound.channels
    frame = 2 * sound.channels
    for at in range(0, len(sound.samples), frame * sound.rate):
        part = sound.samples[at : at + frame * sound.rate]
        piece = av.AudioFrame(format="s16", layout=stream.layout.name, samples=len(part) // frame)
        piece.sample_rate, piece.pts = sound.rate, at // frame
        piece.planes[0].update(part.ljust(piece.planes[0].buffer_size, b"\0"))
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))
