"""Tones as payloads of many codecs, as far as encoders are installed."""

from __future__ import annotations

import ctypes
import io
import math
from array import array
from ctypes.util import find_library
from typing import Any

HERTZ = 440


def sine(rate: int, seconds: float = 1.0, hertz: float = HERTZ) -> array[int]:
    """A tone."""
    step = 2 * math.pi * hertz / rate
    return array("h", [round(8000 * math.sin(step * n)) for n in range(round(rate * seconds))])


def encoded(av: Any, name: str, rate: int, frame: int, bit_rate: int = 0) -> list[bytes]:
    """A second of tone, encoded by the library frame by frame."""
    context = av.CodecContext.create(name, "w")
    context.sample_rate = rate
    context.layout = "mono"
    context.format = "s16"
    if bit_rate:
        context.bit_rate = bit_rate
    context.open()
    size = context.frame_size or frame
    samples, found = sine(rate), []
    for at in range(0, len(samples) - size + 1, size):
        sound = av.AudioFrame(format="s16", layout="mono", samples=size)
        sound.sample_rate, sound.pts = rate, at
        sound.planes[0].update(samples[at : at + size].tobytes())
        found += [bytes(packet) for packet in context.encode(sound)]
    return found


def g726(av: Any, bits: int) -> list[bytes]:
    """A second of tone in packets of 20 ms."""
    file = io.BytesIO()
    with av.open(file, "w", format="g726le") as container:
        stream = container.add_stream("g726le", rate=8000, options={"code_size": str(bits)})
        stream.layout = "mono"
        samples = sine(8000)
        sound = av.AudioFrame(format="s16", layout="mono", samples=len(samples))
        sound.sample_rate, sound.pts = 8000, 0
        sound.planes[0].update(samples.tobytes())
        for packet in [*stream.encode(sound), *stream.encode(None)]:
            container.mux(packet)
    octets, size = file.getvalue(), 20 * bits
    return [octets[at : at + size] for at in range(0, len(octets) - size + 1, size)]


def amr(frames: list[bytes], *, aligned: bool) -> list[bytes]:
    """Storage frames of 12.2 kbit/s as payloads (RFC 4867 sections 4.3 and 4.4)."""
    if aligned:
        return [b"\xf0" + frame for frame in frames]
    packed = []
    for frame in frames:
        speech = int.from_bytes(frame[1:], "big") >> 4
        value = ((0xF << 6 | 7 << 1 | 1) << 244 | speech) << 2
        packed.append(value.to_bytes(32, "big"))
    return packed


def g729() -> list[bytes] | None:
    """A second of tone, and 10 ms frames; None without an encoder."""
    name = find_library("bcg729") or "libbcg729.so.0"
    try:
        library = ctypes.CDLL(name)
    except OSError:
        return None
    library.initBcg729EncoderChannel.restype = ctypes.c_void_p
    library.initBcg729EncoderChannel.argtypes = [ctypes.c_uint8]
    pointer = ctypes.c_void_p
    library.bcg729Encoder.argtypes = [pointer, ctypes.c_char_p, pointer, pointer]
    library.closeBcg729EncoderChannel.argtypes = [ctypes.c_void_p]
    channel = library.initBcg729EncoderChannel(0)
    samples, found = sine(8000), []
    for at in range(0, 8000, 80):
        out, size = ctypes.create_string_buffer(16), ctypes.c_uint8()
        pcm = samples[at : at + 80].tobytes()
        library.bcg729Encoder(channel, pcm, out, ctypes.byref(size))
        found.append(out.raw[:10])
    library.closeBcg729EncoderChannel(channel)
    return found
