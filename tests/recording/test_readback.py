"""Recordings read back, whole and damaged."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.recording import adhoc, pcap
from rtpproxy_tw.recording.readback import Packet, Reading
from tests.recording.strategies import addresses, v4, v6

moments = st.floats(1, 4e9).map(lambda when: round(when, 3))
datagrams = st.binary(max_size=300)
families = st.sampled_from([v4, v6])
written = families.flatmap(
    lambda family: st.lists(st.tuples(datagrams, family, family, moments), max_size=5)
)

Written = list[tuple[bytes, Address, Address, float]]


def an_adhoc_file(packets: Written) -> list[bytes]:
    return [adhoc.header()] + [
        adhoc.record(data, source, when) for data, source, _, when in packets
    ]


def a_pcap_file(packets: Written) -> list[bytes]:
    return [pcap.header()] + [pcap.record(*packet, 1) for packet in packets]


@given(written)
def test_the_adhoc_format_gives_back_what_was_written(packets: Written) -> None:
    reading = Reading(b"".join(an_adhoc_file(packets)))
    assert list(reading) == [Packet(when, source, None, data) for data, source, _, when in packets]
    assert reading.damage is None
    assert not reading.is_pcap


@given(written)
def test_pcap_gives_back_what_was_written(packets: Written) -> None:
    reading = Reading(b"".join(a_pcap_file(packets)))
    found = list(reading)
    assert [(data, source, to) for _, source, to, data in found] == [
        packet[:3] for packet in packets
    ]
    assert [packet.when for packet in found] == pytest.approx([each[3] for each in packets])
    assert reading.is_pcap
    assert reading.damage is None


@pytest.mark.parametrize("make", [an_adhoc_file, a_pcap_file])
@settings(max_examples=30)
@given(packets=written, cut=st.integers(0, 2000))
def test_a_file_cut_short_loses_its_last_record_only(
    make: Callable[[Written], list[bytes]], packets: Written, cut: int
) -> None:
    pieces = make(packets)
    octets = b"".join(pieces)[:cut]
    ends = [sum(map(len, pieces[: count + 1])) for count in range(len(pieces))]
    reading = Reading(octets)
    whole = [end for end in ends if end <= len(octets)]
    assert len(list(reading)) == max(0, len(whole) - 1)
    assert reading.records == max(0, len(whole) - 1)
    assert reading.whole == max(whole, default=0)
    assert (reading.damage is None) == (reading.whole == len(octets))


@given(st.binary(max_size=400))
def test_whatever_the_octets_are_nothing_is_raised(octets: bytes) -> None:
    list(Reading(octets))
    list(Reading(pcap.header() + octets))


@settings(max_examples=50)
@given(written, st.integers(0, 500), st.binary(min_size=1, max_size=40))
def test_octets_written_over_raise_nothing(packets: Written, at: int, garbage: bytes) -> None:
    for make in (an_adhoc_file, a_pcap_file):
        octets = bytearray(b"".join(make(packets)))
        octets[at : at + len(garbage)] = garbage
        list(Reading(bytes(octets)))


@given(addresses, datagrams, moments)
def test_a_foreign_byte_order_is_recognised(source: Address, datagram: bytes, when: float) -> None:
    native = adhoc.record(datagram, source, when)
    foreign = (
        native[1::-1]
        + native[2:20]
        + struct.pack("!dH" if struct.pack("=H", 1) == b"\1\0" else "<dH", when, len(datagram))
        + datagram
    )
    assert list(Reading(foreign)) == [Packet(when, source, None, datagram)]


def test_zeros_left_by_a_crash_are_damage() -> None:
    record = adhoc.record(b"media", ("192.0.2.1", 5004), 1.0)
    reading = Reading(record + bytes(4096))
    assert len(list(reading)) == 1
    assert reading.damage == f"what follows octet {len(record)} is no record"


def test_a_clock_that_is_no_number_is_damage() -> None:
    record = adhoc.record(b"media", ("192.0.2.1", 5004), float("nan"))
    reading = Reading(record)
    assert list(reading) == []
    assert reading.damage is not None


def captured(link: int, frame: bytes, *, nanoseconds: bool = False, order: str = "<") -> bytes:
    """A capture of another program."""
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    head = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    return (
        head
        + struct.pack(
            order + "IIII", 7, 500_000_000 if nanoseconds else 500_000, len(frame), len(frame)
        )
        + frame
    )


def our_frame() -> bytes:
    return pcap.record(b"media", ("192.0.2.1", 5004), ("192.0.2.9", 40000), 0.0, 1)[16:]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("nanoseconds", [False, True])
@pytest.mark.parametrize(
    "link, before, from_",
    [
        (0, b"\2\0\0\0", 14),
        (1, b"", 0),
        (1, our_frame()[:12] + b"\x81\0\0\5\x08\0", 14),
        (101, b"", 14),
        (113, bytes(16), 14),
    ],
)
def test_captures_of_other_programs_are_read(
    order: str, nanoseconds: bool, link: int, before: bytes, from_: int
) -> None:
    octets = captured(link, before + our_frame()[from_:], nanoseconds=nanoseconds, order=order)
    assert list(Reading(octets)) == [
        Packet(7.5, ("192.0.2.1", 5004), ("192.0.2.9", 40000), b"media")
    ]


def test_an_unknown_link_type_is_told() -> None:
    reading = Reading(captured(147, b"x"))
    assert list(reading) == []
    assert "link type 147" in str(reading.damage)


def test_what_is_no_whole_udp_datagram_is_counted_and_left_out() -> None:
    frame = our_frame()
    tcp = frame[:23] + b"\6" + frame[24:]
    fragment = frame[:20] + b"\x20\0" + frame[22:]
    for odd in (tcp, fragment, frame[:-1], frame[:30], b"", bytes(60)):
        reading = Reading(captured(1, odd))
        assert list(reading) == []
        assert (reading.records, reading.foreign, reading.damage) == (1, 1, None)
