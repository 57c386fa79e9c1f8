"""Who is heard: a real relay in a network of its own, with a neighbour, and strangers behind it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from tests.e2e.process import Process, wait_until
from tests.kernel.network import Namespace

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces"),
]

RELAY, NEIGHBOUR, STRANGER = "198.51.100.1", "198.51.100.2", "192.0.2.2"
RELAY6, NEIGHBOUR6, STRANGER6 = "fd00:1::1", "fd00:1::2", "2001:db8::2"
PORT = 22222
_starts = count()
QUIET = 0.3
"""Seconds without an answer that show that there is none."""


class World:
    """Two networks joined by a wire: the relay's, and that of everybody else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.here = Namespace("relay")
        try:
            self.there = Namespace("others")
        except BaseException:
            self.here.delete()
            raise
        self.here.ip(
            f"link add r0 type veth peer name c0 netns {self.there.name}",
            "link set r0 up",
            f"addr add {RELAY}/24 dev r0",
            f"addr add {RELAY6}/64 dev r0 nodad",
        )
        self.there.ip(
            "link set c0 up",
            f"addr add {NEIGHBOUR}/24 dev c0",
            f"addr add {STRANGER}/32 dev lo",
            f"addr add {NEIGHBOUR6}/64 dev c0 nodad",
            f"addr add {STRANGER6}/128 dev lo",
        )
        self.here.ip(
            f"route add {STRANGER}/32 via {NEIGHBOUR}",
            f"route add {STRANGER6}/128 via {NEIGHBOUR6}",
        )

    def relay(self, *options: str) -> Process:
        """A relay in its network, ready."""
        argv = [sys.executable, "-m", "rtpproxy_tw.tools.launcher", "-f", "-F", "-l", RELAY]
        argv += ["-d", "INFO", "-s", f"unix:{self.folder / 'local'}", "--http", "none"]
        with self.here:
            made = Process([*argv, *options], self.folder / f"relay-{next(_starts)}.log")
        try:
            wait_until(
                lambda: not made.running or "started, process" in made.printed(), "ready", 20
            )
            assert made.running, made.printed()
        except AssertionError:
            made.kill()
            raise
        return made

    def ask(
        self, command: bytes, source: str, to: str = RELAY, *, inside: bool = False
    ) -> bytes | None:
        """What is answered over UDP, None where nothing is."""
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        with self.here if inside else self.there:
            client = socket.socket(family, socket.SOCK_DGRAM)
        with closing(client):
            client.bind((source, 0))
            client.settimeout(QUIET)
            client.connect((to, PORT))
            try:
                client.send(command)
                return client.recv(4096)
            except OSError:
                return None

    def ask_tcp(self, command: bytes, source: str) -> bytes:
        """What is answered over TCP, nothing where the connection is closed instead."""
        with self.there:
            client = socket.socket()
        with closing(client):
            client.bind((source, 0))
            client.settimeout(5)
            client.connect((RELAY, PORT))
            try:
                client.sendall(command + b"\n")
                return client.recv(4096)
            except ConnectionError:
                return b""

    def ask_unix(self, command: bytes) -> bytes:
        """What is answered at the UNIX socket."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self.folder / "local"))
            client.sendall(command)
            return client.recv(4096)

    def delete(self) -> None:
        """Away with both."""
        self.here.delete()
        self.there.delete()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.delete()


def udp(host: str = RELAY) -> tuple[str, str]:
    return "-s", f"{'udp6' if ':' in host else 'udp'}:{host}:{PORT}"


def test_by_default_neighbours_are_answered_and_strangers_are_not(world: World) -> None:
    with world.relay(*udp(), "-s", f"tcp:{RELAY}:{PORT}") as relay:
        assert world.ask(b"1_1 V", NEIGHBOUR) == b"1_1 20040107\n"
        assert world.ask(b"1_1 V", STRANGER) is None
        assert world.ask_tcp(b"V", NEIGHBOUR) == b"20040107\n"
        assert world.ask_tcp(b"V", STRANGER) == b""
        # Whatever a stranger sends is not executed either.
        assert world.ask(b"1_2 U c 198.51.100.2 4000 f", STRANGER) is None
        assert world.ask_tcp(b"U c 198.51.100.2 4000 f", STRANGER) == b""
        assert world.ask_unix(b"G nsess_created") == b"0\n"
        # The log says whom it was about, and what to do if that was wrong.
        assert f"commands from {STRANGER} over udp are not answered" in relay.printed()
        assert f"--control-allow {STRANGER}" in relay.printed()


def test_a_wildcard_starts_answers_only_what_is_near_and_warns_loudly(world: World) -> None:
    with world.relay(*udp("*")) as relay:
        assert "WARNING: control socket udp:0.0.0.0:22222 can be reached" in relay.printed()
        assert "127.0.0.0/8, ::1/128, 198.51.100.0/24" in relay.printed()
        assert world.ask(b"1_1 V", NEIGHBOUR) == b"1_1 20040107\n"
        assert world.ask(b"1_1 V", STRANGER) is None
        assert world.ask(b"1_1 V", "127.0.0.1", "127.0.0.1", inside=True) == b"1_1 20040107\n"


def test_ipv6_likewise(world: World) -> None:
    with world.relay("-s", f"udp6:*:{PORT}", "-6", f"six@{RELAY6}"):
        assert world.ask(b"1_1 V", NEIGHBOUR6, RELAY6) == b"1_1 20040107\n"
        assert world.ask(b"1_1 V", STRANGER6, RELAY6) is None
        assert world.ask(b"1_1 V", "::1", "::1", inside=True) == b"1_1 20040107\n"


def test_named_networks_take_the_place_of_the_default(world: World) -> None:
    allow = ("--control-allow", "192.0.2.0/30", "--control-allow", "127.0.0.1")
    with world.relay(*udp("*"), *allow) as relay:
        assert "WARNING: control socket" not in relay.printed()
        assert world.ask(b"1_1 V", STRANGER) == b"1_1 20040107\n"
        assert world.ask(b"1_1 V", NEIGHBOUR) is None
        assert world.ask(b"1_1 V", "127.0.0.1", "127.0.0.1", inside=True) == b"1_1 20040107\n"


def test_replies_are_no_use_for_amplification_unless_the_source_is_named(world: World) -> None:
    with world.relay(*udp()):
        for request in (b"1 I", b"1 G nsess_created nsess_destroyed", b"1 V", b""):
            answer = world.ask(request, NEIGHBOUR) or b""
            assert len(answer) <= 3 * len(request), request
        assert world.ask(b"12_1 I", NEIGHBOUR) == b"12_1 E25\n"
    with world.relay(*udp(), "--control-allow", NEIGHBOUR):
        answer = world.ask(b"12_1 I", NEIGHBOUR) or b""
        assert answer.startswith(b"12_1 sessions created: 0\n")


def test_beyond_its_budget_a_source_hears_nothing_and_others_are_served(world: World) -> None:
    allow = ("--control-allow", NEIGHBOUR, "--control-allow", STRANGER)
    with world.relay(*udp(), *allow, "--control-rate", "20") as relay:
        with world.there:
            storm = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with closing(storm):
            storm.bind((NEIGHBOUR, 0))
            storm.settimeout(QUIET)
            for number in range(500):
                storm.sendto(b"%d_1 V" % number, (RELAY, PORT))
            answered = 0
            try:
                while storm.recv(100):
                    answered += 1
            except TimeoutError:
                pass
        # Those of five seconds at once, and what came in while the storm lasted.
        assert 100 <= answered < 200
        assert world.ask(b"1_1 V", STRANGER) == b"1_1 20040107\n"
        assert "than --control-rate allows" in relay.printed()


def test_each_socket_has_a_policy_of_its_own(world: World) -> None:
    policies = ("--control-policy", f"udp:{RELAY}:{PORT}=-xD")
    local = ("--control-policy", f"unix:{world.folder / 'local'}=V")
    with world.relay(*udp(), *policies, "-s", f"tcp:{RELAY}:{PORT}", *local):
        assert world.ask(b"1_1 U c 198.51.100.2 4000 f", NEIGHBOUR) is not None
        assert world.ask(b"1_2 X", NEIGHBOUR) == b"1_2 E3\n"
        assert world.ask(b"1_3 D c f", NEIGHBOUR) == b"1_3 E3\n"
        assert world.ask_unix(b"V") == b"20040107\n"
        assert world.ask_unix(b"D c f") == b"E3\n"
        assert world.ask_tcp(b"D c f", NEIGHBOUR) == b"0\n"


def test_the_unix_socket_is_for_its_user_and_group(world: World) -> None:
    with world.relay():
        assert (world.folder / "local").stat().st_mode & 0o777 == 0o660
