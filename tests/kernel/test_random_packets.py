"""Random packets through the program, and through what Python says the program does."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.quality.analyzer import Analyzer
from tests.kernel.bench_program import (
    NEIGHBOUR,
    NEXT,
    OWN,
    REDIRECT,
    Bench,
    hosts_of,
    new_bench,
)
from tests.kernel.frames import ETHERNET, Datagram, ones, rtp

pytestmark = pytest.mark.kernel

PACKETS = 4000

MTU = 300

BUDGET = 1 << 30
"""Strangers are all handed up: how many a second is another test's business."""

OUT = {4: ("198.51.100.1", "198.51.100.9"), 6: ("2001:db8:1::1", "2001:db8:1::9")}


@dataclass(frozen=True)
class Flow:
    """From ``source``, arriving at ``local``, and on to ``to`` out of ``leaves``."""

    family_in: int
    family_out: int

    @property
    def local(self) -> Address:
        """Where it arrives: a port for each flow."""
        return hosts_of(self.family_in)[0], 35000 + 2 * self.family_out

    @property
    def source(self) -> Address:
        """The one that is believed."""
        return hosts_of(self.family_in)[1], 40000

    @property
    def leaves(self) -> Address:
        """Our own address on the way out."""
        return OUT[self.family_out][0], 36000

    @property
    def to(self) -> Address:
        """The other party."""
        return OUT[self.family_out][1], 41000


FLOWS = [Flow(family_in, family_out) for family_in in (4, 6) for family_out in (4, 6)]


@dataclass(frozen=True)
class Packet:
    """A datagram as the program understands a frame."""

    family: int
    source: Address
    to: Address
    payload: bytes
    length: int
    id: int
    first: int
    checksum: int
    correct: bool


def understood(frame: bytes) -> Packet | None:
    """The datagram in the frame; None for what is left to the stack."""
    if frame[:6] != bytes(6):
        return None
    match frame[12:14]:
        case b"\x08\x00":
            return _of_ipv4(frame[14:])
        case b"\x86\xdd":
            return _of_ipv6(frame[14:])
    return None


def _of_ipv4(octets: bytes) -> Packet | None:
    if len(octets) < 28 or octets[0] != 0x45 or octets[9] != 17 or ones(octets[:20]):
        return None
    length, number, first = struct.unpack_from("!HHH", octets, 2)
    if first & 0x3FFF:
        return None
    hosts = [socket.inet_ntop(socket.AF_INET, octets[at : at + 4]) for at in (12, 16)]
    return _of_udp(4, octets[20:], length, 20, hosts, octets[12:20], number, first)


def _of_ipv6(octets: bytes) -> Packet | None:
    if len(octets) < 48 or octets[6] != 17:
        return None
    length = 40 + int.from_bytes(octets[4:6], "big")
    hosts = [socket.inet_ntop(socket.AF_INET6, octets[at : at + 16]) for at in (8, 24)]
    return _of_udp(6, octets[40:], length, 40, hosts, octets[8:40], 0, 0x4000)


def _of_udp(
    family: int,
    octets: bytes,
    length: int,
    header: int,
    hosts: list[str],
    addresses: bytes,
    number: int,
    first: int,
) -> Packet | None:
    source, to, size, checksum = struct.unpack_from("!HHHH", octets)
    if size < 8 or size + header != length or len(octets) < size:
        return None
    pseudo = addresses + struct.pack("!HH", 17, size)
    return Packet(
        family,
        (hosts[0], source),
        (hosts[1], to),
        octets[8:size],
        length,
        number,
        first,
        checksum,
        correct=not ones(pseudo + octets[:size]),
    )


def carried_by(packet: Packet) -> Flow | None:
    """The flow that takes it on, if any."""
    for flow in FLOWS:
        if packet.to == flow.local and packet.source == flow.source:
            involved = 6 in (flow.family_in, flow.family_out)
            grown = 20 * ((flow.family_out == 6) - (flow.family_in == 6))
            fits = packet.length + grown <= MTU and (packet.checksum or not involved)
            return flow if fits else None
    return None


def expected(packet: Packet, flow: Flow) -> bytes:
    """What leaves, from the IP header on, if the checksum that came was right."""
    both = flow.family_in == flow.family_out == 4
    left = Datagram(
        flow.leaves,
        flow.to,
        packet.payload,
        tos=0xB8,
        ttl=64,
        id=packet.id if flow.family_in == 4 and flow.family_out == 4 else 0,
        fragment=packet.first if both else 0x4000,
        checksum=bool(packet.checksum),
    )
    return bytes(left)[14:]


def frames(chance: random.Random, count: int) -> Iterator[bytes]:
    """Some as they should be, most with a few octets changed, cut or added."""
    for number in range(count):
        flow = chance.choice(FLOWS)
        octets = chance.choice((0, 1, 20, 160, 226, 227, 246, 247, 260, 400))
        payload = chance.choice((rtp(number, octets=octets), chance.randbytes(octets)))
        datagram = Datagram(
            flow.source,
            flow.local,
            payload,
            tos=chance.randrange(256),
            ttl=chance.choice((1, 2, 64, 255)),
            id=chance.randrange(65536),
            fragment=chance.choice((0x4000, 0x4000, 0, 0x8000, 0x2000, 1)),
            checksum=chance.random() < 0.9,
        )
        frame = bytearray(bytes(datagram))
        for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
            # Headers above all, but not the EtherType, which the kernel looks at before.
            at = chance.choice((chance.randrange(14, 64), chance.randrange(14, len(frame))))
            if at < len(frame):
                frame[at] = chance.choice((0, 255, frame[at] ^ 1 << chance.randrange(8)))
        match chance.randrange(12):
            case 0:
                del frame[max(54, len(frame) - chance.randrange(1, 30)) :]
            case 1:
                frame += bytes(chance.randrange(1, 30))
            case 2:
                frame[:6] = chance.randbytes(6)
        yield bytes(frame)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = new_bench()
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(3))
def test_the_program_does_with_any_packet_what_python_says(bench: Bench, seed: int) -> None:
    slots = {
        flow: bench.flow(
            flow.local,
            flow.source,
            flow.leaves,
            flow.to,
            mtu=MTU,
            budget=BUDGET,
            tos=0xB8,
            neighbour=NEIGHBOUR if flow.family_in == 4 else None,
        )
        for flow in FLOWS
    }
    began, asked = time.monotonic(), 0
    analyzers = {flow: Analyzer() for flow in FLOWS}
    packets: Counter[Flow] = Counter()
    octets: Counter[Flow] = Counter()
    for frame in frames(random.Random(seed), PACKETS):
        packet = understood(frame)
        flow = None if packet is None else carried_by(packet)
        run = bench.run(frame)
        if packet is None or flow is None:
            assert (run.verdict, run.packet) == (NEXT, frame), frame.hex()
            continue
        assert run.verdict == REDIRECT, frame.hex()
        wanted = expected(packet, flow)
        left = run.packet[14 : 14 + len(wanted)]
        if run.packet[:12] != (NEIGHBOUR + OWN if flow.family_in == 4 else bytes(12)):
            assert run.packet[:12] == bytes(12), frame.hex()
            asked += 1
        if not packet.correct:
            # What was damaged on its way stays so: only the changes go into the checksum.
            at = (20 if flow.family_out == 4 else 40) + 6
            left, wanted = (each[:at] + each[at + 2 :] for each in (left, wanted))
        assert left == wanted, frame.hex()
        packets[flow] += 1
        octets[flow] += len(packet.payload)
        analyzers[flow].heard(packet.payload, 0.0)
    # Two neighbours, for either of which a packet goes the kernel's way each second.
    assert asked <= 2 * (int(time.monotonic() - began) + 1)
    for flow, slot in slots.items():
        sample, analyzer = bench.sample(slot), analyzers[flow]
        assert (sample.packets, sample.octets) == (packets[flow], octets[flow])
        assert packets[flow] > PACKETS / 50, "hardly any packet was carried"
        # The program remembers fewer numbers, and takes an old repetition for a new packet.
        heard = sample.rtp.received + sample.rtp.duplicates
        assert heard == analyzer.received + analyzer.duplicates
        assert sample.rtp.duplicates <= analyzer.duplicates
        assert sample.rtp.errors == analyzer.errors
        assert sample.rtp.ssrc_changes == analyzer.ssrc_changes


def test_the_model_knows_a_whole_datagram_from_a_damaged_one() -> None:
    frame = bytes(Datagram(FLOWS[0].source, FLOWS[0].local, b"payload"))
    packet = understood(frame)
    assert packet is not None
    assert packet.correct
    assert packet.payload == b"payload"
    assert understood(ETHERNET + b"\x08\x06" + bytes(46)) is None
    assert understood(frame[:24] + b"\xff" + frame[25:]) is None
