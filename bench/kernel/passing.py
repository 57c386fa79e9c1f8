"""Calls through relays in namespaces: what a packet costs, how long it takes, how many get lost."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial

from bench.calls import Route
from bench.kernel.figures import Bound, Figure
from bench.kernel.limit import PASS_ALL, attach, redirection
from bench.kernel.network import CALLEE_GATE, CALLER_GATE, HOSTS, NetLoad, Network, mac, network
from bench.kernel.relays import Original, OurKernel, Rtpengine, prepare, routes_through
from bench.load import Outcome
from bench.machine import Cpus
from bench.plan import Progress
from bench.relays import Relay
from rtpproxy_tw.media.kernel import bpf_syscall as bpf
from rtpproxy_tw.media.kernel.attach import EGRESS, Filters
from rtpproxy_tw.media.kernel.rtnetlink import Requests

PAYLOAD = 20
"""Octets: G.729 of 20 ms."""

LEARNING = 2.5
"""Seconds of media before anything is measured; calls settle and go over to the kernel."""

SETTLING = 2.0
"""Seconds of media before each measurement of what settled calls cost; the others get them too."""

KERNEL, ORIGINAL, RTPENGINE, DIRECT = "kernel", "rtp.io", "rtpengine", "direct"
BY_DEVICE = "kernel path, leaving by the device"
"""The kernel path where something is at the device's way out. Between namespaces packets else go
right to the other end of a pair of devices; this is nearer to their way to a network card."""

FORWARDING = "forwarding"
"""Plain IP forwarding between the same two devices."""

REDIRECTION = "redirection"
"""From device to device by a program of four instructions: the least that a relay by TC costs."""

COST = 0.9
"""Microseconds a relayed packet may cost the machine."""

OF_FORWARDING = 0.9 / 0.69
"""The same as a part of plain forwarding, which cost 0.69 us on the machine it was asked for on."""

TENTH = 0.1
"""Of what it costs with the others."""

BEGINNING = 4.0
"""Seconds after which calls that all began at once, under load, must be in the kernel."""

BY_ITSELF = 4.0
"""Microseconds of the relay's process for each packet, by which that is seen: what it relays by
itself takes three times as long, and beginning so many calls keeps it busy for some time yet."""

DELAY = 3.0
"""Microseconds that may be added to the median delay."""


@dataclass(frozen=True, slots=True)
class Way:
    """Through a relay, or straight."""

    name: str
    routes: Sequence[Route]
    watch: dict[str, int]
    during: Callable[[], AbstractContextManager[object]] = nullcontext
    """What has to be for a run."""


class Ways:
    """All contestants, started, with their calls."""

    def __init__(
        self,
        stack: ExitStack,
        net: Network,
        cpus: Cpus,
        niceness: int,
        *,
        calls: int,
        names: Sequence[str],
        progress: Progress,
    ) -> None:
        self.load = NetLoad(net)
        stack.enter_context(self.load)
        self.ways = [Way(DIRECT, self.load.direct(calls), {})]
        if FORWARDING in names:
            self.ways.append(Way(FORWARDING, self.load.forwarded(calls), {}))
        if REDIRECTION in names:
            self.ways.append(
                Way(REDIRECTION, self.load.forwarded(calls), {}, partial(_redirecting, net))
            )
        before = prepare(net.relay, cpus, niceness)
        made: dict[str, Callable[[], Relay]] = {
            KERNEL: partial(OurKernel, KERNEL, before, HOSTS[0]),
            ORIGINAL: partial(Original, ORIGINAL, before, HOSTS[1]),
            RTPENGINE: partial(Rtpengine, RTPENGINE, before, HOSTS[2], net.relay),
        }
        for name in names:
            if name not in made:
                continue
            progress(f"{calls} calls through {name}")
            relay = stack.enter_context(made[name]())
            routes = routes_through(relay, self.load, calls)
            self.ways.append(Way(name, routes, {"relay": relay.pid}))
            if name == KERNEL and BY_DEVICE in names:
                looking = partial(_looking_on, net)
                self.ways.append(Way(BY_DEVICE, routes, {"relay": relay.pid}, looking))

    def run(self, way: Way, rate: float, seconds: float, warm: float = 0.2) -> Outcome:
        """One measurement, after ``warm`` seconds of the same."""
        with way.during():
            return self.load.run(
                way.routes, rate=rate, seconds=seconds, warm=warm, payload=PAYLOAD, watch=way.watch
            )

    def learn(self, rate: float) -> None:
        """Media until everything has settled."""
        for way in self.ways:
            self.run(way, rate, LEARNING)

    def rounds(
        self, repeats: int, rate: float, seconds: float, warm: float = 0.2
    ) -> dict[str, list[Outcome]]:
        """Every way in turn, each as often the first as any other."""
        outcomes: dict[str, list[Outcome]] = {way.name: [] for way in self.ways}
        for repeat in range(repeats):
            turn = repeat % len(self.ways)
            for way in (*self.ways[turn:], *self.ways[:turn]):
                outcomes[way.name].append(self.run(way, rate, seconds, warm))
        return outcomes


def _redirecting(net: Network) -> ExitStack:
    """Everything goes on as it is, from each of the relay's devices to the other."""
    stack = ExitStack()
    # Nothing rewrites the frames, so either end has the address that the other one sends to.
    # They know the relay's without asking, as it does not hear what they ask.
    for far, device, gate, ours, other in (
        (net.caller, "ca", CALLER_GATE, "ra", "rb"),
        (net.callee, "cb", CALLEE_GATE, "rb", "ra"),
    ):
        own, theirs = mac(far, device), mac(net.relay, ours)
        far.ip(
            f"link set {device} address {mac(net.relay, other)}",
            f"neigh replace {gate} lladdr {theirs} dev {device} nud permanent",
        )
        stack.callback(far.ip, f"link set {device} address {own}")
    for ours, other in (("ra", "rb"), ("rb", "ra")):
        with net.relay:
            code = redirection(socket.if_nametoindex(other))
            program = bpf.load(bpf.SCHED_CLS, code, "rtp_floor", "BSD-2-Clause")
        stack.callback(os.close, program)
        attach(stack, net.relay, ours, program)
    return stack


def _looking_on(net: Network) -> ExitStack:
    """A program that lets everything pass, at the way out of each of the relay's devices."""
    stack = ExitStack()
    with net.relay:
        requests = Requests()
        stack.callback(requests.close)
        program = bpf.load(bpf.SCHED_CLS, PASS_ALL, "rtp_nothing", "BSD-2-Clause")
        stack.callback(os.close, program)
        for device in ("ra", "rb"):
            Filters(requests).add(socket.if_nametoindex(device), program, "nothing", EGRESS)
            remove = ["tc", "-n", net.relay.name, "qdisc", "del", "dev", device, "clsact"]
            stack.callback(subprocess.run, remove, check=True)
    return stack


def cost(cpus: Cpus, niceness: int, repeats: int, progress: Progress) -> list[Figure]:
    """What a relayed packet costs the machine, at 100 kpps and 1,000 calls."""
    with network() as net, ExitStack() as stack:
        names = [KERNEL, BY_DEVICE, FORWARDING, REDIRECTION, *_present()]
        ways = Ways(stack, net, cpus, niceness, calls=1000, names=names, progress=progress)
        ways.learn(100_000)
        progress("cost at 100 kpps")
        outcomes = ways.rounds(repeats, 100_000, 1.5, SETTLING)
    zero = [each.cpu_per_packet() for each in outcomes[DIRECT]]
    costs = {
        name: [
            (each.cpu_per_packet() - direct) * 1e6
            for each, direct in zip(outcomes[name], zero, strict=True)
        ]
        for name in names
    }
    figures = [
        Figure(
            "cost per relayed packet, 1,000 calls at 100 kpps: kernel path",
            "us",
            costs[KERNEL],
            Bound.AT_MOST,
            COST,
        )
    ]
    figures.append(
        Figure(
            "  of which the relay's process",
            "us",
            [each.cpu_per_packet("relay") * 1e6 for each in outcomes[KERNEL]],
        )
    )
    figures += _leaving(costs)
    bounds = {FORWARDING: OF_FORWARDING, REDIRECTION: None}
    for name in names[2:]:
        figures.append(Figure(f"  the same: {name}", "us", costs[name]))
        ratios = [
            mine / max(other, 1e-9) for mine, other in zip(costs[KERNEL], costs[name], strict=True)
        ]
        bound = bounds.get(name, TENTH)
        side = None if bound is None else Bound.AT_MOST
        figures.append(Figure(f"  kernel path : {name}", "", ratios, side, bound or 0.0, 3))
    figures.append(Figure("  the direct path itself", "us", [each * 1e6 for each in zero]))
    lost = [(each.offered - each.received) for each in outcomes[KERNEL]]
    figures.append(Figure("  lost on the kernel path", "packets", lost, Bound.AT_MOST, 0, 0))
    return figures


def _leaving(costs: dict[str, list[float]]) -> list[Figure]:
    """The same where packets leave by the device; told beside what is wanted, not held to it."""
    mine = costs[BY_DEVICE]
    figures = [Figure(f"  the same: {BY_DEVICE}", "us", mine)]
    for name in (FORWARDING, *_present()):
        parts = [each / max(other, 1e-9) for each, other in zip(mine, costs[name], strict=True)]
        figures.append(Figure(f"    : {name}", "", parts, digits=3))
    return figures


def delay(cpus: Cpus, niceness: int, repeats: int, progress: Progress) -> list[Figure]:
    """What relaying adds to the median delay of 100 calls at their usual pace."""
    with network() as net, ExitStack() as stack:
        names = [KERNEL, *_present()]
        ways = Ways(stack, net, cpus, niceness, calls=100, names=names, progress=progress)
        ways.learn(10_000)
        progress("delay of 100 calls")
        outcomes = ways.rounds(repeats, 10_000, 2.0)
    zero = [each.delay["p50"] * 1e6 for each in outcomes[DIRECT]]
    figures = []
    for name in names:
        added = [
            each.delay["p50"] * 1e6 - direct
            for each, direct in zip(outcomes[name], zero, strict=True)
        ]
        bound = Bound.AT_MOST if name == KERNEL else None
        figures.append(
            Figure(f"added delay, median, 100 paced calls: {name}", "us", added, bound, DELAY, 1)
        )
    return figures


def many(cpus: Cpus, niceness: int, repeats: int, progress: Progress) -> list[Figure]:
    """4,500 calls at once."""
    with network() as net, ExitStack() as stack:
        ways = Ways(stack, net, cpus, niceness, calls=4500, names=[KERNEL], progress=progress)
        ways.learn(100_000)
        time.sleep(0.5)
        progress("4,500 calls at 100 kpps")
        outcomes = ways.rounds(repeats, 100_000, 2.0)[KERNEL]
    lost = [each.offered - each.received for each in outcomes]
    others = [each.duplicates + each.reordered for each in outcomes]
    name = "4,500 calls at 100 kpps"
    return [
        Figure(f"{name}: lost", "packets", [sum(lost)], Bound.AT_MOST, 0, 0),
        Figure(f"{name}: twice or out of order", "packets", [sum(others)], Bound.AT_MOST, 0, 0),
        Figure("  offered", "packets", [sum(each.offered for each in outcomes)], digits=0),
        Figure(
            "  time of the relay's process",
            "us/packet",
            [each.cpu_per_packet("relay") * 1e6 for each in outcomes],
        ),
    ]


def start(cpus: Cpus, niceness: int, repeats: int, progress: Progress) -> list[Figure]:
    """Calls that all begin at once, with more packets than the process could relay by itself."""
    figures = []
    for calls in (1000, 4500):
        seconds: list[float] = []
        lost = 0
        for repeat in range(repeats):
            progress(f"{calls} calls that begin under load ({repeat + 1} of {repeats})")
            with network() as net, ExitStack() as stack:
                ways = Ways(
                    stack, net, cpus, niceness, calls=calls, names=[KERNEL], progress=progress
                )
                outcome = ways.run(ways.ways[-1], 100_000, 1.5, BEGINNING)
            seconds.append(outcome.cpu_per_packet("relay") * 1e6)
            lost += outcome.offered - outcome.received
        name = f"{calls:,} calls that begin at once at 100 kpps, {BEGINNING:g} s later"
        figures += [
            Figure(f"{name}: relay's process", "us", seconds, Bound.AT_MOST, BY_ITSELF),
            Figure("  lost from then on", "packets", [lost], Bound.AT_MOST, 0, 0),
        ]
    return figures


def _present() -> list[str]:
    kinds: dict[str, type[Relay]] = {ORIGINAL: Original, RTPENGINE: Rtpengine}
    return [name for name, kind in kinds.items() if kind.missing() is None]
