"""Tones as payloads of many codecs, as far as encoders are installed."""

from __future__ import annotations

import ctypes
import io
import math
from array import array
from ctypes.util import find_library
from typing import Any

from rtpproxy_tw.tools.libgsm import OCTETS, gsm_encoder

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


def amr(frames: list[bytes], *, aligned: bool, bits: int = 244) -> list[bytes]:
    """Storage frames of ``bits`` bits each as payloads (RFC 4867 sections 4.3 and 4.4)."""
    if aligned:
        return [b"\xf0" + frame for frame in frames]
    packed = []
    size = (10 + bits + 7) // 8
    for frame in frames:
        speech = int.from_bytes(frame[1:], "big") >> -bits % 8
        toc = frame[0] >> 2 & 0x1F
        value = ((0xF << 6 | toc) << bits | speech) << 8 * size - 10 - bits
        packed.append(value.to_bytes(size, "big"))
    return packed


def library(name: str, file: str) -> ctypes.CDLL | None:
    """The system's, if it is installed."""
    try:
        return ctypes.CDLL(find_library(name) or file)
    except OSError:
        return None


def amr_nb(av: Any) -> list[bytes] | None:
    """A second of tone as storage frames of 20 ms, of 12.2 kbit/s; None without an encoder.

    PyAV has had it up to version 18; what decodes is in all of them.
    """
    if "libopencore_amrnb" not in av.codecs_available:
        return None
    return encoded(av, "libopencore_amrnb", 8000, 160, 12200)


def amr_wb(mode: int = 2) -> list[bytes] | None:
    """A second of tone as storage frames of 20 ms, of 12.65 kbit/s; None without an encoder."""
    encoder = library("vo-amrwbenc", "libvo-amrwbenc.so.0")
    if encoder is None:
        return None
    encoder.E_IF_init.restype = ctypes.c_void_p
    text = ctypes.c_char_p
    encoder.E_IF_encode.argtypes = [ctypes.c_void_p, ctypes.c_int, text, text, ctypes.c_int]
    encoder.E_IF_exit.argtypes = [ctypes.c_void_p]
    state = encoder.E_IF_init()
    samples, found = sine(16000), []
    for at in range(0, 16000, 320):
        out = ctypes.create_string_buffer(64)
        size = encoder.E_IF_encode(state, mode, samples[at : at + 320].tobytes(), out, 0)
        found.append(out.raw[:size])
    encoder.E_IF_exit(state)
    return found


def speex(wide: bool) -> list[bytes] | None:
    """A second of tone, 20 ms a payload (RFC 5574 section 3.3); None without an encoder."""
    encoder = library("speex", "libspeex.so.1")
    if encoder is None:
        return None
    pointer = ctypes.c_void_p
    encoder.speex_lib_get_mode.restype = pointer
    encoder.speex_encoder_init.restype = pointer
    encoder.speex_encoder_init.argtypes = [pointer]
    encoder.speex_encode_int.argtypes = [pointer, ctypes.c_char_p, pointer]
    encoder.speex_encoder_destroy.argtypes = [pointer]
    rate, size = (16000, 320) if wide else (8000, 160)
    state = encoder.speex_encoder_init(encoder.speex_lib_get_mode(int(wide)))
    bits = ctypes.create_string_buffer(128)  # more than its structure needs
    encoder.speex_bits_init(bits)
    samples, found = sine(rate), []
    for at in range(0, rate, size):
        encoder.speex_bits_reset(bits)
        encoder.speex_encode_int(state, samples[at : at + size].tobytes(), bits)
        encoder.speex_bits_insert_terminator(bits)
        out = ctypes.create_string_buffer(200)
        octets = encoder.speex_bits_write(bits, out, 200)
        found.append(out.raw[:octets])
    encoder.speex_bits_destroy(bits)
    encoder.speex_encoder_destroy(state)
    return found


TONES_OF_400_HERTZ = {
    "ILBC 20 ms": "25027b50bfb39027722979b81b7afbdf4003d7c600089abe1405d062da1b76b75dd238ac4512",
    "ILBC 30 ms": "7d266b8643b708368c55f00df5003fdedb9872a3fe0858bf78de430b7fff618279afe7"
    "6f3c497590720504f9ee9efc19b85c",
    "G723 5.3": "ad318c911bbfb4f7532fe5198d524576965afda0",
}
"""Frames for which there is no encoder. The tone has a whole number of periods in each, so that the
same frame again and again can be a tone. They were found by turning bits over, beginning anywhere,
and keeping what made the tone purer."""


def gsm() -> list[bytes] | None:
    """A second of tone, 20 ms a payload; None without an encoder."""
    encode = gsm_encoder()
    if encode is None:
        return None
    octets = encode(sine(8000))
    return [octets[at : at + OCTETS] for at in range(0, len(octets), OCTETS)]


def g729(samples: array[int], *, pauses: bool = False) -> list[bytes] | None:
    """Frames of 10 ms, with ``pauses`` those of Annex B as well; None without an encoder."""
    encoder = library("bcg729", "libbcg729.so.0")
    if encoder is None:
        return None
    encoder.initBcg729EncoderChannel.restype = ctypes.c_void_p
    encoder.initBcg729EncoderChannel.argtypes = [ctypes.c_uint8]
    pointer = ctypes.c_void_p
    encoder.bcg729Encoder.argtypes = [pointer, ctypes.c_char_p, pointer, pointer]
    encoder.closeBcg729EncoderChannel.argtypes = [ctypes.c_void_p]
    channel = encoder.initBcg729EncoderChannel(int(pauses))
    found = []
    for at in range(0, len(samples), 80):
        out, size = ctypes.create_string_buffer(16), ctypes.c_uint8()
        pcm = samples[at : at + 80].tobytes()
        encoder.bcg729Encoder(channel, pcm, out, ctypes.byref(size))
        found.append(out.raw[: size.value])
    encoder.closeBcg729EncoderChannel(channel)
    return found
