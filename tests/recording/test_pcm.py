"""Samples: decoded, joined and placed."""

from __future__ import annotations

import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.recording import pcm
from rtpproxy_tw.tools.speech import mulaw
from tests.recording.talking import power

samples = st.lists(st.integers(-32768, 32767), max_size=50).map(lambda each: array("h", each))


def of(octets: bytes) -> list[int]:
    return array("h", octets).tolist()


def test_mu_law_decodes_to_the_values_of_the_recommendation() -> None:
    codes = bytes([0xFF, 0x7F, 0x80, 0x00, 0x8F, 0xEF])
    assert of(pcm.from_mulaw(codes)) == [0, 0, 32124, -32124, 16764, 132]


def test_a_law_decodes_to_the_values_of_the_recommendation() -> None:
    codes = bytes([0xD5, 0x55, 0xAA, 0x2A, 0x80])
    assert of(pcm.from_alaw(codes)) == [8, -8, 32256, -32256, 5504]


@given(st.binary(max_size=50))
def test_every_octet_of_g711_is_a_sample(payload: bytes) -> None:
    assert of(pcm.from_mulaw(payload)) == [pcm.MULAW[code] for code in payload]
    assert of(pcm.from_alaw(payload)) == [pcm.ALAW[code] for code in payload]


@pytest.mark.parametrize("table", [pcm.MULAW, pcm.ALAW])
def test_g711_survives_being_encoded_again(table: list[int]) -> None:
    once = array("h", table).tobytes()
    again = of(pcm.Table(table).decode(pcm.to_codes(once, table)))
    assert again == table


def test_the_soft_phone_s_encoder_is_undone() -> None:
    sine = [round(8000 * math.sin(n / 5)) for n in range(400)]
    decoded = of(pcm.from_mulaw(bytes(map(mulaw, sine))))
    assert all(abs(a - b) <= abs(a) / 16 + 8 for a, b in zip(sine, decoded, strict=True))


def test_l16_is_in_network_order() -> None:
    assert of(pcm.from_l16(b"\x01\x02\xff\xfe\x00")) == [258, -2]
    assert of(pcm.from_l16(b"\0\x10\0\x20\0\x05\0\x07\0", channels=2)) == [24, 6]


@given(samples, samples)
def test_the_mean_is_that_of_each_sample(one: array[int], other: array[int]) -> None:
    found = of(pcm.mean(one.tobytes(), other.tobytes()))
    size = max(len(one), len(other))
    assert len(found) == size
    for index, sample in enumerate(found):
        pair = [each[index] if index < len(each) else 0 for each in (one, other)]
        assert abs(sample - sum(pair) / 2) <= 1


def test_long_sound_has_a_mean_without_seams() -> None:
    long = array("h", [1000] * 70_000).tobytes()
    assert set(of(pcm.mean(long, long))) == {1000}


@given(samples, samples)
def test_channels_alternate(one: array[int], other: array[int]) -> None:
    both = of(pcm.interleaved(one.tobytes(), other.tobytes()))
    for channel, wanted in ((both[0::2], one), (both[1::2], other)):
        assert channel[: len(wanted)] == wanted.tolist()
        assert not any(channel[len(wanted) :])


@pytest.mark.parametrize("wanted", [8000, 16000, 44100, 48000])
def test_a_tone_keeps_its_pitch_and_length_at_another_rate(wanted: int) -> None:
    sine = array("h", [round(8000 * math.sin(2 * math.pi * 440 * n / 8000)) for n in range(8000)])
    found = array("h", pcm.resample(sine.tobytes(), 8000, wanted))
    assert abs(len(found) - wanted) <= 1
    assert power(found[: wanted // 4], 440, wanted) > 0.95


def test_a_track_is_silent_where_nothing_was_put() -> None:
    track = pcm.Track(8000)
    track.put(3, array("h", [1, 2]).tobytes(), ssrc=1)
    track.put(7, array("h", [3]).tobytes(), ssrc=1)
    assert of(track.pcm) == [0, 0, 0, 1, 2, 0, 0, 3]


def test_what_a_source_says_later_replaces_what_it_said_before() -> None:
    track = pcm.Track(8000)
    track.put(0, array("h", [1, 1, 1]).tobytes(), ssrc=1)
    track.put(1, array("h", [5, 5, 5]).tobytes(), ssrc=1)
    assert of(track.pcm) == [1, 5, 5, 5]


def test_two_sources_are_heard_at_once() -> None:
    track = pcm.Track(8000)
    track.put(0, array("h", [1, 30000, -30000]).tobytes(), ssrc=1)
    track.put(1, array("h", [5000, -5000, 5]).tobytes(), ssrc=2)
    assert of(track.pcm) == [1, 32767, -32768, 5]


@given(st.lists(st.tuples(st.integers(0, 60), samples, st.integers(1, 3)), max_size=6))
def test_a_track_is_as_long_as_what_was_put_last(
    puts: list[tuple[int, array[int], int]],
) -> None:
    track = pcm.Track(8000)
    for at, sound, ssrc in puts:
        track.put(at, sound.tobytes(), ssrc)
    assert len(track.pcm) == 2 * max((at + len(sound) for at, sound, _ in puts), default=0)
