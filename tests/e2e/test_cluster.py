"""Several relays as one service, on loopback addresses, with a real Redis."""

from __future__ import annotations

import csv
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster.redis_server import PROGRAM, RedisServer
from tests.e2e import loopback
from tests.e2e.process import wait_until
from tests.e2e.relay import Relay, command_line

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(PROGRAM is None, reason="no redis-server here"),
]

ONE, TWO, NOBODY = loopback.host(71), loopback.host(72), loopback.host(79)
CALLER, CALLEE = loopback.host(73), loopback.host(74)
LEASE = 600
"""Milliseconds."""

ROOT = Path(__file__).parents[2]


class Nodes:
    """Two relays that stand by for each other."""

    def __init__(self, folder: Path, redis: RedisServer, stack: ExitStack) -> None:
        self.folder = folder
        self.redis = redis
        self._stack = stack
        self.relays: dict[str, Relay] = {}

    def start(self, host: str, *options: str) -> Relay:
        """Start the relay at ``host``, in a directory of its own."""
        other = TWO if host == ONE else ONE
        work = self.folder / host
        work.mkdir(exist_ok=True)
        made = Relay(
            host,
            self.folder,
            program=["env", "-C", str(work), f"PYTHONPATH={ROOT}", *command_line()],
            options=[
                *("--redis", self.redis.url, "--node", host, "--standby", other),
                *("--cluster-listen", f"{host}:7000", "--lease", str(LEASE)),
                *("--http", f"unix:{self.folder}/{host}.http", "-p", "/dev/null", *options),
            ],
        )
        self._stack.enter_context(made)
        self.relays[host] = made
        return made

    def ctl(self, host: str, *words: str) -> str:
        """What ``rtpproxy-ctl`` prints."""
        api = f"{self.folder}/{host}.http"
        argv = [sys.executable, "-m", "rtpproxy_tw.tools.ctl", "--api", api, *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wait_for_owner(self, address: str, node: str) -> None:
        """Until ``node`` owns ``address``."""

        def is_so() -> bool:
            told = json.loads(self.ctl(node, "--json", "fleet"))
            return any(
                each["address"] == address and each["role"] == "owner" for each in told["addresses"]
            )

        wait_until(is_so, f"{node} owns {address}", 20)

    def wait_for_both(self, host: str) -> None:
        """Until the relay at ``host`` knows the other one."""
        wait_until(lambda: self.ctl(host, "fleet").count(" up ") == 2, "both are up", 10)

    def wait_until_written(self, call_id: str, address: str) -> None:
        """Until the call is in Redis."""
        key = f"rtp:{{{address}}}:sessions"
        wait_until(lambda: call_id.encode() in self.redis.ask("HKEYS", key), "it is written", 10)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with RedisServer(tmp_path) as redis, ExitStack() as stack:
        made = Nodes(tmp_path, redis, stack)
        for host in (ONE, TWO):
            made.start(host)
        for host in (ONE, TWO):
            made.wait_for_owner(host, host)
        # Each knows the other one.
        for host in (ONE, TWO):
            made.wait_for_both(host)
        yield made


class Party:
    """A phone: sends and hears datagrams."""

    def __init__(self, host: str) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.settimeout(0.05)
        self.number = 0

    @property
    def port(self) -> int:
        """Ours."""
        return int(self.socket.getsockname()[1])

    def send(self, to: tuple[str, int]) -> bytes:
        """One packet more."""
        self.number += 1
        head = b"\x80\x00" + self.number.to_bytes(2, "big") + (160 * self.number).to_bytes(4, "big")
        packet = head + b"\0\0\0\x01" + bytes(160)
        self.socket.sendto(packet, to)
        return packet

    def hears(self, packet: bytes) -> bool:
        """Whether that very packet comes."""
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            try:
                if self.socket.recv(2048) == packet:
                    return True
            except OSError:
                return False
        return False

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


class Call:
    """A call through the relay at ``host``."""

    def __init__(self, relay: Relay, name: str) -> None:
        self.name = name
        self.caller, self.callee = Party(CALLER), Party(CALLEE)
        self.to_callee = _place(relay.ask(f"U {name} {CALLER} {self.caller.port} f"))
        self.to_caller = _place(relay.ask(f"L {name} {CALLEE} {self.callee.port} f t"))

    def goes_on(self) -> None:
        """Both hear each other."""
        wait_until(lambda: self._heard(), f"{self.name} is relayed", 10)

    def _heard(self) -> bool:
        # The answer to U is the port of the callee's party, that to L the caller's.
        one = self.callee.send(self.to_callee)
        other = self.caller.send(self.to_caller)
        return self.caller.hears(one) and self.callee.hears(other)

    def close(self) -> None:
        """Close the sockets."""
        self.caller.close()
        self.callee.close()


def _place(answer: str) -> tuple[str, int]:
    port, host = answer.split()
    return host, int(port)


def test_a_bye_that_comes_to_the_wrong_relay_reaches_its_call(nodes: Nodes) -> None:
    one, two = nodes.relays[ONE], nodes.relays[TWO]
    call = Call(one, "wrong")
    nodes.wait_until_written("wrong", ONE)
    assert two.ask(f"U wrong {CALLER} {call.caller.port} f t").split()[1] == ONE
    assert re.fullmatch(r"\d+ \d+ \d+ \d+ \d+", two.ask("Q wrong f t"))
    assert two.ask("D wrong f t") == "0"
    assert one.count_sessions() == two.count_sessions() == 0
    assert two.ask("D wrong f t") == "E50"
    assert two.ask(f"L nowhere {CALLER} 4000 f t") == "0"
    call.close()


def test_the_calls_of_a_relay_that_was_killed_go_on_over_the_same_ports(nodes: Nodes) -> None:
    one, two = nodes.relays[ONE], nodes.relays[TWO]
    calls = [Call(one, f"kept{number}") for number in range(5)]
    for call in calls:
        call.goes_on()
        nodes.wait_until_written(call.name, ONE)
    one.kill()
    nodes.wait_for_owner(ONE, TWO)
    for call in calls:
        call.goes_on()
    assert two.count_sessions() == 5
    assert two.ask("D kept0 f t") == "0"
    # The first one comes back, and gets its address only when it is told to.
    back = nodes.start(ONE)
    nodes.ctl(ONE, "takeover", ONE)
    nodes.wait_for_owner(ONE, ONE)
    for call in calls[1:]:
        call.goes_on()
        assert back.ask(f"D {call.name} f t") == "0"
    assert two.count_sessions() == back.count_sessions() == 0
    wait_until(
        lambda: nodes.redis.ask("HLEN", f"rtp:{{{ONE}}}:sessions") == b":0\r\n", "no record is left"
    )
    for call in calls:
        call.close()


def accounted(nodes: Nodes) -> list[tuple[str, str]]:
    """Host and call-id of each record, in files of both kinds."""
    found = []
    for host in (ONE, TWO):
        path = nodes.folder / host / "rtpproxy_acct.csv"
        if path.exists():
            with path.open(newline="") as file:
                found += [(host, row["call_id"]) for row in csv.DictReader(file)]
        path = nodes.folder / host / "calls.jsonl"
        if path.exists():
            lines = path.read_text().splitlines()
            found += [(host, json.loads(line)["call_id"]) for line in lines]
    return sorted(found)


def test_each_call_has_one_record_and_its_recording_goes_on_in_a_further_file(
    tmp_path: Path,
) -> None:
    spoken = tmp_path / "spoken"  # one directory for both, as on a file server
    spoken.mkdir()
    options = ("--record-calls", "calls.jsonl", "-r", str(spoken), "--dso", "rtpp_acct_csv.so")
    with RedisServer(tmp_path) as redis, ExitStack() as stack:
        nodes = Nodes(tmp_path, redis, stack)
        for host in (ONE, TWO):
            nodes.start(host, *options)
        for host in (ONE, TWO):
            nodes.wait_for_owner(host, host)
            nodes.wait_for_both(host)
        one, two = nodes.relays[ONE], nodes.relays[TWO]
        calls = [Call(one, name) for name in ("before", "kept")]
        for call in calls:
            assert one.ask(f"R {call.name} f t") == "0"
            call.goes_on()
            nodes.wait_until_written(call.name, ONE)
        assert one.ask("D before f t") == "0"
        wait_until(lambda: accounted(nodes) == 2 * [(ONE, "before")], "its records are written")

        def known() -> bool:
            lines = redis.ask("HVALS", f"rtp:{{{ONE}}}:sessions")
            return b'"before"' not in lines and b'"recorded"' in lines

        wait_until(known, "Redis knows it all", 10)
        one.kill()
        nodes.wait_for_owner(ONE, TWO)
        calls[1].goes_on()
        one = nodes.start(ONE, *options)
        nodes.wait_for_both(ONE)
        assert two.ask("D kept f t") == "0"
        wait_until(lambda: not list((tmp_path / ONE).glob("*.journal")), "what was owed is settled")
        assert one.end() == two.end() == 0
        for call in calls:
            call.close()
        assert accounted(nodes) == sorted(2 * [(ONE, "before"), (TWO, "kept")])
    names = {path.name for path in spoken.iterdir()}
    # The first part is set right by the relay that came back, the second is whole.
    assert names & {"kept=f~crashed.o.rtp", "kept=f.o.rtp"}
    assert "kept=f~2.o.rtp" in names
    assert not any("before=f~" in name for name in names)


def test_a_relay_that_is_stopped_leaves_its_calls_to_the_other_one(nodes: Nodes) -> None:
    one, two = nodes.relays[ONE], nodes.relays[TWO]
    call = Call(one, "left")
    call.goes_on()
    assert one.end() == 0
    nodes.wait_for_owner(ONE, TWO)
    call.goes_on()
    assert two.ask("D left f t") == "0"
    call.close()


@pytest.mark.parametrize(
    "trouble", ["frozen", "stopped", "emptied", "read-only", "full", "garbage"]
)
def test_troubles_of_redis_touch_neither_calls_nor_commands(nodes: Nodes, trouble: str) -> None:
    one, redis = nodes.relays[ONE], nodes.redis
    before = Call(one, "before")
    before.goes_on()
    nodes.wait_until_written("before", ONE)
    match trouble:
        case "frozen":
            redis.freeze()
        case "stopped":
            redis.stop()
        case "emptied":
            redis.ask("FLUSHALL")
        case "read-only":
            redis.ask("REPLICAOF", NOBODY, "1")
        case "full":
            redis.ask("CONFIG", "SET", "maxmemory", "1")
        case "garbage":
            redis.stop()
            garbage = _Garbage(redis.path)
    slowest = 0.0
    for number in range(20):
        began = time.monotonic()
        assert one.ask(f"U new{number} {CALLER} 4000 f", timeout=2).split()[1] == ONE
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.1)
    before.goes_on()
    assert one.ask("Q nowhere f t", timeout=2) == "E50"
    match trouble:
        case "frozen":
            redis.thaw()
        case "stopped":
            redis.start()
        case "read-only":
            redis.ask("REPLICAOF", "NO", "ONE")
        case "full":
            redis.ask("CONFIG", "SET", "maxmemory", "0")
        case "garbage":
            garbage.close()
            redis.start()
    nodes.wait_until_written("before", ONE)
    nodes.wait_until_written("new19", ONE)
    before.goes_on()
    nodes.wait_for_owner(ONE, ONE)
    assert nodes.relays[TWO].count_sessions() == 0
    assert one.count_sessions() == 21
    one.assert_had_no_accident()
    assert slowest < 2
    before.close()


class _Garbage:
    """Answers as a web server would."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        code = (
            "import socket,sys\n"
            "s=socket.socket(socket.AF_UNIX);s.bind(sys.argv[1]);s.listen(50)\n"
            "while True:\n"
            " c=s.accept()[0];c.sendall(b'HTTP/1.1 400 No\\r\\n\\r\\n\\xff\\xfe');c.close()\n"
        )
        self._path = path
        self._process = subprocess.Popen([sys.executable, "-c", code, str(path)])

    def close(self) -> None:
        """No more."""
        self._process.kill()
        self._process.wait()
        self._path.unlink(missing_ok=True)


def test_a_relay_that_drains_gives_new_calls_to_the_other_one_and_serves_its_own(
    nodes: Nodes,
) -> None:
    one, two = nodes.relays[ONE], nodes.relays[TWO]
    call = Call(one, "old")
    nodes.ctl(ONE, "drain")
    wait_until(lambda: "draining" in nodes.ctl(TWO, "fleet"), "it is told", 10)
    new = Call(one, "new")
    new.goes_on()
    assert new.to_callee[0] == TWO
    assert one.ask(f"U old {CALLER} {call.caller.port} f t").split()[1] == ONE
    call.goes_on()
    assert (one.count_sessions(), two.count_sessions()) == (1, 1)
    assert one.ask("D new f t") == one.ask("D old f t") == "0"
    assert (one.count_sessions(), two.count_sessions()) == (0, 0)
    call.close()
    new.close()


def test_what_still_lives_when_the_limit_is_over_goes_on_with_the_other_one(nodes: Nodes) -> None:
    one, two = nodes.relays[ONE], nodes.relays[TWO]
    call = Call(one, "straggler")
    call.goes_on()
    nodes.ctl(ONE, "drain", "--exit", "--limit", "0.5")
    nodes.wait_for_owner(ONE, TWO)
    call.goes_on()
    wait_until(lambda: not one.running, "it ends")
    assert one.status == 0
    assert two.ask("D straggler f t") == "0"
    call.close()


def test_redis_itself_tells_of_the_nodes(nodes: Nodes) -> None:
    argv = [sys.executable, "-m", "rtpproxy_tw.tools.ctl", "--redis", nodes.redis.url, "fleet"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows[1:]] == [[ONE, "up"], [TWO, "up"]]
    assert "token" not in done.stdout
