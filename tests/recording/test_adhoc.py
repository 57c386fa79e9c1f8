"""The original's own format."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.recording import adhoc
from tests.recording.strategies import addresses, moments


def test_a_file_begins_with_its_first_record() -> None:
    assert adhoc.header() == b""


def test_a_record_is_what_the_original_writes() -> None:
    # Taken from a file the original wrote on a little-endian machine.
    written = bytes.fromhex(
        "0200de927f000001000000000000000000000000"  # family, port, address
        "719326abc7c0da41 0f00"  # time, length
        "800000010000000000000000616263"
    )
    (when,) = struct.unpack("<d", written[20:28])
    datagram = bytes.fromhex("800000010000000000000000616263")
    record = adhoc.record(datagram, ("127.0.0.1", 56978), when)
    if struct.pack("=H", 1) == b"\1\0":
        assert record == written


@given(st.binary(max_size=1500), addresses, moments)
def test_a_record_tells_sender_time_and_datagram(
    datagram: bytes, source: tuple[str, int], when: float
) -> None:
    record = adhoc.record(datagram, source, when)
    (family,) = struct.unpack_from("=H", record)
    (port,) = struct.unpack_from("!H", record, 2)
    host = record[4:8] if family == socket.AF_INET else record[4:20]
    arrival, length = struct.unpack_from("=dH", record, 20)
    assert (socket.inet_ntop(family, host), port) == source
    assert (arrival, length) == (when, len(datagram))
    assert record[30:] == datagram
    if family == socket.AF_INET:
        assert record[8:20] == bytes(12)


def test_the_largest_datagram_has_a_record() -> None:
    assert len(adhoc.record(bytes(65507), ("127.0.0.1", 1), 0.0)) == 30 + 65507


def test_a_zone_is_left_out() -> None:
    plain = adhoc.record(b"", ("fe80::1", 1), 0.0)
    assert adhoc.record(b"", ("fe80::1%eth0", 1), 0.0) == plain
