"""The network of the bench and the programs in it: relays, Redis, and whoever uses them.

Every relay, Redis and the SIP side is in a network namespace of its own, on one bridge.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from bench.namespaces import Namespace
from rtpproxy_tw.tools.ctl_client import Client, Refused, Unreachable, read_target

PHONES = "10.9.0.1"
REDIS = "10.9.0.2"
HOSTS = {"one": "10.9.0.11", "two": "10.9.0.12", "three": "10.9.0.13"}
"""The relays' own addresses, which stay."""
MEDIA = {"one": "10.9.0.101", "two": "10.9.0.102", "three": "10.9.0.103"}
"""Those that move."""
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
ROOT = Path(__file__).resolve().parents[2]


class ClusterError(Exception):
    """It could not be measured; the text says why."""


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Return when ``condition`` holds. Raises ClusterError after so many ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.02)


class World:
    """The namespaces, Redis, and whatever relays are started. ``with`` ends all of it.

    ``lease`` is in milliseconds, ``fast_path`` what the relays have the kernel do.
    """

    def __init__(self, nodes: Sequence[str], lease: int = 1000, fast_path: str = "none") -> None:
        self.nodes = tuple(nodes)
        self.lease = lease
        self.fast_path = fast_path
        self.prefixes: dict[str, Sequence[str]] = {}
        """Words before the command line of a relay."""
        self.options: list[str] = []
        """What relays are told besides."""
        self.trees: dict[str, Path] = {}
        """Where a relay's program is, if it is not this one."""
        self.folder = Path(tempfile.mkdtemp(prefix="bench-cluster-"))
        self.relays: dict[str, subprocess.Popen[bytes]] = {}
        self._stack = ExitStack()
        self._spaces: dict[str, Namespace] = {}
        self._redis: subprocess.Popen[bytes] | None = None
        self._number = 0

    def __enter__(self) -> World:
        try:
            self._make()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for process in (*self.relays.values(), self._redis):
            if process is not None:
                end(process)
        self._stack.close()
        if kind is None:  # otherwise the logs tell why
            shutil.rmtree(self.folder)

    def _make(self) -> None:
        hub = self._space("hub")
        hub.ip("link add br0 type bridge", "link set br0 up")
        hosts = {"phones": PHONES, "redis": REDIS, **{name: HOSTS[name] for name in self.nodes}}
        for name, host in hosts.items():
            space = self._space(name)
            subprocess.run(
                f"ip -n {hub.name} link add {name} type veth peer name eth0 netns {space.name}"
                f" && ip -n {hub.name} link set {name} master br0 up",
                shell=True,
                check=True,
            )
            space.ip(f"addr add {host}/24 dev eth0", "link set eth0 up")
        for name in self.nodes:
            self.give(MEDIA[name], name)
        self.start_redis()

    def _space(self, name: str) -> Namespace:
        made = self._spaces[name] = Namespace(name)
        self._stack.callback(made.delete)
        return made

    def space(self, name: str) -> Namespace:
        """A namespace: ``phones``, ``redis``, ``hub`` or that of a relay."""
        return self._spaces[name]

    def ip(self, name: str, line: str) -> None:
        """A command of ``ip`` in a namespace."""
        self._spaces[name].ip(line)

    # Addresses.

    def give(self, address: str, name: str) -> None:
        """The address comes to that host, and all know it: as keepalived would do."""
        for other in self.nodes:
            # It need not have it.
            line = f"ip -n {self._spaces[other].name} addr del {address}/24 dev eth0"
            subprocess.run(line.split(), check=False, stderr=subprocess.DEVNULL)
        self._spaces[name].ip(f"addr add {address}/24 dev eth0")
        self._spaces["phones"].ip("neigh flush dev eth0")

    def have_both(self, address: str, name: str) -> None:
        """The address is on that host, too, which keeps quiet about it: as with anycast."""
        quiet = "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore"
        self.run(name, ["sh", "-c", quiet], "sysctl.log").wait()
        self._spaces[name].ip(f"addr add {address}/32 dev lo")

    def lead(self, address: str, name: str) -> None:
        """Packets for that address go to that host, and no host learns of it: a route changes."""
        self._spaces["phones"].ip(f"route replace {address}/32 via {HOSTS[name]}")

    # Programs.

    def run(
        self, space: str, argv: Sequence[str], log: str, tree: Path = ROOT
    ) -> subprocess.Popen[bytes]:
        """Start a program in a namespace."""
        with (self.folder / log).open("ab") as sink:
            return subprocess.Popen(
                ["ip", "netns", "exec", self._spaces[space].name, *argv],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd=tree,
                start_new_session=True,
                env={**os.environ, "TERM": "dumb"},
            )

    def start_redis(self) -> None:
        """A Redis that keeps nothing on a disk."""
        argv = ["redis-server", "--bind", REDIS, "--save", "", "--protected-mode", "no"]
        self._redis = self.run("redis", [*argv, "--dir", str(self.folder)], "redis.log")

    @property
    def redis(self) -> subprocess.Popen[bytes]:
        """Its process."""
        assert self._redis is not None
        return self._redis

    def ask_redis(self, *words: str) -> bytes:
        """Its answer to a command, as far as it comes at once."""
        with self._spaces["phones"], socket.create_connection((REDIS, 6379), 5) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(65536)

    def start(self, name: str) -> None:
        """Start a relay, and wait until it answers."""
        argv = [*self.prefixes.get(name, ()), sys.executable, "-m", "rtpproxy_tw.tools.launcher"]
        for host in (HOSTS[name], *(MEDIA[each] for each in self.nodes)):
            argv += ["-s", f"udp:{host}:22222"]
        argv += ["-f", "-F", "-l", MEDIA[name], "-m", "30000", "-M", "60000"]
        for other in self.nodes:
            argv += [] if other == name else ["--standby", MEDIA[other]]
        argv += ["--redis", f"redis://{REDIS}", "--node", name, "--lease", str(self.lease)]
        argv += ["--cluster-listen", f"{HOSTS[name]}:7000", "-p", "/dev/null", "-d", "INFO"]
        argv += ["--control-allow", "10.9.0.0/24", "--http", f"unix:{self.folder}/{name}.http"]
        argv += ["--fast-path", self.fast_path, "-L", str(FILES), "-T", "600"]
        argv += self.options
        made = self.relays[name] = self.run(name, argv, f"{name}.log", self.trees.get(name, ROOT))

        def answers() -> bool:
            if made.poll() is not None:
                raise ClusterError(f"{name} did not start: {self.folder}/{name}.log")
            with suppress(OSError):
                self.ask(HOSTS[name], "V", 0.3)
                return True
            return False

        wait_for(answers, f"{name} answers")

    def start_all(self, absent: Sequence[str] = ()) -> None:
        """Start all relays but those; returns when they know each other, and each has its
        address."""
        for name in self.nodes:
            if name not in absent:
                self.start(name)
        wait_for(lambda: all(map(self._is_settled, self.relays)), "the relays find each other")

    def _is_settled(self, name: str) -> bool:
        told = self.fleet(name)
        alive = sum(bool(each["alive"]) for each in told.get("nodes", ()))
        return alive == len(self.relays) and MEDIA[name] in self.owned(name)

    def owned(self, name: str) -> set[str]:
        """The addresses a relay has, as it says itself."""
        rows = self.fleet(name).get("addresses", ())
        return {row["address"] for row in rows if row["role"] == "owner"}

    # Asking them.

    def fleet(self, name: str) -> dict[str, Any]:
        """What a relay says of all; {} where it does not answer."""
        try:
            found = json.loads(self._fetch(name, "/api/v1/fleet"))
        except (Refused, Unreachable, OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def metric(self, name: str, line: str) -> int:
        """A number of a relay's metrics, where ``line`` is all before it; 0 where it does not
        answer."""
        try:
            text = self._fetch(name, "/metrics").decode()
        except (Refused, Unreachable, OSError):
            return 0
        found = re.search(rf"^{re.escape(line)} (\d+)", text, re.MULTILINE)
        return int(found[1]) if found else 0

    def _fetch(self, name: str, path: str) -> bytes:
        return Client(read_target(f"{self.folder}/{name}.http")).fetch(path)

    def ctl(self, name: str, *words: str) -> str:
        """What ``rtpproxy-ctl`` prints."""
        argv = [sys.executable, "-m", "rtpproxy_tw.tools.ctl"]
        argv += ["--api", f"{self.folder}/{name}.http", *words]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def living(self) -> list[str]:
        """The relays whose process runs."""
        return [name for name, each in self.relays.items() if each.poll() is None]

    def ask(self, host: str, command: str, timeout: float = 5.0) -> str:
        """A relay's reply. Raises OSError."""
        self._number += 1
        cookie = f"b{os.getpid()}x{self._number}"
        with self._spaces["phones"]:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.settimeout(timeout)
            sock.connect((host, 22222))
            sock.send(f"{cookie} {command}".encode())
            return sock.recv(4096).decode().split(" ", 1)[1].strip()

    def seconds_for(self, host: str, command: str) -> float:
        """How long a command takes; five seconds where nobody answers."""
        began = time.monotonic()
        with suppress(OSError):
            self.ask(host, command)
        return time.monotonic() - began


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill it with its children, even where it stands still."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
