"""The RTP fixed header: what is valid, what is told, and that nothing is ever raised."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.rtp import Header, is_handshake, peek
from tests.datagrams import DTLS, FAX, RECEIVER_REPORT, SENDER_REPORT, STUN, ZRTP, rtp

FIXED = struct.pack("!BBHII", 0x80, 0x88, 0xFFFE, 0xFFFFFFFF, 0x80000001)


def with_first(byte: int, rest: bytes = b"") -> bytes:
    """The fixed header with another first byte."""
    return bytes((byte,)) + FIXED[1:] + rest


def test_an_ordinary_packet_tells_its_header() -> None:
    assert peek(FIXED + b"sound") == Header(8, 0xFFFE, 0xFFFFFFFF, 0x80000001, True, 12, 17)


def test_a_header_without_payload_is_a_packet() -> None:
    header = peek(FIXED)
    assert header is not None
    assert (header.start, header.end) == (12, 12)


@pytest.mark.parametrize("length", range(12))
def test_less_than_a_header_is_no_packet(length: int) -> None:
    assert peek(FIXED[:length]) is None


@pytest.mark.parametrize("version", [0, 1, 3])
def test_other_versions_are_no_packets(version: int) -> None:
    assert peek(with_first(version << 6)) is None


@pytest.mark.parametrize("second", range(256))
def test_the_types_of_rtcp_are_not_rtp(second: int) -> None:
    datagram = bytes((0x80, second)) + FIXED[2:]
    assert (peek(datagram) is None) == (200 <= second <= 213)


@pytest.mark.parametrize("count", range(16))
def test_contributing_sources_must_fit(count: int) -> None:
    exact = with_first(0x80 | count, bytes(4 * count))
    header = peek(exact)
    assert header is not None
    assert header.start == len(exact)
    if count:
        assert peek(exact[:-1]) is None


@pytest.mark.parametrize(
    "rest, start",
    [
        (b"", None),
        (b"\xbe\xde\x00", None),
        (b"\xbe\xde\x00\x00", 16),
        (b"\xbe\xde\x00\x01" + bytes(3), None),
        (b"\xbe\xde\x00\x01" + bytes(4), 20),
        (b"\xbe\xde\xff\xff" + bytes(1000), None),
    ],
)
def test_an_extension_must_fit(rest: bytes, start: int | None) -> None:
    header = peek(with_first(0x90, rest))
    assert (header.start if header else None) == start


@pytest.mark.parametrize(
    "rest, end",
    [
        (b"sound\x01", 17),
        (b"sound\x06", 12),
        (b"sound\x07", None),
        (b"sound\x00", None),
        (b"sound\xff", None),
        (b"\x01", 12),
    ],
)
def test_padding_is_at_least_one_octet_and_within_the_payload(rest: bytes, end: int | None) -> None:
    header = peek(with_first(0xA0, rest))
    assert (header.end if header else None) == end


def test_the_padding_count_of_a_bare_header_is_not_looked_for_in_the_ssrc() -> None:
    assert peek(with_first(0xA0)) is None


def test_sources_extension_and_padding_may_come_together() -> None:
    header = peek(with_first(0xB1, bytes(4) + b"\x00\x01\x00\x01" + bytes(4) + b"hello\x02\x02"))
    assert header is not None
    assert (header.start, header.end) == (24, 29)


@given(st.binary(max_size=64))
def test_no_bytes_raise_and_what_is_valid_lies_within_them(datagram: bytes) -> None:
    is_handshake(datagram)
    header = peek(datagram)
    if header is not None:
        assert 12 <= header.start <= header.end <= len(datagram)
        assert 0 <= header.payload_type <= 127


@given(
    st.integers(0, 127).filter(lambda each: not 72 <= each <= 85),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.booleans(),
)
def test_what_was_packed_is_told(kind: int, sequence: int, ssrc: int, marker: bool) -> None:
    header = peek(rtp(sequence, ssrc, payload_type=kind, marker=marker))
    assert header is not None
    assert header.payload_type == kind
    assert header.sequence == sequence
    assert header.ssrc == ssrc
    assert header.marker == marker


@pytest.mark.parametrize("datagram", [STUN, ZRTP, DTLS])
def test_handshakes_are_recognised(datagram: bytes) -> None:
    assert is_handshake(datagram)
    assert peek(datagram) is None


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x16",
        b"\x16\xfe"[:1],
        FAX,
        RECEIVER_REPORT,
        SENDER_REPORT,
        rtp(),
        struct.pack("!BBHII", 0x80, 0, 1, 0x2112A442, 7),
        struct.pack("!BBHII", 0x80, 0, 1, int.from_bytes(b"ZRTP", "big"), 7),
    ],
)
def test_media_is_not_taken_for_a_handshake(datagram: bytes) -> None:
    assert not is_handshake(datagram)
