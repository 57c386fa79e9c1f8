"""Sound files other programs can read."""

from __future__ import annotations

import io
import struct
import sys
import wave
from array import array
from typing import Any

import pytest

from rtpproxy_tw.recording import pcm, sndfile
from rtpproxy_tw.recording.audiofiles import (
    BY_LIBRARY,
    FormatError,
    Sound,
    container_of,
    made,
)
from tests.recording.encoding import sine
from tests.recording.talking import power

TONE = sine(8000).tobytes()
MONO = Sound(TONE, 8000, 1)
STEREO = Sound(pcm.interleaved(TONE, bytes(len(TONE))), 8000, 2)


def test_wav_is_read_by_the_standard_library() -> None:
    for sound in (MONO, STEREO, Sound(b"", 16000, 1)):
        with wave.open(io.BytesIO(made(sound, "wav"))) as file:
            assert file.getnchannels() == sound.channels
            assert file.getframerate() == sound.rate
            found = file.readframes(file.getnframes())
        assert pcm.little_endian(found) == sound.samples


@pytest.mark.parametrize("coding, tag", [("ulaw", 7), ("alaw", 6), ("pcm_u8", 1)])
def test_wav_can_hold_other_codings(coding: str, tag: int) -> None:
    file = made(MONO, "wav", coding)
    assert struct.unpack("<H", file[20:22]) == (tag,)
    assert struct.unpack("<I", file[4:8])[0] == len(file) - 8
    assert len(file) - 8000 in (44, 46 + 12)
    if coding == "ulaw":
        assert power(array("h", pcm.from_mulaw(file[-8000:])), 440, 8000) > 0.99


def test_au_and_raw_are_made_too() -> None:
    file = made(MONO, "au")
    assert struct.unpack("!4sIIIII", file[:24]) == (b".snd", 24, 16000, 3, 8000, 1)
    assert pcm.from_l16(file[24:]) == TONE
    assert made(MONO, "raw") == pcm.little_endian(TONE)


@pytest.mark.parametrize(
    "container, coding",
    [(name, coding) for name, kind in BY_LIBRARY.items() for coding in kind.codings],
)
@pytest.mark.parametrize("sound", [MONO, STEREO], ids=["mono", "stereo"])
def test_the_library_reads_what_it_makes(container: str, coding: str, sound: Sound) -> None:
    av = pytest.importorskip("av", reason="PyAV, which encodes, is not installed")
    file = made(sound, container, coding)
    resampler = av.AudioResampler(format="s16", layout="stereo", rate=8000)
    samples = array("h")
    with av.open(io.BytesIO(file)) as opened:
        for frame in opened.decode(audio=0):
            frame.pts = None
            for part in resampler.resample(frame):
                samples.frombytes(bytes(part.planes[0])[: 4 * part.samples])
    left = samples[0::2]
    assert abs(len(left) - 8000) < 8000 * 0.35
    assert power(left[2000:6000], 440, 8000) > 0.9
    if sound is STEREO:
        assert max(samples[1::2][2000:6000]) < 1000


def test_the_kind_follows_from_the_name() -> None:
    assert [container_of(name) for name in ("a.mp3", "b.WAV", "c", "d.dir/e.xyz", "f.opus")] == [
        "mp3",
        "wav",
        "wav",
        "wav",
        "opus",
    ]


@pytest.mark.parametrize(
    "container, coding",
    [
        ("xyz", None),
        ("sd2", None),
        ("wav", "mp3"),
        ("au", "vorbis"),
        ("mp3", "pcm_16"),
        ("raw", "ms_adpcm"),
    ],
)
def test_what_cannot_be_made_is_told_with_what_can(container: str, coding: str | None) -> None:
    with pytest.raises(FormatError, match="can be"):
        made(MONO, container, coding)


def test_without_the_library_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(FormatError, match=r"rtpproxy-tw\[audio\]"):
        made(MONO, "mp3")


ONE_CHANNEL = {"svx", "xi", "htk", "sds", "wve"}
"""Kinds that libsndfile makes with one channel only."""


@pytest.mark.parametrize("container", sndfile.CONTAINERS)
@pytest.mark.parametrize("sound", [MONO, STEREO], ids=["mono", "stereo"])
def test_every_kind_of_file_of_the_original_is_made(container: str, sound: Sound) -> None:
    soundfile: Any = pytest.importorskip("soundfile", reason="libsndfile is not installed")
    if container in ONE_CHANNEL and sound is STEREO:
        with pytest.raises(FormatError, match="two channels"):
            made(sound, container)
        return
    coding = "vorbis" if container == "ogg" else None
    file = io.BytesIO(made(sound, container, coding))
    shape: dict[str, Any] = {}
    if container == "raw":
        shape = {"samplerate": 8000, "channels": sound.channels, "subtype": "PCM_16"}
        shape["format"] = "RAW"
    with soundfile.SoundFile(file, **shape) as opened:
        assert opened.channels == sound.channels
        samples = array("h", bytes(opened.buffer_read(8000, dtype="int16")))
    assert power(samples[:: sound.channels][2000:6000], 440, 8000) > 0.95


@pytest.mark.parametrize("coding", ["gsm610", "ms_adpcm", "ima_adpcm", "g721_32", "double"])
def test_what_the_original_puts_into_wav_is_put_there(coding: str) -> None:
    soundfile: Any = pytest.importorskip("soundfile", reason="libsndfile is not installed")
    with soundfile.SoundFile(io.BytesIO(made(MONO, "wav", coding))) as opened:
        assert opened.subtype == coding.upper()
        samples = array("h", bytes(opened.buffer_read(8000, dtype="int16")))
    assert power(samples[2000:6000], 440, 8000) > 0.95


def test_a_coding_no_such_file_has_is_told_with_those_it_can_have() -> None:
    pytest.importorskip("soundfile", reason="libsndfile is not installed")
    with pytest.raises(FormatError, match="voc file can be pcm_16, pcm_u8, ulaw, alaw"):
        made(MONO, "voc", "gsm610")


@pytest.mark.parametrize("container, coding", [("voc", None), ("wav", "gsm610")])
def test_without_libsndfile_its_extra_is_told(
    monkeypatch: pytest.MonkeyPatch, container: str, coding: str | None
) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(FormatError, match=r"rtpproxy-tw\[sndfile\]"):
        made(MONO, container, coding)
