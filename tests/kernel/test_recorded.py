"""Calls that are recorded or traced stay in the kernel, and nobody can tell from the files."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from rtpproxy_tw.media.kernel import capabilities
from rtpproxy_tw.recording.readback import Packet, Reading
from tests.contracts import rtp
from tests.kernel.test_relay_carried import Call

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(
        not capabilities.has_needed(), reason="needs CAP_BPF and CAP_NET_ADMIN to load a program"
    ),
]

ASLEEP = 100
"""Packets each way while the relay's process is stopped."""

FORMATS = {"ad-hoc": (), "pcap": ("-P",)}

LENGTHS = (0, 20, 160, 231, 240, 700, 1100, 1400)
"""Octets of payload: every size class of the ring, and both sides of their limits."""


def recorded(folder: Path, path: str, options: Sequence[str]) -> tuple[Call, list[list[Packet]]]:
    """What a relay with that ``--fast-path`` makes of a call, file by file."""
    folder.mkdir()
    files = folder / "files"
    files.mkdir()
    call = Call(folder, "--fast-path", path, "-r", str(files), "-a", *options)
    try:
        call.settle()
        if path == "ebpf":
            call.asleep(ASLEEP)
        else:
            call.exchange(ASLEEP)
        for length in LENGTHS:
            for sender, receiver in ((0, 1), (1, 0)):
                call.sequence += 1
                datagram = rtp(call.sequence, 7 + sender, bytes(length))
                call.parties[sender].sendto(datagram, call.to[sender])
                assert call.parties[receiver].recvfrom(2000)[0] == datagram
        assert call.ask("D c f t") == "0"
        deadline = time.monotonic() + 5
        while list(files.glob("*.part")) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        call.close()
    found = sorted(each for each in files.iterdir() if each.suffix != ".json")
    return call, [list(Reading(each.read_bytes())) for each in found]


def neutral(packet: Packet, call: Call) -> tuple[object, ...]:
    """Without the time and with roles in place of the ports that the system chose."""
    roles = dict(zip((*call.addresses, *call.to), ("a", "b", "for a", "for b"), strict=True))
    to = None if packet.to is None else roles[packet.to]
    return roles[packet.source], to, packet.datagram


@pytest.mark.parametrize("form", FORMATS)
def test_a_recording_is_the_same_whichever_path_carried_the_call(tmp_path: Path, form: str) -> None:
    by_kernel, through = recorded(tmp_path / "kernel", "ebpf", FORMATS[form])
    by_socket, past = recorded(tmp_path / "socket", "none", FORMATS[form])
    assert len(through) == len(past) > 0
    for one, other in zip(through, past, strict=True):
        # Two parties of one file: what came first of two at the same moment does not matter.
        for ssrc in (7, 8):
            mine, theirs = (
                [
                    neutral(packet, call)
                    for packet in packets
                    if packet.datagram[8:12] == ssrc.to_bytes(4, "big")
                ]
                for packets, call in ((one, by_kernel), (other, by_socket))
            )
            assert mine == theirs
        assert sum(map(len, through)) >= 2 * ASLEEP


def test_stamps_of_a_recording_tell_when_packets_came_not_when_they_were_read(
    tmp_path: Path,
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    call = Call(tmp_path, "-r", str(files), "-a", "-P")
    try:
        call.settle()
        began = time.time()
        call.asleep(ASLEEP)
        ended = time.time()
        time.sleep(0.3)
        call.ask("D c f t")
        time.sleep(0.5)
    finally:
        call.close()
    packets = [
        packet
        for each in files.iterdir()
        if each.suffix != ".json"
        for packet in Reading(each.read_bytes())
    ]
    asleep = [packet for packet in packets if began - 0.001 <= packet.when <= ended + 0.001]
    assert len(asleep) == 2 * ASLEEP
    assert len(packets) == 2 * call.sequence


def test_a_traced_call_stays_in_the_kernel(tmp_path: Path) -> None:
    call = Call(tmp_path, "--trace", "10", "--http", f"unix:{tmp_path}/http")
    try:
        call.settle()
        call.asleep(ASLEEP)
        deadline, traced = time.monotonic() + 2, 0
        while traced < 2 * call.sequence and time.monotonic() < deadline:  # copies come late
            octets = fetch(f"{tmp_path}/http", "/api/v1/calls/c/trace")
            traced = len(list(Reading(octets[octets.index(b"\r\n\r\n") + 4 :])))
    finally:
        call.close()
    assert traced == 2 * call.sequence


def fetch(path: str, what: str) -> bytes:
    """The answer to a GET over a UNIX socket, header included."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(path)
        client.sendall(f"GET {what} HTTP/1.0\r\nHost: here\r\n\r\n".encode())
        got = b""
        while piece := client.recv(65536):
            got += piece
    return got
