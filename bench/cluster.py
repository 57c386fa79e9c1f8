"""What becomes of calls when relays, addresses or Redis fail: ``python -m bench cluster NAME``.

Two relays that stand by for each other, Redis and the phones are each in a network namespace of
their own, on one bridge. Each phone's packet carries the number of its call, so that it is known
for each call when it was last heard before the trouble, and when it was heard again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.namespaces import Namespace, missing
from rtpproxy_tw.tools.ctl_client import Client, Refused, Unreachable, read_target

PHONES = "10.9.0.1"
REDIS = "10.9.0.2"
HOSTS = {"one": "10.9.0.11", "two": "10.9.0.12"}
MEDIA = {"one": "10.9.0.101", "two": "10.9.0.102"}
CALLER, CALLEE = 20000, 20002
RCVBUFFORCE = 33
"""SO_RCVBUFFORCE, socket(7), which Python has no name for."""
PACKET = struct.Struct(">BBHIII")
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
ROOT = Path(__file__).resolve().parent.parent


class ClusterError(Exception):
    """It could not be measured; the text says why."""


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one scenario."""

    calls: int
    kept: int
    """Calls whose packets arrive at the end."""
    lost: int
    """Packets that never arrived."""
    sent: int
    outage: float
    """Seconds in which the call that fared worst heard nothing, less the packets' spacing."""
    slowest: float
    """Seconds that the slowest command took meanwhile."""
    ended: int
    """Calls that at last were ended by a BYE at the other relay."""
    detection: float | None
    """Seconds until the other relay began to take over; None where it did not."""
    offloaded: tuple[int, int] = 0, 0
    """Streams in the kernel: at the first relay before, at the other one afterwards."""
    note: str = ""

    @property
    def well(self) -> bool:
        """Whether no call was lost."""
        return self.kept == self.ended == self.calls


class World:
    """The namespaces, Redis, and whatever relays are started. ``with`` ends all of it."""

    def __init__(self, calls: int, rate: float, lease: int, fast_path: str) -> None:
        self.calls = calls
        self.rate = rate
        self.lease = lease
        self.fast_path = fast_path
        self.prefixes: dict[str, Sequence[str]] = {}
        """Words before the command line of a relay."""
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
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        self._stack.close()
        if kind is None:  # otherwise the logs tell why
            shutil.rmtree(self.folder)

    def _make(self) -> None:
        hub = self._space("hub")
        hub.ip("link add br0 type bridge", "link set br0 up")
        for name, host in (("phones", PHONES), ("redis", REDIS), *HOSTS.items()):
            space = self._space(name)
            subprocess.run(
                f"ip -n {hub.name} link add {name} type veth peer name eth0 netns {space.name}"
                f" && ip -n {hub.name} link set {name} master br0 up",
                shell=True,
                check=True,
            )
            space.ip(f"addr add {host}/24 dev eth0", "link set eth0 up")
        for name, address in MEDIA.items():
            self.give(address, name)
        self.start_redis()

    def _space(self, name: str) -> Namespace:
        made = self._spaces[name] = Namespace(name)
        self._stack.callback(made.delete)
        return made

    def ip(self, name: str, line: str) -> None:
        """A command of ``ip`` in a namespace."""
        self._spaces[name].ip(line)

    # Addresses.

    def give(self, address: str, name: str) -> None:
        """The address comes to that host, and all know it: as keepalived would do."""
        for other in HOSTS:
            # It need not have it.
            line = f"ip -n {self._spaces[other].name} addr del {address}/24 dev eth0"
            subprocess.run(line.split(), check=False, stderr=subprocess.DEVNULL)
        self._spaces[name].ip(f"addr add {address}/24 dev eth0")
        self._spaces["phones"].ip("neigh flush dev eth0")

    # Programs.

    def run(
        self, space: str, argv: Sequence[str], log: str, tree: Path = ROOT
    ) -> subprocess.Popen[bytes]:
        """Start a program in a namespace."""
        with (self.folder / log).open("ab") as sink:
            return subprocess.Popen(
                ["ip", "netns", "exec", self._spaces[space].name, *argv],
                stdout=sink,
                stderr=sink,
                cwd=tree,
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
        other = next(each for each in HOSTS if each != name)
        prefix = self.prefixes.get(name, ())
        argv = [*prefix, sys.executable, "-m", "rtpproxy_tw.tools.launcher", "-f", "-F"]
        for host in (HOSTS[name], *MEDIA.values()):
            argv += ["-s", f"udp:{host}:22222"]
        argv += ["-l", MEDIA[name], "--standby", MEDIA[other], "-m", "30000", "-M", "60000"]
        argv += ["--redis", f"redis://{REDIS}", "--node", name, "--lease", str(self.lease)]
        argv += ["--cluster-listen", f"{HOSTS[name]}:7000", "-p", "/dev/null", "-d", "INFO"]
        argv += ["--control-allow", "10.9.0.0/24", "--http", f"unix:{self.folder}/{name}.http"]
        argv += ["--fast-path", self.fast_path, "-L", str(FILES), "-T", "600"]
        self.relays[name] = self.run(name, argv, f"{name}.log", self.trees.get(name, ROOT))
        deadline = time.monotonic() + 20
        while True:
            with suppress(OSError):
                self.ask(HOSTS[name], "V", 0.3)
                return
            if time.monotonic() > deadline or self.relays[name].poll() is not None:
                raise ClusterError(f"{name} did not start: {self.folder}/{name}.log")

    def ctl(self, name: str, *words: str) -> str:
        """What ``rtpproxy-ctl`` prints."""
        argv = [
            sys.executable,
            "-m",
            "rtpproxy_tw.tools.ctl",
            "--api",
            f"{self.folder}/{name}.http",
        ]
        done = subprocess.run(
            [*argv, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def offloaded(self, name: str) -> int:
        """How many streams a relay has the kernel carry; 0 where it does not answer."""
        try:
            text = Client(read_target(f"{self.folder}/{name}.http")).fetch("/metrics").decode()
        except (Refused, Unreachable):
            return 0
        found = re.search(r"^relay_streams_offloaded (\d+)", text, re.MULTILINE)
        return int(found[1]) if found else 0

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

    def both_up(self) -> None:
        """Start both relays; returns when they know each other."""
        for name in HOSTS:
            self.start(name)
        deadline = time.monotonic() + 15
        while not all(self.ctl(name, "fleet").count(" up ") == 2 for name in HOSTS):
            if time.monotonic() > deadline:
                raise ClusterError("the relays do not find each other")


class Media:
    """The phones: one thread sends for all calls in turn, one hears, and answers where the kernel
    is to carry streams, which it does of calls that speak both ways."""

    def __init__(self, world: World, ways: Sequence[tuple[Way, Way]]) -> None:
        self._targets = targets = [way for way, _ in ways]
        self._answers = [way for _, way in ways] if world.fast_path != "none" else []
        self._spacing = 1 / (world.rate * len(targets))
        with world._spaces["phones"]:
            self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._hearer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sender.bind((PHONES, CALLER))
        self._hearer.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 1 << 25)
        self._hearer.bind((PHONES, CALLEE))
        self._hearer.settimeout(0.2)
        self.sent = 0
        self.heard: list[list[float]] = [[] for _ in targets]
        self._going = True
        self._hearing = True
        self._threads = [threading.Thread(target=each) for each in (self._send, self._hear)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let what is under way arrive, and stop."""
        self._going = False
        self._threads[0].join()
        time.sleep(0.5)
        self._hearing = False
        self._threads[1].join()
        self._sender.close()
        self._hearer.close()

    def _send(self) -> None:
        due = time.monotonic()
        while self._going:
            for number, target in enumerate(self._targets):
                turn = self.sent // len(self._targets)
                head = PACKET.pack(0x80, 0, turn & 0xFFFF, 160 * turn, number + 1, number)
                with suppress(OSError):
                    self._sender.sendto(head + bytes(156), target)
                self.sent += 1
                due += self._spacing
                ahead = due - time.monotonic()
                if ahead > 0.002:
                    time.sleep(ahead)
            if not self._going:
                return

    def _hear(self) -> None:
        while self._hearing:
            try:
                packet = self._hearer.recv(2048)
            except OSError:
                continue
            number = PACKET.unpack_from(packet)[5]
            if number < len(self.heard):
                self.heard[number].append(time.monotonic())
                if self._answers:
                    with suppress(OSError):
                        self._hearer.sendto(packet, self._answers[number])


Way = tuple[str, int]


def place(world: World, count: int, node: str = "one") -> list[tuple[Way, Way]]:
    """Set calls up; where the callers send, and where the callees."""
    found = []
    for number in range(count):
        host = MEDIA[node]
        offer = world.ask(host, f"U call{number} {PHONES} {CALLER} f{number}").split()
        answer = world.ask(host, f"L call{number} {PHONES} {CALLEE} f{number} t{number}").split()
        found.append(((answer[1], int(answer[0])), (offer[1], int(offer[0]))))
    return found


HEAD = (
    *("scenario", "calls", "kept", "byes", "lost", "of", "outage ms", "detection ms"),
    *("slowest ms", "note"),
)

Trouble = Callable[[World], str]


def measure(name: str, world: World) -> Told:
    """One scenario. Raises ClusterError."""
    scenario = SCENARIOS[name]
    scenario.before(world)
    world.both_up()
    media = Media(world, place(world, world.calls))
    slowest, stop = [0.0], threading.Event()

    def command() -> None:
        while not stop.wait(0.1):
            slowest[0] = max(slowest[0], world.seconds_for(MEDIA["two"], "U probe 10.9.0.1 4 p"))

    thread = threading.Thread(target=command)
    try:
        time.sleep(4)
        before = world.offloaded("one")
        thread.start()
        began = time.monotonic()
        note = scenario.trouble(world)
        time.sleep(scenario.after)
        ended = time.monotonic()
        offloaded = before, world.offloaded("two")
    finally:
        stop.set()
        media.stop()
    thread.join()
    took = _take_over(world, began)
    gone = sum(
        world.ask(HOSTS["two"], f"D call{number} f{number} t{number}") == "0"
        for number in range(world.calls)
    )
    if took is not None:
        note += f"; taken over in {1000 * took[1]:.0f} ms"
    outage, kept, lost = _heard(world, media, began, ended)
    detection = None if took is None else took[0]
    if any(offloaded):
        note += "; streams in the kernel: {} before, {} at the other relay".format(*offloaded)
    return Told(
        calls=world.calls,
        kept=kept,
        lost=lost,
        sent=media.sent,
        outage=outage,
        slowest=slowest[0],
        ended=gone,
        detection=detection,
        offloaded=offloaded,
        note=note.strip("; "),
    )


def _take_over(world: World, began: float) -> tuple[float, float] | None:
    """When the other relay began to take over, in seconds from ``began``, and for how long."""
    try:
        rows = json.loads(world.ctl("two", "--json", "fleet"))["addresses"]
    except (ValueError, LookupError):
        return None
    now = time.monotonic()
    for row in rows:
        ago = row.get("taken_seconds_ago")
        if row["address"] == MEDIA["one"] and ago is not None:
            took = float(row["took_seconds"])
            return max(0.0, now - ago - took - began), took
    return None


def _heard(world: World, media: Media, began: float, ended: float) -> tuple[float, int, int]:
    """The longest silence, calls kept, packets lost."""
    spacing = 1 / world.rate
    worst, kept = 0.0, 0
    for times in media.heard:
        later = [at for at in times if at >= began - 2 * spacing]
        kept += bool(later) and later[-1] >= ended - 4 * spacing
        gaps = [after - before for before, after in pairwise(later)]
        worst = max(worst, *gaps) if gaps else worst
    heard = sum(map(len, media.heard))
    return max(0.0, worst - spacing), kept, media.sent - heard


# The troubles.


def killed(world: World) -> str:
    """A node is killed, and its address comes to the other one's host."""
    world.relays["one"].kill()
    world.give(MEDIA["one"], "two")
    return f"detection {world.lease} ms"


def frozen(world: World) -> str:
    """A node stands still and loses its address; later it goes on, and must do no harm."""
    world.relays["one"].send_signal(signal.SIGSTOP)
    world.give(MEDIA["one"], "two")
    time.sleep(4)
    world.relays["one"].send_signal(signal.SIGCONT)
    return f"detection {world.lease} ms; it woke after 4 s"


def moved(world: World) -> str:
    """The address moves, and keepalived tells the node that has it now."""
    world.give(MEDIA["one"], "two")
    told = world.ctl("two", "takeover", MEDIA["one"])
    return "by command" if "OWNS" in told else told


def stopped(world: World) -> str:
    """A node is stopped in good order."""
    world.relays["one"].terminate()
    world.relays["one"].wait()
    world.give(MEDIA["one"], "two")
    return "SIGTERM"


def drained(world: World) -> str:
    """A node drains; what still lives after a second is left to the other one."""
    told = _first(world.ctl("one", "drain", "--exit", "--limit", "1"))
    world.relays["one"].wait()
    world.give(MEDIA["one"], "two")
    return told


def redis_stopped(world: World) -> str:
    """Redis dies, and is started again, empty."""
    world.redis.kill()
    world.redis.wait()
    time.sleep(5)
    world.start_redis()
    return "away for 5 s"


def redis_frozen(world: World) -> str:
    """Redis hangs."""
    world.redis.send_signal(signal.SIGSTOP)
    time.sleep(5)
    world.redis.send_signal(signal.SIGCONT)
    return "for 5 s"


def redis_emptied(world: World) -> str:
    """Redis loses all it has."""
    world.ask_redis("FLUSHALL")
    return "FLUSHALL"


def redis_garbage(world: World) -> str:
    """Something that is no Redis answers in its place."""
    world.redis.kill()
    world.redis.wait()
    answering = world.run("redis", [sys.executable, "-c", GARBAGE, REDIS], "garbage.log")
    time.sleep(5)
    answering.kill()
    answering.wait()
    world.start_redis()
    return "HTTP and octets for 5 s, then empty"


GARBAGE = """
import socket, sys
s = socket.create_server((sys.argv[1], 6379))
while True:
    c = s.accept()[0]
    c.sendall(b"HTTP/1.1 400 No\\r\\n\\r\\n\\xff\\xfe")
    c.close()
"""


def redis_readonly(world: World) -> str:
    """Redis becomes a replica, and takes no writing."""
    world.ask_redis("REPLICAOF", "10.9.0.99", "1")
    time.sleep(5)
    world.ask_redis("REPLICAOF", "NO", "ONE")
    return "READONLY for 5 s"


def redis_full(world: World) -> str:
    """Redis has no memory left."""
    world.ask_redis("CONFIG", "SET", "maxmemory", "1")
    time.sleep(5)
    world.ask_redis("CONFIG", "SET", "maxmemory", "0")
    return "OOM for 5 s"


def unplugged(world: World) -> str:
    """A host is gone: nobody refuses a connection there."""
    world.ip("hub", "link set one down")
    world.give(MEDIA["one"], "two")
    return f"lease {world.lease} ms"


def returned(world: World) -> str:
    """A relay is killed and comes back, and so does its address: there and back again."""
    killed(world)
    time.sleep(3)
    world.start("one")
    time.sleep(3)
    world.give(MEDIA["one"], "one")
    return "killed, and its address comes back 6 s later"


def split(world: World) -> str:
    """A relay does not reach Redis, and goes on relaying; the other one takes it for dead."""
    world.ip("one", f"route add blackhole {REDIS}/32")
    time.sleep(5)
    world.ip("one", f"route del blackhole {REDIS}/32")
    return "one without Redis for 5 s"


def rehashed(world: World) -> str:
    """Every command comes to the relay that does not have the call; at last all calls end."""
    wrong = 0
    for number in range(world.calls):
        again = f"U call{number} {PHONES} {CALLER} f{number} t{number}"
        answer = world.ask(HOSTS["two"], again)
        wrong += MEDIA["one"] not in answer
    return f"{world.calls} re-INVITEs to the wrong relay, {wrong} not answered by the right one"


# What is different from the beginning.


def as_usual(world: World) -> None:
    """Nothing."""


def clocks_apart(world: World) -> None:
    """The clock of one relay is five minutes ahead. Raises ClusterError."""
    if shutil.which("faketime") is None:
        raise ClusterError("no faketime here (Debian: faketime)")
    world.prefixes["two"] = ["faketime", "--exclude-monotonic", "-f", "+300s"]


def mixed(world: World) -> None:
    """One relay is of an earlier version."""
    tree = world.trees["one"] = world.folder / "before"
    tree.mkdir()
    revision = os.environ.get("BENCH_BEFORE", "HEAD~30")
    archive = subprocess.run(
        ["git", "archive", revision, "rtpproxy_tw"], cwd=ROOT, capture_output=True, check=True
    )
    subprocess.run(["tar", "x", "-C", str(tree)], input=archive.stdout, check=True)


def _first(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens, and the seconds that are looked at ``after`` it."""

    trouble: Trouble
    after: float
    before: Callable[[World], None] = as_usual


SCENARIOS = {
    "killed": Scenario(killed, 6),
    "unplugged": Scenario(unplugged, 6),
    "frozen": Scenario(frozen, 4),
    "moved": Scenario(moved, 4),
    "stopped": Scenario(stopped, 5),
    "drained": Scenario(drained, 5),
    "returned": Scenario(returned, 5),
    "split": Scenario(split, 5),
    "clocks": Scenario(killed, 6, clocks_apart),
    "mixed": Scenario(killed, 6, mixed),
    "redis-stopped": Scenario(redis_stopped, 5),
    "redis-frozen": Scenario(redis_frozen, 4),
    "redis-emptied": Scenario(redis_emptied, 5),
    "redis-garbage": Scenario(redis_garbage, 5),
    "redis-readonly": Scenario(redis_readonly, 5),
    "redis-full": Scenario(redis_full, 5),
    "rehashed": Scenario(rehashed, 1),
}
"""By name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as ``arguments`` say; 0 where all calls were kept."""
    parser = argparse.ArgumentParser(prog="bench cluster", description=__doc__)
    parser.add_argument("scenario", choices=[*SCENARIOS, "all", "paper"])
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--rate", type=float, default=10.0, help="packets a second of each call")
    parser.add_argument("--lease", type=int, default=1000, help="milliseconds")
    parser.add_argument("--fast-path", default="none")
    asked = parser.parse_args(arguments)
    if asked.scenario == "paper":
        from bench.cluster_paper import report

        print(report())
        return 0
    why = missing()
    if why is not None:
        print(f"bench: {why}", file=sys.stderr)
        return 1
    well = True
    print(_row(*HEAD))
    for name in SCENARIOS if asked.scenario == "all" else [asked.scenario]:
        with World(asked.calls, asked.rate, asked.lease, asked.fast_path) as world:
            told = measure(name, world)
        well = well and told.well
        times = (told.outage, told.detection, told.slowest)
        shown = ("-" if each is None else f"{1000 * each:.0f}" for each in times)
        counts = (told.calls, told.kept, told.ended, told.lost, told.sent)
        print(_row(name, *counts, *shown, told.note), flush=True)
    return 0 if well else 1


def _row(*cells: object) -> str:
    widths = (15, 6, 6, 6, 7, 8, 10, 13, 11, 0)
    return " ".join(f"{cell!s:<{width}}" for cell, width in zip(cells, widths, strict=True))


if __name__ == "__main__":
    sys.exit(main())
