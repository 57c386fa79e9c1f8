"""Payload types get names, and payloads are cut into frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.recording.codecs import (
    NAMES,
    Codec,
    Sample,
    amr_frames,
    amr_is_aligned,
    frames,
    guess,
    named,
)
from tests.recording.encoding import amr


@pytest.mark.parametrize(
    "text, payload_type, codec",
    [
        ("96=opus/48000/2", 96, Codec("OPUS", 48000, 2)),
        ("97=iLBC", 97, Codec("ILBC", 8000)),
        ("98=speex/16000", 98, Codec("SPEEX", 16000)),
        ("127=AMR-WB/16000/1", 127, Codec("AMR-WB", 16000)),
    ],
)
def test_a_dynamic_type_can_be_named(text: str, payload_type: int, codec: Codec) -> None:
    assert named(text) == (payload_type, codec)


@pytest.mark.parametrize("text", ["96", "96=", "96=mp3", "128=opus", "x=opus", "96=opus/1000"])
def test_a_name_that_cannot_be_is_refused_with_those_that_can(text: str) -> None:
    with pytest.raises(ValueError, match=r"PT=NAME|no codec"):
        named(text)


FRAME = b"\x3c" + bytes(range(30)) + b"\xf0"
"""AMR of 12.2 kbit/s as stored."""

GUESSES = [
    (960, [b"\xfc" + bytes(60), b"\xfc" + bytes(70)], "OPUS"),
    (160, [bytes(38)] * 3, "ILBC"),
    (240, [bytes(50)] * 3, "ILBC"),
    (480, [bytes(100)] * 3, "ILBC"),
    (160, amr([FRAME] * 3, aligned=False), "AMR"),
    (160, amr([FRAME] * 3, aligned=True), "AMR"),
    (320, [b"\xf0" + bytes([8 << 3 | 4]) + bytes(60)] * 3, "AMR-WB"),
    (0, [b"\x01\x80\0\xa0"] * 3, "TELEPHONE-EVENT"),
    (160, [b"", b""], None),
    (160, [bytes([255]) * 57, bytes([255]) * 31], None),
    (1800, [bytes(1000), bytes(900)], None),
]


@pytest.mark.parametrize("ticks, payloads, name", GUESSES)
def test_what_nobody_named_is_guessed(ticks: int, payloads: list[bytes], name: str | None) -> None:
    found = guess(
        Sample(ticks, 0.03 if ticks in (240,) else 0.06 if ticks == 480 else 0.02, payloads)
    )
    assert (found.name if found else None) == name
    assert found is None or found.guessed


@given(
    st.integers(-(2**31), 2**31), st.floats(-1, 100), st.lists(st.binary(max_size=70), max_size=4)
)
def test_any_payloads_can_be_guessed_about(
    ticks: int, seconds: float, payloads: list[bytes]
) -> None:
    guess(Sample(ticks, seconds, payloads))


@pytest.mark.parametrize("aligned", [False, True])
def test_amr_payloads_become_frames_as_stored(aligned: bool) -> None:
    (payload,) = amr([FRAME], aligned=aligned)
    assert amr_frames(payload, wideband=False, aligned=aligned) == [FRAME]
    assert amr_is_aligned([payload] * 3, wideband=False) == aligned


def test_several_amr_frames_share_a_payload() -> None:
    payload = b"\xf0" + b"\xbc\x3c" + FRAME[1:] * 2
    assert amr_frames(payload, wideband=False, aligned=True) == [FRAME, FRAME]


@given(st.binary(max_size=80), st.booleans(), st.booleans())
def test_any_octets_are_amr_or_not(payload: bytes, wideband: bool, aligned: bool) -> None:
    amr_frames(payload, wideband=wideband, aligned=aligned)


@given(st.sampled_from(list(NAMES)), st.binary(max_size=200))
def test_frames_are_all_of_a_payload(name: str, payload: bytes) -> None:
    assert b"".join(frames(name, payload)) == payload


def test_frames_have_the_sizes_of_their_codecs() -> None:
    assert [len(each) for each in frames("G729", bytes(22))] == [10, 10, 2]
    assert [len(each) for each in frames("GSM", bytes(66))] == [33, 33]
    assert [len(each) for each in frames("G723", b"\0" * 24 + b"\1" * 20 + b"\2" * 4)] == [
        24,
        20,
        4,
    ]
