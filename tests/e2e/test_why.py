"""Real faults in real networks, and what the relay says of them.

Three namespaces: a caller's, the relay's, a callee's. All faults are made at the same time, a call
for each, and asked for when they have lasted long enough.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.quality.verdict import CODES
from tests.e2e.process import Process, wait_until
from tests.kernel.network import (
    CALLEE,
    CALLEE_SIDE,
    CALLER,
    CALLER_SIDE,
    Namespace,
    Network,
    network,
)
from tests.quality.test_second_opinion import voip
from tests.reporting.test_metrics import value

pytestmark = pytest.mark.e2e

RELAY = CALLER_SIDE
STRANGER, DROPPED = "198.51.100.77", "198.51.100.66"
"""Further hosts at the callee's: one that no SDP names, one that a firewall shuts out."""

FRAME = 0.02
LASTING = 13.0
"""Seconds: silence of 10 is the last to be noticed."""


@dataclass
class Party:
    """A phone: two sockets, and what it does with them."""

    where: Namespace
    host: str
    port: int
    ssrc: int
    target: Address | None = None
    """Where it sends RTP; None: it sends nothing."""
    reports_to: Address | None = None
    """Where it sends RTCP."""
    hears: int | None = None
    """The SSRC it reports about."""
    payload_type: int = 0
    silent: bool = False
    """Its samples are all zero."""
    listens: bool = True
    number: int = 0
    sockets: list[socket.socket] = field(default_factory=list)

    def open(self) -> None:
        """Bind."""
        if self.listens:
            self.sockets = [self.bound(self.host, self.port), self.bound(self.host, self.port + 1)]

    def bound(self, host: str, port: int) -> socket.socket:
        """A socket of the phone."""
        with self.where:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((host, port))
        return sock

    def frame(self) -> None:
        """20 ms have passed."""
        self.number += 1
        if self.target is not None:
            header = struct.pack(
                "!BBHII", 0x80, self.payload_type, self.number, self.number * 160, self.ssrc
            )
            sound = b"\xff" * 160 if self.silent else bytes(range(160))
            with suppress(OSError):
                self.sockets[0].sendto(header + sound, self.target)
        if self.reports_to is not None and self.number % 50 == 0:
            self.report(self.reports_to)
        for sock in self.sockets:
            with suppress(OSError):
                while True:
                    sock.recv(2048)

    def report(self, to: Address) -> None:
        """A sender report, with a block about the other party where it is known."""
        second = self.number // 50
        body = struct.pack("!IIIIII", self.ssrc, second, 0, 0, 1, 1)
        if self.hears is not None:
            # The report of a second ago was heard 0.9 s ago: a tenth was on the way.
            lsr, dlsr = second - 1 << 16, int(0.9 * 65536)
            body += struct.pack("!IIIIII", self.hears, 10, 0, 80, lsr, dlsr)
        first = 0x80 | (self.hears is not None)
        self.sockets[1].sendto(struct.pack("!BBH", first, 200, len(body) // 4) + body, to)
        if self.hears is not None:
            # Extended metrics by themselves, directly afterwards.
            self.sockets[1].sendto(voip(self.ssrc, self.hears), to)

    def close(self) -> None:
        """Hang up."""
        for sock in self.sockets:
            sock.close()


class World:
    """The relay in its namespace, and all the calls."""

    def __init__(self, net: Network, folder: Path, path: str) -> None:
        self.net = net
        self.control, self.api = folder / "control.sock", folder / "api.sock"
        self.parties: list[Party] = []
        self.calls: dict[str, tuple[Party, Party]] = {}
        self.told: dict[str, tuple[int, int]] = {}
        """By call: the port told to the caller, the port told to the callee."""
        net.callee.ip(
            f"address add {STRANGER}/24 dev cb",
            f"address add {DROPPED}/24 dev cb",
            f"route add default via {CALLEE_SIDE}",
        )
        # A firewall without netfilter: what comes from there is dropped without a word.
        net.relay.ip(
            "rule add pref 100 lookup local",
            "rule del pref 0",
            f"rule add pref 10 from {DROPPED} blackhole",
        )
        command = [sys.executable, "-m", "rtpproxy_tw.tools.launcher", "-f", "-F"]
        options = ["-s", f"unix:{self.control}", "-l", RELAY, "-m", "35000", "-M", "36000"]
        more = ["-d", "DBUG", "--http", f"unix:{self.api}", "--fast-path", path, "-T", "120"]
        self.relay = Process(
            ["ip", "netns", "exec", net.relay.name, *command, *options, *more],
            folder / "relay.log",
        )
        wait_until(self.control.exists, "the relay listens", 20)

    def ask(self, line: str) -> str:
        """One command."""
        with closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.settimeout(10)
            sock.connect(str(self.control))
            sock.sendall(line.encode() + b"\n")
            return sock.recv(1024).decode().strip()

    def get(self, path: str) -> Any:
        """What the API answers."""
        return json.loads(self.fetch(path))

    def fetch(self, path: str) -> bytes:
        """The octets of that."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(10)
        connection.sock.connect(str(self.api))
        connection.request("GET", path)
        with closing(connection):
            return connection.getresponse().read()

    def why(self, call: str) -> Any:
        """The verdicts as rtpproxy-ctl has them."""
        program = [sys.executable, "-m", "rtpproxy_tw.tools.ctl", "--api", f"unix:{self.api}"]
        done = subprocess.run(
            [*program, "why", call, "--json"], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def call(self, name: str, *, offered: str = "", callee: str = CALLEE) -> tuple[Party, Party]:
        """A call between two phones that both know their ports and send."""
        port = 20000 + 4 * len(self.calls)
        caller = Party(self.net.caller, CALLER, port, 0xA00 + port)
        called = Party(self.net.callee, callee, port, 0xB00 + port)
        to_callee = int(self.ask(f"U{offered} {name} {caller.host} {port} f").split()[0])
        to_caller = int(self.ask(f"L {name} {called.host} {port} f t").split()[0])
        caller.target, called.target = (RELAY, to_caller), (RELAY, to_callee)
        self.told[name] = to_caller, to_callee
        self.calls[name] = caller, called
        self.parties += [caller, called]
        for party in (caller, called):
            party.open()
        return caller, called

    def run(self, seconds: float) -> None:
        """Let all phones go on for so long."""
        frames = int(seconds / FRAME)
        due = time.monotonic()
        for _ in range(frames):
            for party in self.parties:
                party.frame()
            due += FRAME
            time.sleep(max(0.0, due - time.monotonic()))

    def close(self) -> None:
        """Everything ends."""
        for party in self.parties:
            party.close()
        self.relay.end()


def make_faults(world: World) -> None:
    """The calls that have their fault from the beginning."""
    caller, callee = world.call("healthy")
    caller.hears, callee.hears = callee.ssrc, caller.ssrc
    to_caller, to_callee = world.told["healthy"]
    caller.reports_to, callee.reports_to = (RELAY, to_caller + 1), (RELAY, to_callee + 1)
    world.call("silent-party")[1].target = None
    callee = world.call("firewall-drop", callee=DROPPED)[1]
    assert callee.host == DROPPED
    world.call("wrong-port")[1].target = (RELAY, 36500)
    callee = world.call("closed-port")[1]
    callee.target = None
    for sock in callee.sockets:
        sock.close()
    callee.sockets = []
    callee = world.call("rtcp-only")[1]
    callee.reports_to, callee.target = (RELAY, world.told["rtcp-only"][1] + 1), None
    callee = world.call("other-host")[1]
    callee.sockets[0].close()
    callee.sockets[0] = callee.bound(STRANGER, callee.port)
    callee = world.call("rtcp-port")[1]
    callee.target = (RELAY, world.told["rtcp-port"][1] + 1)
    caller, callee = world.call("swapped-ports")
    caller.target, callee.target = callee.target, caller.target
    caller, callee = world.call("loop")
    callee.target = None
    to_caller = world.told["loop"][0]
    world.ask(f"L loop {RELAY} {to_caller} f t")
    world.call("payload", offered="c0,101")[1].payload_type = 8
    world.call("digital-silence")[1].silent = True
    world.call("comfort-noise")[1].payload_type = 13
    caller = Party(world.net.caller, CALLER, 30000, 1)
    port = int(world.ask(f"U unanswered {CALLER} 30000 f").split()[0])
    caller.target = (RELAY, port)
    world.parties.append(caller)
    caller.open()


def make_later_faults(world: World) -> None:
    """The calls that work at first."""
    for name in ("one-way", "ssrc", "flapping", "hold"):
        world.call(name)
    world.run(2)
    world.calls["one-way"][1].target = None
    world.calls["ssrc"][1].ssrc += 0x10000
    world.ask(f"U hold 0.0.0.0 {world.calls['hold'][0].port} f t")
    for party in world.calls["hold"]:
        party.target = None


def flap(world: World) -> None:
    """One stream from two ports by turns."""
    callee = world.calls["flapping"][1]
    second = callee.bound(callee.host, callee.port + 2)
    for _ in range(14):
        world.run(0.5)
        callee.sockets[0], second = second, callee.sockets[0]
    callee.sockets.append(second)


EXPECTED = {
    "healthy": ("ok", "ok"),
    "silent-party": ("ok", "never-arrived"),
    "firewall-drop": ("ok", "never-arrived"),
    "wrong-port": ("ok", "never-arrived"),
    "closed-port": ("ok", "icmp-unreachable"),
    "rtcp-only": ("ok", "rtcp-only"),
    "other-host": ("ok", "wrong-source"),
    "rtcp-port": ("ok", "crossed-ports"),
    "swapped-ports": ("crossed-ports", "crossed-ports"),
    "loop": ("ok", "looped-to-us"),
    "payload": ("ok", "payload-never-negotiated"),
    "digital-silence": ("ok", "silence-only"),
    "comfort-noise": ("ok", "silence-only"),
    "unanswered": ("learning", "learning"),
    "one-way": ("ok", "one-way"),
    "ssrc": ("ok", "ssrc-changed"),
    "flapping": ("ok", "source-flapping"),
    "hold": ("held", "held"),
}


@pytest.fixture(scope="module", params=["none", "auto"])
def answers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """By call: what the API, what the program, and at the end what the log said.

    With ``auto`` the kernel carries what it can, where it can.
    """
    folder = tmp_path_factory.mktemp("why")
    with network() as net, closing(World(net, folder, request.param)) as world:
        make_faults(world)
        make_later_faults(world)
        # By now the source is settled, and its socket connected.
        flap(world)
        world.run(LASTING - 7)
        found: dict[str, Any] = {"path": request.param}
        for name in EXPECTED:
            found[name] = {
                "why": world.get(f"/api/v1/calls/{name}/why"),
                "whole": world.get(f"/api/v1/calls/{name}"),
            }
        found["healthy"]["ctl"] = world.why("healthy")
        found["closed-port"]["ctl"] = world.why("closed-port")
        world.ask("D silent-party f t")
        found["silent-party"]["ended"] = world.get("/api/v1/calls/silent-party/why")
        found["silent-party"]["log"] = world.relay.printed()
        found["metrics"] = world.fetch("/metrics").decode()
        yield found


def legs(answer: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The caller's and the callee's verdict in an answer to why."""
    caller, callee = answer["sessions"][0]["legs"]
    return caller, callee


@pytest.mark.parametrize("name", EXPECTED)
def test_each_fault_is_called_by_its_name(name: str, answers: dict[str, Any]) -> None:
    """The code on both legs, read from the API while the call goes on."""
    if name == "digital-silence" and answers["path"] != "none":
        pytest.skip("a kernel path shows no payload")
    caller, callee = legs(answers[name]["why"])
    assert (caller["code"], callee["code"]) == EXPECTED[name], (caller, callee)


@pytest.mark.parametrize(
    "name", [name for name, codes in EXPECTED.items() if codes[1] not in ("ok", "learning")]
)
def test_each_fault_has_evidence_and_a_hint(name: str, answers: dict[str, Any]) -> None:
    """Of a party that never was heard the sentence says so."""
    if name == "digital-silence" and answers["path"] != "none":
        pytest.skip("a kernel path shows no payload")
    callee = legs(answers[name]["why"])[1]
    assert callee["evidence"]
    assert callee["hint"]
    if "no RTP packet accepted" in callee["evidence"]:
        assert callee["sentence"].startswith("no RTP packet ever arrived from the callee")


def test_the_program_says_the_same(answers: dict[str, Any]) -> None:
    """rtpproxy-ctl why, for machines."""
    for name in ("healthy", "closed-port"):
        caller, callee = legs(answers[name]["ctl"])
        assert (caller["code"], callee["code"]) == EXPECTED[name]


def test_icmp_errors_were_counted(answers: dict[str, Any]) -> None:
    """They came from the callee's kernel."""
    callee = legs(answers["closed-port"]["why"])[1]
    assert any("ICMP errors" in line for line in callee["evidence"])


def test_what_the_parties_report_is_a_second_opinion(answers: dict[str, Any]) -> None:
    """The round trip to each, and the ten packets that each says it misses."""
    for leg in answers["healthy"]["whole"]["sessions"][0]["legs"]:
        quality = leg["quality"]
        assert 50 < quality["rtt_ms"] < 300
        assert 0 < quality["loss_after_us"] < 0.1
        assert quality["mos"] > 4
        assert quality["lost"] == 0


def test_several_reports_at_once_are_all_read(answers: dict[str, Any]) -> None:
    """The extended metrics do not hide the report that came just before, nor it them."""
    for leg in answers["healthy"]["whole"]["sessions"][0]["legs"]:
        told = leg["quality"]["far_end"]
        assert told["lost"] == 10
        assert told["jitter_ms"] == 10.0
        assert told["voip"]["discard_ratio"] == pytest.approx(5 / 256, abs=1e-4)
        assert (told["voip"]["r_factor"], told["voip"]["mos_conversational"]) == (82, 4.0)


def test_quality_is_told_ten_seconds_at_a_time(answers: dict[str, Any]) -> None:
    """The call has lasted for one interval at least, and lost nothing before us."""
    for leg in answers["healthy"]["whole"]["sessions"][0]["legs"]:
        first = leg["history"][0]
        assert first["seconds"] == pytest.approx(10, abs=1.5)
        assert first["packets"] == pytest.approx(500, rel=0.2)
        assert first["lost"] == 0
        assert first["mos"] > 4


def test_verdicts_of_ended_legs_are_counted_by_code(answers: dict[str, Any]) -> None:
    """Only one call has ended: its caller was heard, its callee never."""
    text = answers["metrics"]
    for verdict in CODES:
        expected = int(verdict in ("ok", "never-arrived"))
        assert value(text, "relay_session_verdict_total", verdict=verdict) == expected
    carried = value(text, "relay_packets_total", proto="rtp", dir="in", path="kernel")
    assert (carried > 0) == (value(text, "relay_streams_offloaded") > 0)


def test_the_timeline_tells_what_happened(answers: dict[str, Any]) -> None:
    """Hold, silence, the other SSRC, in order."""
    kinds = {
        name: [entry["kind"] for entry in answers[name]["whole"]["sessions"][0]["timeline"]]
        for name in EXPECTED
    }
    assert "hold" in kinds["hold"]
    assert "silence" in kinds["one-way"]
    assert "source" in kinds["ssrc"]
    assert "icmp" in kinds["closed-port"]
    assert kinds["healthy"][0] == "command"
    assert "latch" in kinds["healthy"]


def test_the_end_of_a_call_leaves_its_verdict(answers: dict[str, Any]) -> None:
    """In the log and for whoever asks later."""
    assert legs(answers["silent-party"]["ended"])[1]["code"] == "never-arrived"
    assert "callee never-arrived: no RTP packet ever arrived" in answers["silent-party"]["log"]
