"""The pcap format."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.recording import pcap
from tests.recording.strategies import moments, v4, v6

RTP = bytes.fromhex("8000000100000000deadbeef") + bytes(range(160))
PAIR: tuple[Address, Address] = (("10.0.0.1", 1), ("10.0.0.2", 2))


def words(octets: bytes) -> int:
    """The one's complement sum of 16-bit words, the slow way (RFC 1071 section 1)."""
    total = 0
    for index in range(0, len(octets), 2):
        total += int.from_bytes(octets[index : index + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_a_file_begins_with_the_pcap_header() -> None:
    assert pcap.header() == struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)


def test_an_ipv4_record_is_as_specified() -> None:
    record = pcap.record(RTP, ("10.0.0.1", 5004), ("192.0.2.7", 35000), 1234.5, 0x1_0002)
    assert record[:16] == struct.pack("=IIII", 1234, 500_000, 214, 214)
    assert record[16:30] == bytes.fromhex("0000c000020700000a0000010800")
    ip = record[30:50]
    assert ip[:10] == struct.pack("!BBHHHBB", 0x45, 0, 200, 2, 0, 127, 17)
    assert ip[12:] == socket.inet_aton("10.0.0.1") + socket.inet_aton("192.0.2.7")
    assert record[50:56] == struct.pack("!HHH", 5004, 35000, 180)
    assert record[58:] == RTP


def test_an_ipv6_record_is_as_specified() -> None:
    record = pcap.record(RTP, ("2001:db8::1", 5004), ("2001:db8::2", 35000), 0.000001, 7)
    assert record[:16] == struct.pack("=IIII", 0, 1, 234, 234)
    # The last octet, number 15, is folded onto octet 3.
    assert record[16:30] == bytes.fromhex("20010dba000020010db9000086dd")
    ip = record[30:70]
    assert ip[:8] == struct.pack("!IHBB", 0x60000000, 180, 17, 64)
    assert record[78:] == RTP


@given(st.binary(max_size=300), v4, v4, moments, st.integers(0))
def test_checksums_of_ipv4_records_are_valid(
    datagram: bytes, source: Address, local: Address, when: float, number: int
) -> None:
    record = pcap.record(datagram, source, local, when, number)
    ip, udp = record[30:50], record[50:]
    assert words(ip) == 0xFFFF
    assert words(ip[12:] + struct.pack("!HH", 17, len(udp)) + udp) == 0xFFFF
    assert udp[6:8] != b"\0\0"
    assert udp[8:] == datagram


@given(st.binary(max_size=300), v6, v6, moments)
def test_checksums_of_ipv6_records_are_valid(
    datagram: bytes, source: Address, local: Address, when: float
) -> None:
    record = pcap.record(datagram, source, local, when, 0)
    udp = record[70:]
    assert words(record[38:70] + struct.pack("!II", len(udp), 17) + udp) == 0xFFFF
    assert udp[6:8] != b"\0\0"
    assert udp[8:] == datagram


@given(v4, v4)
def test_a_udp_checksum_of_zero_is_written_as_its_equal(source: Address, local: Address) -> None:
    bare = pcap.record(b"\0\0", source, local, 0.0, 0)
    (total,) = struct.unpack_from("!H", bare, 56)
    record = pcap.record(struct.pack("!H", total), source, local, 0.0, 0)
    assert record[56:58] == b"\xff\xff"


@given(moments)
def test_microseconds_never_reach_a_second(when: float) -> None:
    seconds, micros = struct.unpack_from("=II", pcap.record(b"", *PAIR, when, 0))
    assert micros < 1_000_000
    assert seconds + micros / 1e6 == pytest.approx(when, abs=2e-6)


def test_a_frame_longer_than_the_snap_length_is_cut() -> None:
    record = pcap.record(bytes(65507), *PAIR, 0.0, 0)
    assert struct.unpack_from("=II", record, 8) == (65535, 65549)
    assert len(record) == 16 + 65535


def test_an_ipv4_address_beside_an_ipv6_one_is_mapped() -> None:
    record = pcap.record(b"", ("10.0.0.1", 1), ("2001:db8::1", 2), 0.0, 0)
    assert record[38:54] == socket.inet_pton(socket.AF_INET6, "::ffff:10.0.0.1")


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_finds_nothing_wrong(tmp_path: Path) -> None:
    path = tmp_path / "call.pcap"
    records = [
        pcap.record(RTP[: 12 + n], (f"10.0.0.{n + 1}", 5004), ("192.0.2.7", 35000), 1e9 + n, n)
        for n in range(4)
    ]
    records += [
        pcap.record(RTP[: 12 + n], ("2001:db8::1", 5004), ("2001:db8::2", 35000), 2e9 + n, n)
        for n in range(4)
    ]
    path.write_bytes(pcap.header() + b"".join(records))
    command = ["tshark", "-n", "-r", str(path), "-d", "udp.port==5004,rtp", "-T", "fields"]
    command += ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]
    for field in ("ip.checksum.status", "udp.checksum.status", "rtp.seq", "_ws.malformed"):
        command += ["-e", field]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    lines = [line.split("\t") for line in run.stdout.splitlines()]
    # 1 is "good"; IPv6 has no checksum of its own.
    assert lines == [["1", "1", "1", ""]] * 4 + [["", "1", "1", ""]] * 4
