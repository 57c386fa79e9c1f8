"""What goes wrong, one function each, and what it is tried with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.cluster.signalling import Signalling
from bench.cluster.world import HOSTS, MEDIA, PHONES, REDIS, ROOT, ClusterError, World, end

AWAY = 5.0
"""Seconds for which Redis is in trouble."""

Trouble = Callable[[World, Signalling], str]
"""Does it, and returns what there is to say about it."""


def killed(world: World, sip: Signalling) -> str:
    """A node is killed, and its address comes to the other one's host."""
    end(world.relays["one"])
    world.give(MEDIA["one"], "two")
    return ""


def unplugged(world: World, sip: Signalling) -> str:
    """A host is gone: nobody refuses a connection there."""
    world.ip("hub", "link set one down")
    world.give(MEDIA["one"], "two")
    return ""


def frozen(world: World, sip: Signalling) -> str:
    """A node stands still and loses its address; later it goes on, and must do no harm."""
    world.relays["one"].send_signal(signal.SIGSTOP)
    world.give(MEDIA["one"], "two")
    time.sleep(4)
    world.relays["one"].send_signal(signal.SIGCONT)
    return "it woke after 4 s"


def moved(world: World, sip: Signalling) -> str:
    """The address moves, and keepalived tells the node that has it now."""
    world.give(MEDIA["one"], "two")
    told = world.ctl("two", "takeover", MEDIA["one"])
    return "" if "OWNS" in told else told


def stopped(world: World, sip: Signalling) -> str:
    """A node is stopped in good order."""
    world.relays["one"].terminate()
    world.relays["one"].wait()
    world.give(MEDIA["one"], "two")
    return ""


def drained(world: World, sip: Signalling) -> str:
    """A node drains; what still lives after a second is left to the other one."""
    told = world.ctl("one", "drain", "--exit", "--limit", "1").strip().splitlines()
    world.relays["one"].wait()
    world.give(MEDIA["one"], "two")
    return told[0] if told else ""


def returned(world: World, sip: Signalling) -> str:
    """A relay is killed and comes back, and so does its address: there and back again."""
    killed(world, sip)
    time.sleep(3)
    world.start("one")
    time.sleep(3)
    world.give(MEDIA["one"], "one")
    return ""


def split(world: World, sip: Signalling) -> str:
    """A relay does not reach Redis, and goes on relaying; the other one takes it for dead."""
    world.ip("one", f"route add blackhole {REDIS}/32")
    time.sleep(AWAY)
    world.ip("one", f"route del blackhole {REDIS}/32")
    return ""


def redis_stopped(world: World, sip: Signalling) -> str:
    """Redis dies, and is started again, empty."""
    end(world.redis)
    time.sleep(AWAY)
    world.start_redis()
    return ""


def redis_frozen(world: World, sip: Signalling) -> str:
    """Redis hangs."""
    world.redis.send_signal(signal.SIGSTOP)
    time.sleep(AWAY)
    world.redis.send_signal(signal.SIGCONT)
    return ""


def redis_emptied(world: World, sip: Signalling) -> str:
    """Redis loses all it has."""
    world.ask_redis("FLUSHALL")
    return ""


def redis_garbage(world: World, sip: Signalling) -> str:
    """Something that is no Redis answers in its place."""
    end(world.redis)
    answering = world.run("redis", [sys.executable, "-c", GARBAGE, REDIS], "garbage.log")
    time.sleep(AWAY)
    end(answering)
    world.start_redis()
    return ""


GARBAGE = """
import socket, sys
s = socket.create_server((sys.argv[1], 6379))
while True:
    c = s.accept()[0]
    c.sendall(b"HTTP/1.1 400 No\\r\\n\\r\\n\\xff\\xfe")
    c.close()
"""


def redis_readonly(world: World, sip: Signalling) -> str:
    """Redis becomes a replica, and takes no writing."""
    world.ask_redis("REPLICAOF", "10.9.0.99", "1")
    time.sleep(AWAY)
    world.ask_redis("REPLICAOF", "NO", "ONE")
    return ""


def redis_full(world: World, sip: Signalling) -> str:
    """Redis has no memory left."""
    world.ask_redis("CONFIG", "SET", "maxmemory", "1")
    time.sleep(AWAY)
    world.ask_redis("CONFIG", "SET", "maxmemory", "0")
    return ""


RETRY_AFTER = 20
"""Seconds for which Kamailio leaves a silent relay alone where one comes."""


def rehashed(world: World, sip: Signalling) -> str:
    """A relay of three goes, by which Kamailio asks another relay than before about most calls.
    Each is offered anew; the BYEs come later."""
    before = _forwarded(world)
    going = world.relays["three"]
    going.terminate()
    going.wait()
    world.give(MEDIA["three"], "two")
    sip.teach()
    return _offered_anew(world, sip, before)


def joined(world: World, sip: Signalling) -> str:
    """A third relay comes, by which Kamailio does the same."""
    before = _forwarded(world)
    began = time.monotonic()
    world.start("three")
    time.sleep(max(0.0, began + RETRY_AFTER - time.monotonic()))
    sip.teach()
    return _offered_anew(world, sip, before)


def _offered_anew(world: World, sip: Signalling, before: int) -> str:
    answered = sip.offer_anew(sip.calls)
    return f"{answered} re-INVITEs well; {_forwarded(world) - before} commands passed on so far"


def _forwarded(world: World) -> int:
    line = 'relay_cluster_commands_total{result="forwarded"}'
    return sum(world.metric(name, line) for name in world.living())


def overloaded(world: World, sip: Signalling) -> str:
    """As much media comes to a relay as a process can send; new calls go to the other one."""
    world.ask(MEDIA["one"], f"U loud {PHONES} 4000 f")
    port = world.ask(MEDIA["one"], f"L loud {PHONES} 4002 f t").split()[0]
    argv = [sys.executable, "-c", FLOOD, PHONES, "4000", MEDIA["one"], port]
    flood = world.run("phones", argv, "flood.log")
    slowest, refused, until = 0.0, 0, time.monotonic() + FLOODED
    while time.monotonic() < until:
        took = world.seconds_for(MEDIA["one"], f"U probe1 {PHONES} 4 p")
        slowest = max(slowest, took)
        refused = max(refused, world.metric("one", "relay_overloaded"))
        time.sleep(0.1)
    end(flood)
    told = "" if refused else "; it was not overloaded"
    return f"slowest command of that one {1000 * slowest:.0f} ms{told}"


FLOODED = 12.0
"""Seconds; after some two of them new calls are refused."""

FLOOD = """
import socket, sys
host, port, to, at = sys.argv[1:]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_UDP, 103, 172)  # UDP_SEGMENT: so many octets are a packet
s.bind((host, int(port)))
s.connect((to, int(at)))
packets = (b"\\x80\\0\\0\\1" + bytes(4) + b"\\0\\0\\0\\1" + bytes(160)) * 60
while True:
    try:
        s.send(packets)
    except OSError:
        pass
"""
"""A program, more than any relay can read: from host and port, to host and port."""


# Take-over by each trigger, where nothing else can trigger it: the address is on both hosts from
# the beginning, and a route changes.


def by_lease(world: World, sip: Signalling) -> str:
    """A node is killed, and nobody tells the other one of it."""
    end(world.relays["one"])
    world.lead(MEDIA["one"], "two")
    return ""


def by_command(world: World, sip: Signalling) -> str:
    """The same, and an operator tells the other one."""
    by_lease(world, sip)
    told = world.ctl("two", "takeover", MEDIA["one"])
    return "" if "OWNS" in told else told


def by_first_command(world: World, sip: Signalling) -> str:
    """The same, and a re-INVITE of one call comes."""
    by_lease(world, sip)
    sip.offer_anew(sip.calls[:1])
    return ""


# What is different from the beginning.


def as_usual(world: World) -> None:
    """Nothing."""


def on_both(world: World) -> None:
    """The first relay's address is on the other's host, too."""
    world.have_both(MEDIA["one"], "two")


def protected(world: World) -> None:
    """Relays look at how busy they are."""
    world.options.append("--overload_prot")


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


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens, and the seconds that are looked at ``after`` it."""

    trouble: Trouble
    after: float
    before: Callable[[World], None] = as_usual
    nodes: tuple[str, ...] = ("one", "two")
    relays: tuple[str, ...] = (MEDIA["one"], MEDIA["two"])
    """The control addresses that Kamailio has."""
    retry_after: int = 60
    quiet: bool = False
    """Whether no calls begin meanwhile, as their commands would tell, too."""
    absent: tuple[str, ...] = ()
    """Nodes that are not started at the beginning."""


ONE = (MEDIA["one"],)

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
    "overloaded": Scenario(overloaded, 4, protected),
    "rehashed": Scenario(
        rehashed,
        1,
        nodes=tuple(HOSTS),
        relays=tuple(HOSTS.values()),
    ),
    "joined": Scenario(
        joined,
        1,
        nodes=tuple(HOSTS),
        relays=tuple(HOSTS.values()),
        retry_after=RETRY_AFTER,
        absent=("three",),
    ),
}
"""By name."""

TRIGGERS = {
    "by-address": Scenario(killed, 6, relays=ONE),
    "by-lease": Scenario(by_lease, 6, on_both, relays=ONE, quiet=True),
    "by-command": Scenario(by_command, 6, on_both, relays=ONE, quiet=True),
    "by-first-command": Scenario(by_first_command, 6, on_both, relays=ONE, quiet=True),
}
"""A relay with all the calls is killed, and the other one finds out in one way."""
