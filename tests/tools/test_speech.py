"""A soft phone speaks proper G.711, RTP and RTCP."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.rtp import peek
from rtpproxy_tw.tools.speech import SAMPLES, Speaker, mulaw, tone

WALL = 1_000_000_000.5


def a_speaker(sequence: int = 65_534, timestamp: int = 2**32 - 160) -> Speaker:
    return Speaker("caller", 440, ssrc=0xDECAF, sequence=sequence, timestamp=timestamp)


def heard_as(octet: int) -> int:
    """The sample that a mu-law octet stands for (ITU-T G.711)."""
    inverted = ~octet & 0xFF
    magnitude = ((inverted & 0x0F) * 8 + 132 << (inverted >> 4 & 7)) - 132
    return -magnitude if inverted & 0x80 else magnitude


@pytest.mark.parametrize(
    "sample, octet", [(0, 0xFF), (8, 0xFE), (-8, 0x7E), (32767, 0x80), (-32768, 0x00)]
)
def test_samples_have_the_octets_of_the_standard(sample: int, octet: int) -> None:
    assert mulaw(sample) == octet


@given(st.integers(-32768, 32767))
def test_a_sample_is_heard_as_nearly_what_it_was(sample: int) -> None:
    error = abs(heard_as(mulaw(sample)) - sample)
    assert error <= max(8, abs(sample) / 16)


def test_a_tone_is_a_second_of_frames_that_goes_on_smoothly() -> None:
    frames = tone(440)
    assert [len(frame) for frame in frames] == [SAMPLES] * 50
    samples = [heard_as(octet) for octet in b"".join(frames) + frames[0]]
    rising = [n for n in range(1, len(samples)) if samples[n - 1] < 0 <= samples[n]]
    assert len([n for n in rising if n <= 8000]) == 440
    assert {b - a for a, b in pairwise(rising)} <= {18, 19}


def test_packets_are_rtp_that_counts_on_over_the_end_of_its_fields() -> None:
    headers = [peek(a_speaker().packet(number)) for number in range(3)]
    assert all(headers)
    assert [header.sequence for header in headers if header] == [65534, 65535, 0]
    assert [header.timestamp for header in headers if header] == [2**32 - 160, 0, 160]
    assert [header.marker for header in headers if header] == [True, False, False]
    assert {(header.payload_type, header.ssrc) for header in headers if header} == {(0, 0xDECAF)}


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_a_packet_is_known_by_its_sequence_number(first: int, number: int) -> None:
    speaker = a_speaker(sequence=first)
    assert speaker.number(first + number & 0xFFFF) == number


def test_a_report_tells_the_time_and_what_was_sent() -> None:
    report = a_speaker().report(50, WALL)
    first, kind, words, ssrc, seconds, fraction, _, packets, octets = struct.unpack_from(
        "!BBHIIIIII", report
    )
    assert (first, kind, words, ssrc) == (0x80, 200, 6, 0xDECAF)
    assert (seconds, fraction) == (1_000_000_000 + 2_208_988_800, 2**31)
    assert (packets, octets) == (50, 8000)


@pytest.mark.parametrize("name", ["a", "ab", "abc", "abcd", "caller"])
def test_a_report_names_its_sender_and_fills_its_words(name: str) -> None:
    report = Speaker(name, 440, ssrc=7, sequence=0, timestamp=0).report(1, WALL)
    first, kind, words, ssrc, item, length = struct.unpack_from("!BBHIBB", report, 28)
    assert (first, kind, ssrc, item) == (0x81, 202, 7, 1)
    assert len(report) == 28 + 4 * (words + 1)
    assert report[38 : 38 + length] == f"{name}@demo".encode()
    assert report.endswith(b"\0")


def test_a_speaker_knows_its_own_reports() -> None:
    report = a_speaker().report(1, WALL)
    assert a_speaker().is_report(report)
    assert not Speaker("callee", 440, ssrc=1, sequence=0, timestamp=0).is_report(report)
    assert not a_speaker().is_report(b"")
