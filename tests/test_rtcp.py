"""RTCP: what real packets say, and that nothing else says anything."""

from __future__ import annotations

import secrets
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.rtcp import (
    MOST_PACKETS,
    Description,
    ExtendedReport,
    Goodbye,
    Other,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    looks_like_rtcp,
    parse,
)

BLOCK = struct.pack("!IIIIII", 0xB, 64 << 24 | 100, 0x10005, 80, 0x12345678, 0x8000)


def rtcp(kind: int, count: int, body: bytes, *, words: int | None = None) -> bytes:
    """A packet; ``words`` instead of its true length."""
    length = len(body) // 4 if words is None else words
    return struct.pack("!BBH", 0x80 | count, kind, length) + body


def sr(*blocks: bytes, ssrc: int = 0xA) -> bytes:
    """A sender report."""
    body = struct.pack("!IIIIII", ssrc, 0x11111234, 0x56780000, 160, 50, 8000)
    return rtcp(200, len(blocks), body + b"".join(blocks))


def rr(*blocks: bytes, ssrc: int = 0xA) -> bytes:
    """A receiver report."""
    return rtcp(201, len(blocks), struct.pack("!I", ssrc) + b"".join(blocks))


SDES = rtcp(202, 1, b"\x00\x00\x00\x0a\x01\x03a@b\x00\x00\x00")
BYE = rtcp(203, 1, b"\x00\x00\x00\x0a\x03end")


def xr_voip() -> bytes:
    """VoIP metrics (RFC 3611 section 4.7)."""
    block = struct.pack(
        "!BBHIBBBBHHHHBBBBBBBBBBHHH",
        *(7, 0, 8, 0xB, 26, 13, 128, 3, 400, 9000, 60, 80),
        *(0, 0, 127, 16, 82, 127, 41, 40, 0, 0, 40, 60, 100),
    )
    return rtcp(207, 0, b"\x00\x00\x00\x0a" + block)


def test_a_usual_compound_is_read_whole() -> None:
    """SR with a block, SDES with a CNAME, BYE with a reason."""
    report, description, goodbye = parse(sr(BLOCK) + SDES + BYE)
    assert report == SenderReport(
        0xA,
        0x11111234,
        0x56780000,
        160,
        50,
        8000,
        (ReportBlock(0xB, 0.25, 100, 0x10005, 80, 0x12345678, 0x8000),),
    )
    assert report.middle == 0x12345678
    assert description == Description(((0xA, ((1, b"a@b"),)),))
    assert goodbye == Goodbye((0xA,), b"end")


def test_losses_may_be_negative() -> None:
    """Duplicates count against them, in 24 bits."""
    (report,) = parse(rr(struct.pack("!IIIIII", 0xB, 0xFFFFFE, 0, 0, 0, 0)))
    assert isinstance(report, ReceiverReport)
    assert report.blocks[0].lost == -2


def test_metrics_of_an_extended_report_are_read() -> None:
    """In their units, without what the sender does not know."""
    (report,) = parse(xr_voip())
    assert isinstance(report, ExtendedReport)
    voip = report.voip
    assert voip is not None
    assert voip.loss_ratio == 26 / 256
    assert (voip.burst_ms, voip.gap_ms, voip.round_trip_ms) == (400, 9000, 60)
    assert (voip.r_factor, voip.mos_listening, voip.mos_conversational) == (82, 4.1, 4.0)
    assert voip.gmin == 16


def test_a_reference_time_is_read() -> None:
    """For round trips of parties that only listen."""
    (report,) = parse(rtcp(207, 0, struct.pack("!IBBHII", 1, 4, 0, 2, 7, 8)))
    assert report == ExtendedReport(1, (4,), None, (7, 8))


def test_padding_of_the_last_packet_is_taken_off() -> None:
    """RFC 3550 section 6.4.1."""
    body = struct.pack("!I", 0xA) + b"\x00\x00\x00\x04"
    padded = struct.pack("!BBH", 0xA0, 201, 2) + body
    assert parse(padded) == (ReceiverReport(0xA, ()),)
    assert parse(padded + rr()) == ()


def test_feedback_and_applications_are_known_by_type_only() -> None:
    """They are RTCP, but say nothing of quality."""
    assert parse(rtcp(206, 1, bytes(8))) == (Other(206, 0),)
    assert parse(rtcp(204, 0, b"\x00\x00\x00\x05NAME")) == (Other(204, 5),)


HOSTILE = {
    "nothing": b"",
    "four octets": b"\x80\xc9\x00\x00",
    "a length of zero and nothing else": rtcp(201, 0, b""),
    "a length beyond the end": rtcp(200, 0, sr()[4:], words=200),
    "a length of all ones": rtcp(200, 0, sr()[4:], words=0xFFFF),
    "a length of zero, endlessly": b"\x80\xc9\x00\x00" * 400,
    "a sender report cut short": rtcp(200, 0, bytes(16)),
    "31 blocks promised": rtcp(201, 31, b"\x00\x00\x00\x0a" + BLOCK),
    "version 1": b"\x40" + rr()[1:],
    "an unknown type": rtcp(199, 0, bytes(4)),
    "a description without an end": rtcp(202, 1, b"\x00\x00\x00\x0a\x01\x02ab"),
    "an item longer than its packet": rtcp(202, 1, b"\x00\x00\x00\x0a\x01\xffab\x00\x00\x00\x00"),
    "an item without a length": rtcp(202, 1, b"\x00\x00\x00\x0a\x02\x01a\x01"),
    "31 chunks promised": rtcp(202, 31, b"\x00\x00\x00\x0a\x00\x00\x00\x00"),
    "a reason longer than its packet": rtcp(203, 1, b"\x00\x00\x00\x0a\xffend"),
    "31 sources said to go": rtcp(203, 31, b"\x00\x00\x00\x0a"),
    "an extended block beyond the end": rtcp(207, 0, struct.pack("!IBBH", 1, 7, 0, 800)),
    "a compound of a hundred": rr() * 100,
    "padding of nothing": struct.pack("!BBH", 0xA0, 201, 1) + b"\x00\x00\x00\x00",
    "padding longer than the packet": struct.pack("!BBH", 0xA0, 201, 1) + b"\x00\x00\x00\xf0",
    "octets over": sr() + b"\x00\x00",
    "a giant": rr() + bytes(70_000),
}


@pytest.mark.parametrize("datagram", HOSTILE.values(), ids=HOSTILE)
def test_what_is_hostile_or_damaged_says_nothing(datagram: bytes) -> None:
    """Not even its sound part."""
    assert parse(datagram) == ()


def test_an_extended_block_of_no_words_is_stepped_over() -> None:
    """A length of zero is valid there, and is no endless loop."""
    blocks = struct.pack("!BBH", 9, 0, 0) * 300
    (report,) = parse(rtcp(207, 0, b"\x00\x00\x00\x0a" + blocks))
    assert isinstance(report, ExtendedReport)
    assert report.types == (9,) * 300


def test_a_compound_has_a_limit() -> None:
    """Which real ones are far from."""
    assert len(parse(rr() * MOST_PACKETS)) == MOST_PACKETS
    assert parse(rr() * (MOST_PACKETS + 1)) == ()


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_not(datagram: bytes) -> None:
    """No exception, no more packets than there can be."""
    assert len(parse(datagram)) <= MOST_PACKETS


@given(st.lists(st.sampled_from([sr(BLOCK), rr(BLOCK, BLOCK), SDES, BYE, xr_voip()])), st.data())
def test_damage_is_survived(pieces: list[bytes], data: st.DataObject) -> None:
    """One octet changed anywhere."""
    datagram = bytearray(b"".join(pieces))
    if datagram:
        at = data.draw(st.integers(0, len(datagram) - 1))
        datagram[at] = data.draw(st.integers(0, 255))
    parse(bytes(datagram))


@pytest.mark.parametrize("tag", [4, 10, 16])
def test_encrypted_rtcp_is_never_read(tag: int) -> None:
    """RFC 3711: header and SSRC are clear, the rest is noise, an index and a tag follow."""
    clear = sr(BLOCK) + SDES
    for index in range(2000):
        noise = secrets.token_bytes(len(clear) - 8)
        trailer = struct.pack("!I", 0x80000000 | index) + secrets.token_bytes(tag)
        datagram = clear[:8] + noise + trailer
        assert looks_like_rtcp(datagram)
        assert parse(datagram) == ()


@pytest.mark.parametrize("tag", [4, 10, 16])
def test_an_encrypted_report_alone_is_never_read(tag: int) -> None:
    """The length of the first packet fits exactly; the trailer gives it away."""
    for index in range(2000):
        noise = secrets.token_bytes(len(sr()) - 8)
        trailer = struct.pack("!I", 0x80000000 | index) + secrets.token_bytes(tag)
        assert parse(sr()[:8] + noise + trailer) == ()
