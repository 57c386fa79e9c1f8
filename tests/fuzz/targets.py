"""What is tried: each takes any bytes, and raises where something is not as it must be."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from rtpproxy_tw import rtcp, rtp
from rtpproxy_tw.addresses import Address
from rtpproxy_tw.configuration import modules_file
from rtpproxy_tw.configuration.configure import configure
from rtpproxy_tw.configuration.switches import read_arguments
from rtpproxy_tw.configuration.toml_reader import from_toml
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.latch import Latch, latch_factory
from rtpproxy_tw.quality.analyzer import Analyzer
from rtpproxy_tw.recording.placement import place
from rtpproxy_tw.recording.readback import Reading
from rtpproxy_tw.session import Component
from rtpproxy_tw.snapshot import records
from rtpproxy_tw.snapshot.kinds import Damaged
from tests.configuration.configuring import FakeHost
from tests.fuzz.wire import Client
from tests.fuzz.world import World
from tests.web.client import Served

Target = Callable[[bytes], None]

SOURCES: tuple[Address, ...] = (
    ("127.0.0.1", 5000),
    ("127.0.0.1", 5001),
    ("127.0.0.1", 6000),
    ("127.0.0.1", 6001),
    ("192.168.1.9", 4000),
    ("192.0.2.1", 4000),
    ("192.0.2.1", 4001),
    ("203.0.113.66", 4000),
    ("203.0.113.67", 0),
    ("224.0.0.1", 4000),
    ("0.0.0.0", 5000),
    ("255.255.255.255", 65535),
    ("::1", 5000),
    ("2001:db8::1", 5000),
    ("::ffff:127.0.0.1", 5000),
    ("fe80::1%lo", 5000),
)
"""Whom datagrams come from: parties, neighbours of theirs, strangers, nobody."""

PAUSES = (0.0, 0.001, 0.02, 0.06, 0.2, 1.0, 6.0, 61.0)


def chunks(data: bytes) -> Iterator[bytes]:
    """``data`` cut up: an octet says how long each piece is."""
    at = 0
    while at < len(data):
        size = data[at]
        yield data[at + 1 : at + 1 + size]
        at += 1 + size


def commands(data: bytes) -> None:
    """A session of the command language: one command a line; NUL and a number let time pass."""
    with World(notify=("unix:/nowhere",), prompts=(str(_prompts()),)) as world:
        for line in data.split(b"\n")[:64]:
            if line[:1] == b"\0":
                world.bench.clock.advance(PAUSES[sum(line) % len(PAUSES)])
            else:
                world.ask(line.strip(b"\r"))
            world.check()
        world.end()


def rtp_packets(data: bytes) -> None:
    """A stream of RTP: nothing raises, and every figure stays a figure."""
    analyzer = Analyzer()
    now = 0.0
    for datagram in chunks(data):
        header = rtp.peek(datagram)
        if header is not None:
            assert 12 <= header.start <= header.end <= len(datagram)
        analyzer.heard(datagram, now)
        now += 0.02
        assert analyzer.received >= 0
        assert analyzer.duplicates >= 0
        assert analyzer.errors >= 0
        for figure in (analyzer.jitter_last, analyzer.jitter_max, analyzer.jitter_mean):
            assert math.isfinite(figure)
            assert figure >= 0
    # A stream that goes to the kernel and comes back at once is as it was.
    before = analyzer.snapshot(), analyzer.jitter_max, analyzer.lost
    analyzer.resume(before[0])
    assert (analyzer.snapshot(), analyzer.jitter_max, analyzer.lost) == before


def rtcp_packets(data: bytes) -> None:
    """A compound: parsed as far as it goes, the same each time, no more than there is."""
    packets = rtcp.parse(data)
    assert packets == rtcp.parse(data)
    assert len(packets) <= len(data) // 4
    rtcp.looks_like_rtcp(data)


def latching(data: bytes) -> None:
    """Both policies and both components: whatever comes, who is not believed is not answered."""
    for policy in ("strict", "rtpproxy"):
        make = latch_factory(policy)
        rtp_latch, rtcp_latch = make(Component.RTP), make(Component.RTCP)
        now = 100.0
        for piece in chunks(data):
            if not piece:
                continue
            what, datagram = piece[0], piece[1:]
            source = SOURCES[what & 15]
            match what >> 4:
                case 0:
                    rtp_latch.signal(source, now)
                    rtcp_latch.signal((source[0], source[1] + 1), now)
                case 1:
                    rtp_latch.complete(now)
                    rtcp_latch.complete(now)
                case 2:
                    now += PAUSES[what & 7]
                case 3:
                    rtcp_latch.follow(source, now)
                case 4 | 5:
                    _heard(rtcp_latch, source, datagram, now)
                case _:
                    if _heard(rtp_latch, source, datagram, now) and rtp_latch.source is not None:
                        rtcp_latch.follow(rtp_latch.source, now)


def _heard(latch: Latch, source: Address, datagram: bytes, now: float) -> bool:
    before = latch.remote
    passed = latch.hear((source[0], source[1]), datagram, now)
    if not passed:
        assert latch.remote == before, "who is not believed has moved the party"
    return passed


SCRIPT = (
    b"Uc0,8,101 c 192.0.2.1 4000 f",
    b"Lc0,8,101 c 127.0.0.1 5000 f t",
    b"U d 192.168.1.9 4000 f;1",
    b"Lz20 d 127.0.0.1 6000 f;1 t;1",
    b"U e 0.0.0.0 0 f",
)
"""Calls of parties that are there, behind a NAT, unknown; re-packetised, and not answered."""


def session(data: bytes) -> None:
    """The whole relay: packets from anybody to any port, and time, and a few more commands."""
    for policy in ("strict", "rtpproxy"):
        with World(latching=policy, high=40010) as world:
            for line in SCRIPT:
                world.ask(line)
            ports = sorted(world.bench.host.ports)
            for piece in islice(chunks(data), 64):
                if len(piece) < 2:
                    world.bench.clock.advance(PAUSES[sum(piece) % len(PAUSES)])
                elif piece[0] == 0xFF:
                    world.ask(piece[1:].replace(b"\n", b" "))
                else:
                    to = ports[piece[0] % len(ports)]
                    world.bench.host.deliver(piece[2:], SOURCES[piece[1] & 15], to)
                world.check()
            world.end()


def recordings(data: bytes) -> None:
    """A file that somebody calls a recording, ad-hoc or pcap: read to its end, and placed."""
    reading = Reading(data)
    packets = list(islice(reading, 2000))
    assert reading.whole <= len(data)
    assert all(math.isfinite(packet.when) for packet in packets)
    placement = place((packet.when, packet.datagram) for packet in packets)
    assert placement.lost >= 0
    placement.ssrcs.sort()


def snapshots(data: bytes) -> None:
    """A line of a relay before us: understood, or refused; and what is understood lives on."""
    try:
        record = records.from_line(data)
        found, _ = records.unpack(record)
        records.parts_of(record)
    except Damaged:
        return
    again, _ = records.unpack(records.from_line(records.to_line(records.pack(found, {}))))
    assert records.pack(again, {}) == records.pack(found, {})
    for leg in found.legs:
        for stream in leg.streams:
            stream.latch.hear(("192.0.2.1", 4000), b"\x80\0\0\0" + bytes(20), 1e6)


def configuration(data: bytes) -> None:
    """A file of settings, in both forms, and a command line: understood, or refused in words."""
    text = data.decode("utf-8", "replace")
    # Settings name files that are read at once; there is one that never ends.
    words = [word for word in text.split() if "/dev" not in word]
    for read in (
        lambda: configure(from_toml(text).given, FakeHost()),
        lambda: modules_file.of_file(text),
        lambda: configure(read_arguments(words), FakeHost()),
    ):
        try:
            read()
        except ConfigError as error:
            told = str(error)
            assert told, "refused without a word"


def http(data: bytes) -> None:
    """A connection to the HTTP interface, its octets in up to four pieces; the relay goes on."""
    with World() as world:
        served = Served()
        served.call()
        served.media(packets=3)
        client = Client(served)
        size = max(1, len(data) // 4)
        for at in range(0, len(data), size):
            client.send(data[at : at + size])
        for _ in range(3):
            client.wait(30.0)
        told = client.transport.value()
        assert not told or told.startswith(b"HTTP/1."), told[:80]
        assert b"Traceback" not in told
        world.unbroken()
        answer = served.ask("/healthz")
        assert answer.status == 200


_FOLDER: list[tempfile.TemporaryDirectory[str]] = []


def _prompts() -> Path:
    if not _FOLDER:
        _FOLDER.append(tempfile.TemporaryDirectory(prefix="fuzz-"))
        (Path(_FOLDER[0].name) / "nothing.0").write_bytes(bytes(800))
    return Path(_FOLDER[0].name)


TARGETS: dict[str, Target] = {
    "commands": commands,
    "rtp": rtp_packets,
    "rtcp": rtcp_packets,
    "latching": latching,
    "session": session,
    "recordings": recordings,
    "snapshots": snapshots,
    "configuration": configuration,
    "http": http,
}
"""By the name that the command line, the corpora and the findings use."""
