"""Calls that leave the kernel path and come back under load, all at once: is any packet harmed?

While 500 calls talk at their usual pace, a command for each of them is sent as fast as the relay
takes it. Each command takes its call back from the kernel; a packet or two later the kernel has it
again. Every packet's number is checked where it arrives.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from threading import Thread
from urllib.request import ProxyHandler, build_opener

from bench.calls import Call
from bench.kernel.figures import Bound, Figure
from bench.kernel.network import HOSTS, NetLoad, Network, network
from bench.kernel.relays import OurKernel, prepare, routes_through
from bench.load import Outcome
from bench.machine import Cpus
from bench.plan import Progress

CALLS = 500
RATE = 100.0 * CALLS
ROUNDS = 4
"""How often all calls cross and cross back in one run."""

SETTLED = 2.0
"""Seconds after which calls have gone over to the kernel."""

METRIC = re.compile(rb"^relay_streams_offloaded (\S+)$", re.MULTILINE)
HTTP = 9111


class Crossing:
    """One relay with its calls, under load."""

    def __init__(self, stack: ExitStack, net: Network, cpus: Cpus, niceness: int) -> None:
        self._net = net
        self._load = stack.enter_context(NetLoad(net))
        before = prepare(net.relay, cpus, niceness)
        http = ("--http", f"tcp:{HTTP}:interface=127.0.0.1")
        self._relay = stack.enter_context(OurKernel("kernel", before, HOSTS[0], *http))
        self._routes = routes_through(self._relay, self._load, CALLS)
        self.fewest = self.most = 0

    def run(self, seconds: float) -> Outcome:
        """Media for so long, during which all calls cross several times."""
        crossing = Thread(target=self._cross, args=(seconds / (ROUNDS + 1),))
        crossing.start()
        outcome = self._load.run(
            self._routes, rate=RATE, seconds=seconds, payload=20, watch={"relay": self._relay.pid}
        )
        crossing.join()
        return outcome

    def settle(self) -> None:
        """Media until the kernel has all calls."""
        self._load.run(self._routes, rate=RATE, seconds=SETTLED, payload=20)

    def _cross(self, pause: float) -> None:
        carried: list[int] = []
        for _ in range(ROUNDS):
            time.sleep(pause)
            carried.append(self.carried())
            for number in range(CALLS):
                call = Call("kernel", number, self._relay.host)
                self._relay.client.ask(call.answer(*self._load.callee))
            carried.append(self.carried())
        self.most, self.fewest = max(carried[::2]), min(carried[1::2])

    def carried(self) -> int:
        """How many streams the kernel has."""
        opener = build_opener(ProxyHandler({}))
        found: list[bytes] = []

        def fetch() -> None:
            self._net.relay.enter()
            with opener.open(f"http://127.0.0.1:{HTTP}/metrics", timeout=5) as reply:
                found.extend(METRIC.findall(reply.read()))

        thread = Thread(target=fetch)
        thread.start()
        thread.join()
        return int(float(found[0])) if found else -1


def crossing(cpus: Cpus, niceness: int, repeats: int, progress: Progress) -> list[Figure]:
    """Loss, repetition and disorder of everything that crosses."""
    outcomes: list[Outcome] = []
    with network() as net, ExitStack() as stack:
        progress(f"{CALLS} calls")
        calls = Crossing(stack, net, cpus, niceness)
        calls.settle()
        for repeat in range(repeats):
            progress(f"{CALLS} calls leave the kernel and come back ({repeat + 1} of {repeats})")
            outcomes.append(calls.run(4.0))
    name = f"{CALLS} calls out of the kernel and back, {repeats * ROUNDS} times, under load"
    return [
        _sum(f"{name}: lost", [each.offered - each.received for each in outcomes]),
        _sum(f"{name}: twice", [each.duplicates for each in outcomes]),
        _sum(f"{name}: out of order", [each.reordered for each in outcomes]),
        Figure("  offered", "packets", [sum(each.offered for each in outcomes)], digits=0),
        Figure("  streams in the kernel before a round", "", [calls.most], digits=0),
        Figure("  at the end of the commands", "", [calls.fewest], digits=0),
    ]


def _sum(name: str, counts: Sequence[int]) -> Figure:
    return Figure(name, "packets", [sum(counts)], Bound.AT_MOST, 0, 0)
