"""Every codec that is decoded: its length and, where there is an encoder, its tone."""

from __future__ import annotations

import math
import random
import sys
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rtpproxy_tw.recording.codecs import Codec
from rtpproxy_tw.recording.decoding import Decoding, Undecodable
from tests.recording import encoding
from tests.recording.encoding import HERTZ
from tests.recording.talking import power


@pytest.fixture(scope="module")
def av() -> Any:
    return pytest.importorskip("av", reason="PyAV, which decodes, is not installed")


@pytest.fixture(scope="module")
def decoding() -> Iterator[Decoding]:
    with Decoding() as decoding:
        yield decoding


SPEEX_FRAME = b"\x28" + bytes(36) + b"\x07"
"""Narrowband, mode 5, ended by a terminator."""

LENGTHS = [
    (Codec("GSM", 8000), b"\xd2" + bytes(32), 160),
    (Codec("GSM", 8000), (b"\xd2" + bytes(32)) * 2, 320),
    (Codec("ILBC", 8000), bytes(range(38)), 160),
    (Codec("ILBC", 8000), bytes(range(50)), 240),
    (Codec("ILBC", 8000), bytes(range(50)) * 2, 480),
    (Codec("SPEEX", 8000), SPEEX_FRAME, 160),
    (Codec("G729", 8000), bytes(range(20)), 160),
    (Codec("G729", 8000), bytes(range(10)) + b"\1\2", 160),
    (Codec("G729", 8000), b"\1\2", 80),
    (Codec("G723", 8000), bytes([1]) + bytes(19), 240),
    (Codec("AMR-WB", 16000), b"\xf0" + bytes([8 << 3 | 4]) + bytes(60), 320),
    (Codec("AMR", 8000), b"\xf0\x7c", 160),
]


@pytest.mark.parametrize(
    "codec, payload, samples", LENGTHS, ids=[f"{c.name}-{len(p)}" for c, p, _ in LENGTHS]
)
def test_a_payload_lasts_as_long_as_its_codec_says(
    av: Any, decoding: Decoding, codec: Codec, payload: bytes, samples: int
) -> None:
    found = decoding.decode(codec, [payload] * 20)
    assert {len(pcm) // 2 for pcm in found} == {samples}


TONES: dict[str, tuple[Codec, Callable[[Any], list[bytes] | None]]] = {
    "G722": (Codec("G722", 8000), lambda av: encoding.encoded(av, "g722", 16000, 320)),
    "OPUS": (Codec("OPUS", 48000, 2), lambda av: encoding.encoded(av, "libopus", 48000, 960)),
    "G723": (Codec("G723", 8000), lambda av: encoding.encoded(av, "g723_1", 8000, 240, 6300)),
    "G729": (Codec("G729", 8000), lambda av: encoding.g729(encoding.sine(8000))),
    "GSM": (Codec("GSM", 8000), lambda av: encoding.gsm()),
    "SPEEX": (Codec("SPEEX", 8000), lambda av: encoding.speex(wide=False)),
    "SPEEX wide": (Codec("SPEEX", 16000), lambda av: encoding.speex(wide=True)),
    **{
        f"AMR-WB aligned: {aligned}": (
            Codec("AMR-WB", 16000),
            lambda av, aligned=aligned: (  # type: ignore[misc]  # bound per turn
                (frames := encoding.amr_wb()) and encoding.amr(frames, aligned=aligned, bits=253)
            ),
        )
        for aligned in (False, True)
    },
    **{
        f"AMR aligned: {aligned}": (
            Codec("AMR", 8000),
            lambda av, aligned=aligned: (  # type: ignore[misc]  # bound per turn
                (frames := encoding.amr_nb(av)) and encoding.amr(frames, aligned=aligned)
            ),
        )
        for aligned in (False, True)
    },
    **{
        f"G726-{8 * bits}": (
            Codec(f"G726-{8 * bits}", 8000),
            lambda av, bits=bits: encoding.g726(av, bits),  # type: ignore[misc]  # as above
        )
        for bits in (2, 3, 4, 5)
    },
}


@pytest.mark.parametrize("name", TONES)
def test_a_tone_is_heard_again(av: Any, decoding: Decoding, name: str) -> None:
    codec, make = TONES[name]
    payloads = make(av)
    if payloads is None:
        pytest.skip("no encoder is installed")
    samples = array("h", b"".join(decoding.decode(codec, payloads)))
    assert abs(len(samples) - codec.rate) <= 0.04 * codec.rate
    middle = samples[len(samples) // 4 : len(samples) // 2]
    assert power(middle, HERTZ, codec.rate) > 0.9


@pytest.mark.parametrize("name", encoding.TONES_OF_400_HERTZ)
@pytest.mark.parametrize("frames", [1, 2])
def test_a_tone_is_heard_where_there_is_no_encoder(
    av: Any, decoding: Decoding, name: str, frames: int
) -> None:
    frame = bytes.fromhex(encoding.TONES_OF_400_HERTZ[name])
    codec = Codec(name.partition(" ")[0], 8000)
    samples = array("h", b"".join(decoding.decode(codec, [frame * frames] * (60 // frames))))
    assert len(samples) == 60 * (160 if "20 ms" in name else 240)
    assert power(samples[4800:], 400, 8000) > 0.9


def test_noise_of_g729_is_as_loud_as_what_was_encoded(av: Any, decoding: Decoding) -> None:
    """White, with a root mean square of 20; after that a tone, which is no pause."""
    chance = random.Random(1)
    hiss = array("h", [round(chance.gauss(0, 20)) for _ in range(3 * 8000)])
    found = encoding.g729(hiss + encoding.sine(8000), pauses=True)
    if found is None:
        pytest.skip("no encoder is installed")
    descriptions = [frame for frame in found if len(frame) == 2]
    assert descriptions
    for pcm in decoding.decode(Codec("G729", 8000), descriptions[-3:]):
        samples = array("h", pcm)
        assert len(samples) == 80
        assert math.sqrt(sum(x * x for x in samples) / 80) == pytest.approx(20, rel=0.35)
    speech = [frame for frame in found[-50:] if len(frame) == 10]
    tone = array("h", b"".join(decoding.decode(Codec("G729", 8000), speech)))
    assert power(tone[800:2400], HERTZ, 8000) > 0.8


def test_a_damaged_payload_costs_itself_only(av: Any, decoding: Decoding) -> None:
    payloads = encoding.encoded(av, "libopus", 48000, 960)
    payloads[10] = b"\xff" * 10
    found = decoding.decode(Codec("OPUS", 48000), payloads)
    assert [index for index, pcm in enumerate(found) if not pcm] == [10]


def test_what_is_all_damaged_is_told(av: Any, decoding: Decoding) -> None:
    with pytest.raises(Undecodable, match="OPUS/48000: nothing"):
        decoding.decode(Codec("OPUS", 48000), [b"\xff" * 10] * 5)


def test_long_streams_are_decoded_in_order(av: Any, decoding: Decoding) -> None:
    payloads = encoding.encoded(av, "g722", 16000, 320) * 70
    found = decoding.decode(Codec("G722", 8000), payloads)
    assert len(found) == len(payloads)
    assert {len(pcm) for pcm in found} == {640}


def program(text: str) -> tuple[str, ...]:
    """A decoder in whose place something else happens."""
    return (sys.executable, "-c", text)


@pytest.mark.parametrize(
    "text",
    [
        "print('ready', flush=True); import os; os.abort()",
        "print('ready', flush=True); import time; time.sleep(60)",
        "print('ready', flush=True); input(); print('nonsense', flush=True)",
        "print('ready', flush=True); input(); print('{}', flush=True)",
    ],
)
def test_a_decoder_that_crashes_or_hangs_is_told_and_killed(text: str) -> None:
    with Decoding(program(text), patience=1.0) as decoding:
        with pytest.raises(Undecodable, match="crashed or took longer"):
            decoding.decode(Codec("OPUS", 48000), [bytes(50_000)] * 10)
        assert decoding._process is None


def test_without_the_library_its_name_is_told() -> None:
    with (
        Decoding(program("import sys; sys.exit('PyAV is not installed (no)')")) as decoding,
        pytest.raises(Undecodable, match=r"PyAV is not installed .*rtpproxy-tw\[audio\]"),
    ):
        decoding.decode(Codec("OPUS", 48000), [b"x"])


def test_what_needs_no_library_starts_no_process() -> None:
    with Decoding(("/nonexistent",)) as decoding:
        assert decoding.decode(Codec("PCMU", 8000), [b"\xff"]) == [b"\0\0"]
        assert decoding.decode(Codec("PCMA", 8000), [b"\xd5"]) == [array("h", [8]).tobytes()]
        assert decoding.decode(Codec("L16", 44100), [b"\0\1"]) == [array("h", [1]).tobytes()]
        assert decoding.decode(Codec("TELEPHONE-EVENT", 8000), [b"\0\1\0\1"]) == [b""]
