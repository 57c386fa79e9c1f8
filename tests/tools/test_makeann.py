"""Prompts made of sound files: what is in them is what was in the file."""

from __future__ import annotations

import math
import struct
import wave
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rtpproxy_tw.tools import audio, makeann
from rtpproxy_tw.tools.audio import Sound, alaw, library, mulaw, resampled
from rtpproxy_tw.tools.makeann import main
from rtpproxy_tw.tools.speech import mulaw as reference_mulaw

needs_av = pytest.mark.skipif(library() is None, reason="PyAV is not installed")

TONE = 1000
"""Hertz."""


def sine(rate: int, seconds: float = 0.5, hertz: int = TONE, loud: int = 8000) -> array[int]:
    step = 2 * math.pi * hertz / rate
    return array("h", (round(loud * math.sin(step * n)) for n in range(round(rate * seconds))))


def power(samples: Sequence[int], rate: int, hertz: float) -> float:
    """What share of the power is at ``hertz`` (the Goertzel way, without its tricks)."""
    step = 2 * math.pi * hertz / rate
    real = sum(sample * math.cos(step * n) for n, sample in enumerate(samples))
    imaginary = sum(sample * math.sin(step * n) for n, sample in enumerate(samples))
    total = sum(sample * sample for sample in samples) * len(samples) / 2
    return (real * real + imaginary * imaginary) / total


def write_wave(
    path: Path, samples: array[int], rate: int, *, width: int = 2, channels: int = 1
) -> str:
    pieces = []
    for sample in samples:
        one = {
            1: bytes(((sample >> 8) + 128,)),
            2: struct.pack("<h", sample),
            3: struct.pack("<i", sample << 16)[1:],
            4: struct.pack("<i", sample << 16),
        }[width]
        pieces.append(one * channels)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(b"".join(pieces))
    return str(path)


def from_mulaw(octets: bytes) -> list[int]:
    """ITU-T G.711 the other way."""
    out = []
    for octet in octets:
        octet = ~octet & 0xFF
        magnitude = (((octet & 0x0F) << 3) + 132 << (octet >> 4 & 7)) - 132
        out.append(-magnitude if octet & 0x80 else magnitude)
    return out


def from_alaw(octets: bytes) -> list[int]:
    out = []
    for octet in octets:
        octet ^= 0x55
        exponent, mantissa = octet >> 4 & 7, octet & 0x0F
        magnitude = (mantissa << 4) + 8 if not exponent else (mantissa << 4) + 264 << exponent - 1
        out.append(magnitude if octet & 0x80 else -magnitude)
    return out


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
def test_a_wave_file_of_any_rate_becomes_pcmu_and_pcma(tmp_path: Path, rate: int) -> None:
    source = write_wave(tmp_path / "in.wav", sine(rate), rate)
    assert main([source, str(tmp_path / "p"), "-c", "pcmu,pcma"]) == 0
    for suffix, decode in ((".0", from_mulaw), (".8", from_alaw)):
        octets = (tmp_path / f"p{suffix}").read_bytes()
        assert abs(len(octets) - 4000) <= 1
        assert power(decode(octets), 8000, TONE) > 0.98
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.wav", "p.0", "p.8"]


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_all_widths_of_pcm_and_two_channels_are_read(
    tmp_path: Path, width: int, channels: int
) -> None:
    source = write_wave(tmp_path / "in.wav", sine(8000), 8000, width=width, channels=channels)
    sound = audio.read(source, 8000)
    assert (len(sound.samples), sound.rate) == (4000, 8000)
    assert power(sound.samples, 8000, TONE) > 0.98


def test_raw_input_is_taken_as_the_original_takes_it(tmp_path: Path) -> None:
    samples = sine(8000)
    for name, options in (("in.sln", []), ("in.wav", ["--raw"])):
        (tmp_path / name).write_bytes(samples.tobytes())
        assert main([*options, "-c", "pcmu", str(tmp_path / name)]) == 0
        assert (tmp_path / f"{name}.0").read_bytes() == mulaw(samples)


def test_l16_is_big_endian_at_its_own_rate(tmp_path: Path) -> None:
    source = write_wave(tmp_path / "in.wav", sine(44100), 44100)
    assert main(["-c", "l16", source, str(tmp_path / "p")]) == 0
    samples = array("h", (tmp_path / "p.11").read_bytes())
    samples.byteswap()
    assert len(samples) % 441 == 0
    assert samples[:22050] == sine(44100)


def test_a_limit_cuts_and_a_loop_repeats_up_to_it(tmp_path: Path) -> None:
    source = write_wave(tmp_path / "in.wav", sine(8000, 0.1), 8000)
    for options, octets in (
        (["-l", "500"], 500),
        (["-l", "2000"], 800),
        (["-l", "2000", "-L"], 2000),
    ):
        assert main([*options, "-c", "pcmu", source]) == 0
        assert len((tmp_path / "in.wav.0").read_bytes()) == octets


def test_a_loop_needs_a_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-L", "x"]) == 1
    assert "needs a limit" in capsys.readouterr().err


def test_g729_says_that_there_is_no_encoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_wave(tmp_path / "in.wav", sine(8000), 8000)
    assert main(["-c", "g729", source]) == 1
    assert "no encoder for G.729" in capsys.readouterr().err
    assert not (tmp_path / "in.wav.18").exists()


def test_without_the_library_the_plain_codecs_are_made_and_the_others_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (audio, makeann):
        monkeypatch.setattr(module, "library", lambda: None)
    source = write_wave(tmp_path / "in.wav", sine(8000), 8000)
    assert main([source]) == 0
    assert (tmp_path / "in.wav.8").exists()
    assert "no g722: that takes PyAV" in capsys.readouterr().err
    (tmp_path / "in.ogg").write_bytes(b"OggS" + bytes(40))
    assert main([str(tmp_path / "in.ogg")]) == 1
    assert "need PyAV" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"", b"RIFF", b"RIFF\0\0\0\0WAVE", bytes(100)])
def test_a_file_that_cannot_be_read_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    path = tmp_path / "in.wav"
    if content is not None:
        path.write_bytes(content)
    assert main([str(path)]) == 1
    assert str(path) in capsys.readouterr().err


def decoded(name: str, octets: bytes, rate: int) -> list[int]:
    """What PyAV makes of raw frames."""
    av: Any = library()
    context = av.CodecContext.create(name, "r")
    context.sample_rate, context.layout = rate, "mono"
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    out = array("h")
    size = {"g722": 160, "g723_1": 24, "gsm": 33}[name]
    for at in range(0, len(octets), size):
        for frame in context.decode(av.Packet(octets[at : at + size])):
            for made in resampler.resample(frame):
                out.frombytes(bytes(made.planes[0])[: made.samples * 2])
    return list(out)


@needs_av
@pytest.mark.parametrize(
    "name, suffix, codec, rate, octets",
    [
        ("g722", 9, "g722", 16000, 4000),
        ("g723", 4, "g723_1", 8000, 408),
        ("gsm", 3, "gsm", 8000, 825),
    ],
)
def test_codecs_of_the_library_sound_like_the_input(
    tmp_path: Path, name: str, suffix: int, codec: str, rate: int, octets: int
) -> None:
    if makeann._encoder(name) is None:
        pytest.skip(makeann._why_not(name))
    source = write_wave(tmp_path / "in.wav", sine(16000), 16000)
    assert main(["-c", name, source, str(tmp_path / "p")]) == 0
    content = (tmp_path / f"p.{suffix}").read_bytes()
    assert len(content) == octets
    heard = decoded(codec, content, rate)
    assert power(heard[rate // 10 :], rate, TONE) > 0.8


@needs_av
def test_other_formats_are_read_by_the_library(tmp_path: Path) -> None:
    av: Any = library()
    path = tmp_path / "in.flac"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=48000, layout="mono")
        samples = sine(48000)
        for at in range(0, len(samples), 4608):
            some = samples[at : at + 4608]
            frame = av.AudioFrame(format="s16", layout="mono", samples=len(some))
            frame.sample_rate, frame.pts = 48000, at
            octets = some.tobytes()
            frame.planes[0].update(octets + bytes(frame.planes[0].buffer_size - len(octets)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert main(["-c", "pcmu", str(path), str(tmp_path / "p")]) == 0
    assert power(from_mulaw((tmp_path / "p.0").read_bytes()), 8000, TONE) > 0.98


def test_both_companding_laws_come_near_every_sample() -> None:
    for encode, decode in ((mulaw, from_mulaw), (alaw, from_alaw)):
        for sample in range(-32768, 32768, 7):
            (got,) = decode(encode([sample]))
            assert abs(got - sample) <= max(16, abs(sample) * 0.07)
    assert mulaw(range(-32768, 32768)) == bytes(map(reference_mulaw, range(-32768, 32768)))


def test_resampling_keeps_what_fits_and_drops_what_does_not() -> None:
    for hertz, kept in ((400, True), (3000, True), (5000, False), (7000, False)):
        samples = resampled(Sound(sine(48000, 0.2, hertz), 48000), 8000)[100:-100]
        rms = math.sqrt(sum(sample * sample for sample in samples) / len(samples))
        assert (rms > 5000) if kept else (rms < 30)
