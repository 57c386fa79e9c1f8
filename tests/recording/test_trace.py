"""Rings of packet headers: the last seconds of a call as a capture file."""

from __future__ import annotations

import struct
from typing import NamedTuple

import pytest

from rtpproxy_tw.commands import Delete
from rtpproxy_tw.recording.trace import ENDED_KEPT, KEPT_OCTETS, PACKETS_PER_SECOND
from tests.web.client import CALLEE, CALLER, NASTY, WALL, Served

HEADERS = 14 + 20 + 8
"""Ethernet, IPv4, UDP."""


class Captured(NamedTuple):
    """One packet of a file."""

    when: float
    kept: bytes
    length: int


def captured(octets: bytes) -> list[Captured]:
    """The packets of a pcap file."""
    assert struct.unpack_from("=I", octets)[0] == 0xA1B2C3D4
    found, at = [], 24
    while at < len(octets):
        seconds, micros, kept, length = struct.unpack_from("=IIII", octets, at)
        found.append(Captured(seconds + micros / 1e6, octets[at + 16 : at + 16 + kept], length))
        at += 16 + kept
    return found


def trace(served: Served, call_id: str = "call") -> list[Captured]:
    pieces = served.rings.pcap(call_id)
    assert pieces is not None
    return captured(b"".join(pieces))


def test_the_beginnings_of_the_last_packets_are_kept_in_order() -> None:
    served = Served(trace=1)
    served.call()
    served.media(packets=5)
    found = trace(served)
    assert len(found) == 10
    assert [each.when for each in found] == sorted(each.when for each in found)
    assert found[0].when == WALL
    for each in found:
        assert each.length == HEADERS + 172
        assert len(each.kept) == HEADERS + KEPT_OCTETS
    sources = {each.kept[26:30] for each in found}
    assert sources == {bytes(map(int, host.split("."))) for host, _ in (CALLER, CALLEE)}
    # The length in the UDP header is that of the whole packet.
    assert {struct.unpack_from("!H", each.kept, 38)[0] for each in found} == {8 + 172}


def test_packets_of_strangers_and_early_ones_are_kept_too() -> None:
    served = Served(trace=1)
    served.call(answered=False)
    (session,) = served.bench.registry.of_call("call")
    to = ("127.0.0.1", session.callee.port)
    served.bench.host.deliver(b"\x80" + bytes(11), CALLEE, to)
    served.call()
    served.media(packets=3)
    served.bench.host.deliver(b"\x80" + bytes(11), ("203.0.113.9", 9), to)
    assert session.callee.rtp.ignored == 1
    sources = [each.kept[26:30] for each in trace(served)]
    assert sources[0] == bytes((198, 51, 100, 1))
    assert sources[-1] == bytes((203, 0, 113, 9))
    assert len(sources) == 8


def test_older_packets_make_room() -> None:
    served = Served(trace=1)
    served.call()
    served.media(packets=PACKETS_PER_SECOND)
    found = trace(served)
    assert len(found) == PACKETS_PER_SECOND
    assert found[-1].when == pytest.approx(WALL + (PACKETS_PER_SECOND - 1) * 0.02)


def test_a_call_can_be_traced_when_it_is_over_as_long_as_there_is_room() -> None:
    served = Served(trace=1, ports=2000)
    served.call("first")
    served.media("first")
    served.bench.do(Delete("first", "a", None))
    assert len(trace(served, "first")) == 2
    for number in range(ENDED_KEPT):
        served.call(str(number))
        served.bench.do(Delete(str(number), "a", None))
    assert served.rings.pcap("first") is None
    assert len(served.rings._rings) == ENDED_KEPT


def test_without_the_option_nothing_is_kept_and_nothing_listens() -> None:
    served = Served()
    served.call()
    (session,) = served.bench.registry.of_call("call")
    assert all(not stream.taps for leg in session.legs for stream in leg.streams)
    assert served.ask("/api/v1/calls/call/trace").json["error"]["code"] == "not-tracing"


def test_short_and_empty_packets_are_kept_whole() -> None:
    served = Served(trace=1)
    served.call()
    served.media()
    (session,) = served.bench.registry.of_call("call")
    for size in (0, 1, KEPT_OCTETS, KEPT_OCTETS + 1):
        served.bench.host.deliver(b"x" * size, CALLER, ("127.0.0.1", session.caller.port))
    sizes = [(len(each.kept) - HEADERS, each.length - HEADERS) for each in trace(served)[2:]]
    assert sizes == [(0, 0), (1, 1), (64, 64), (64, 65)]


def test_the_file_comes_over_http() -> None:
    served = Served(trace=1)
    served.call(NASTY[1], "a")
    served.media(NASTY[1])
    answer = served.ask("/api/v1/calls/..%2F..%2Fetc%2Fpasswd/trace")
    assert answer.headers["content-type"] == "application/vnd.tcpdump.pcap"
    assert len(captured(answer.body)) == 2
