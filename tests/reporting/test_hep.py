"""Reports to Homer: our datagrams, taken apart as a collector does, by other code than ours."""

from __future__ import annotations

import json
import socket
import struct
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed

from rtpproxy_tw.commands import Delete
from rtpproxy_tw.reporting.hep import MAX_CORRELATION, packet, rtcp_json
from rtpproxy_tw.reporting.homer import EVERY, MOST_QUEUED, PER_TICK, Collector, Homer
from rtpproxy_tw.rtcp import parse
from tests.quality.test_second_opinion import voip
from tests.web.client import CALLER, NASTY, WALL, Served

NAMES = {
    **{1: "family", 2: "protocol", 3: "source", 4: "destination", 5: "source", 6: "destination"},
    **{7: "source_port", 8: "destination_port", 9: "seconds", 10: "micros", 11: "kind"},
    **{12: "capture_id", 15: "payload", 17: "correlation"},
}


def decoded(datagram: bytes) -> dict[str, Any]:
    """What a collector sees in a HEP3 datagram."""
    assert datagram[:4] == b"HEP3"
    assert int.from_bytes(datagram[4:6], "big") == len(datagram)
    found: dict[str, Any] = {}
    rest = datagram[6:]
    while rest:
        vendor, kind, length = struct.unpack_from(">HHH", rest)
        assert vendor == 0
        assert 6 <= length <= len(rest)
        content, rest = rest[6:length], rest[length:]
        name = NAMES[kind]
        assert name not in found
        if name in ("source", "destination"):
            found[name] = str(ip_address(content))
        elif name in ("payload", "correlation"):
            found[name] = content
        else:
            found[name] = int.from_bytes(content, "big")
    return found


def sender_report(*blocks: bytes) -> bytes:
    """SR of SSRC 1."""
    body = struct.pack(">IIIIII", 1, 3_900_000_000, 1 << 31, 160, 50, 8000) + b"".join(blocks)
    return struct.pack(">BBH", 0x80 | len(blocks), 200, len(body) // 4) + body


def block(fraction: int, lost: int) -> bytes:
    return struct.pack(">IIIIII", 2, fraction << 24 | lost & 0xFFFFFF, 70_000, 80, 5, 6)


def test_a_datagram_holds_what_was_put_in() -> None:
    found = decoded(
        packet(
            b"{}",
            kind=5,
            source=("192.0.2.1", 4001),
            destination=("198.51.100.7", 40001),
            when=1_000_000_000.25,
            capture_id=2001,
            correlation="call@host",
        )
    )
    assert found == {
        **{"family": 2, "protocol": 17, "source": "192.0.2.1", "destination": "198.51.100.7"},
        **{"source_port": 4001, "destination_port": 40001, "seconds": 1_000_000_000},
        **{"micros": 250_000, "kind": 5, "capture_id": 2001, "correlation": b"call@host"},
        "payload": b"{}",
    }


@given(
    st.ip_addresses().map(str),
    st.ip_addresses().map(str),
    st.integers(0, 65535),
    st.binary(max_size=2000),
    st.floats(0, 2**32 - 1),
    st.binary(max_size=2000),
)
def test_every_datagram_can_be_taken_apart(
    source: str, destination: str, port: int, payload: bytes, when: float, call_id: bytes
) -> None:
    found = decoded(
        packet(
            payload,
            kind=34,
            source=(source, port),
            destination=(destination, port),
            when=when,
            capture_id=1,
            correlation=call_id.decode("utf-8", "surrogateescape"),
        )
    )
    assert found["payload"] == payload
    assert found["correlation"] == call_id[:MAX_CORRELATION]
    assert found["source"] == source
    assert found["family"] == (10 if ":" in source else 2)
    assert found["micros"] < 1_000_000


def test_a_sender_report_has_the_keys_that_homer_reads() -> None:
    (found,) = parse(sender_report(block(64, -3)))
    assert json.loads(rtcp_json(found) or b"") == {
        "sender_information": {
            "ntp_timestamp_sec": 3_900_000_000 - 2_208_988_800,
            "ntp_timestamp_usec": 500_000,
            "rtp_timestamp": 160,
            "packets": 50,
            "octets": 8000,
        },
        "type": 200,
        "ssrc": 1,
        "report_count": 1,
        "report_blocks": [
            {
                **{"source_ssrc": 2, "fraction_lost": 64, "packets_lost": -3},
                **{"highest_seq_no": 70_000, "ia_jitter": 80, "lsr": 5, "dlsr": 6},
            }
        ],
    }


def test_a_receiver_report_goes_without_a_sender() -> None:
    body = struct.pack(">I", 9) + block(0, 0)
    (found,) = parse(struct.pack(">BBH", 0x81, 201, len(body) // 4) + body)
    told = json.loads(rtcp_json(found) or b"")
    assert "sender_information" not in told
    assert (told["type"], told["ssrc"], told["report_count"]) == (201, 9, 1)


def test_extended_metrics_have_the_keys_that_homer_reads() -> None:
    (found,) = parse(voip(0xA, 0xB))
    assert json.loads(rtcp_json(found) or b"") == {
        "type": 207,
        "ssrc": 0xA,
        "report_blocks_xr": {
            **{"type": 7, "id": 0xB, "fraction_lost": 13, "fraction_discard": 5},
            **{"burst_density": 64, "gap_density": 2, "burst_duration": 400},
            **{"gap_duration": 9000, "round_trip_delay": 120, "end_system_delay": 60},
        },
    }


class Watched:
    """A served relay whose reports are caught by a socket."""

    def __init__(self) -> None:
        self.served = Served()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        host, port = self.socket.getsockname()
        clock = self.served.bench.clock
        self.collector = Collector(host, port, resolved)
        self.homer = Homer(
            collector=self.collector,
            capture_id=7,
            now=clock.seconds,
            wall=lambda: WALL + clock.seconds(),
        )
        self.served.bench.registry._observers += (self.homer,)
        self.homer.tick()

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *error: object) -> None:
        self.collector.close()
        self.socket.close()

    def caught(self) -> list[dict[str, Any]]:
        """What has arrived."""
        found = []
        try:
            while True:
                found.append(decoded(self.socket.recv(65536)))
        except BlockingIOError:
            return found


def resolved(host: str, port: int) -> Deferred[list[Any]]:
    return succeed(socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM))


def test_rtcp_is_reported_as_it_comes() -> None:
    with Watched() as watched:
        served = watched.served
        served.call()
        (session,) = served.bench.registry.of_call("call")
        source = (CALLER[0], CALLER[1] + 1)
        to = ("127.0.0.1", session.caller.port + 1)
        for datagram in (sender_report(block(1, 1)), b"\x80\xc8\x00\x01", b"junk" * 10, b""):
            served.bench.host.deliver(datagram, source, to)
        (found,) = watched.caught()
        assert found["kind"] == 5
        assert (found["source"], found["source_port"]) == source
        assert (found["destination"], found["destination_port"]) == to
        assert found["capture_id"] == 7
        assert found["correlation"] == b"call"
        assert found["seconds"] == int(WALL)


def test_figures_are_reported_every_while_and_at_the_end() -> None:
    with Watched() as watched:
        served = watched.served
        served.call()
        served.media(packets=10)
        assert watched.caught() == []
        served.bench.clock.advance(EVERY)
        watched.homer.tick()
        first = watched.caught()
        watched.homer.tick()
        assert watched.caught() == []
        served.bench.do(Delete("call", "a", None))
        last = watched.caught()
        for reports, kind in ((first, "PERIODIC"), (last, "HANGUP")):
            assert [each["kind"] for each in reports] == [34, 34]
            told = [json.loads(each["payload"]) for each in reports]
            assert [each["PARTY"] for each in told] == ["caller", "callee"]
            assert all(each["TYPE"] == kind for each in told)
            assert all(each["TOTAL_PK"] == 10 for each in told)
            assert all(each["DST_PORT"] for each in told)
        watched.homer.tick()
        assert not watched.homer._due or served.bench.clock.seconds() < watched.homer._due[0][0]


def test_reports_on_many_calls_are_spread_over_many_turns() -> None:
    with Watched() as watched:
        for number in range(40):
            watched.served.call(f"c{number}", f"a{number}")
        watched.homer._due.extend([*watched.homer._due])
        watched.served.bench.clock.advance(EVERY)
        watched.homer.tick()
        assert len(watched.caught()) == 2 * PER_TICK
        watched.homer.tick()
        assert len(watched.caught()) == 2 * (80 - PER_TICK)


@pytest.mark.parametrize("call_id", NASTY)
def test_hostile_call_ids_reach_homer_as_they_are(call_id: str) -> None:
    with Watched() as watched:
        watched.served.call(call_id, "a")
        watched.served.media(call_id)
        watched.served.bench.do(Delete(call_id, "a", None))
        octets = call_id.encode("utf-8", "surrogateescape")
        for found in watched.caught():
            assert found["correlation"] == octets[:MAX_CORRELATION]
            json.loads(found["payload"])["CORRELATION_ID"].encode()


def test_a_collector_that_is_not_known_yet_is_waited_for_with_bounds() -> None:
    answer: Deferred[list[Any]] = Deferred()
    collector = Collector("homer.example", 9060, lambda host, port: answer)
    collector.tick(0.0)
    for number in range(MOST_QUEUED + 10):
        collector.send(b"%d" % number)
    assert collector.dropped == 10
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        host, port = there.getsockname()
        answer.callback(socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM))
        collector.tick(1.0)
        assert there.recv(100) == b"10"
    assert collector.sent == MOST_QUEUED
    collector.close()


def test_a_name_that_is_unknown_is_looked_up_again() -> None:
    asked = []

    def resolve(host: str, port: int) -> Deferred[list[Any]]:
        asked.append(host)
        return fail(OSError(-2, "Name or service not known"))

    collector = Collector("nowhere.example", 9060, resolve)
    for second in range(25):
        collector.tick(float(second))
    assert len(asked) == 3


def test_a_network_that_refuses_costs_reports_only() -> None:
    collector = Collector("192.0.2.1", 9060, resolved)
    collector.tick(0.0)
    collector.send(b"x" * 70_000)  # longer than a datagram can be
    assert (collector.sent, collector.dropped) == (0, 1)
    collector.close()
