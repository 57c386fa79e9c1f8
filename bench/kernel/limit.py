"""How many packets a core can relay: the cheapest source there is, and nothing at the far end.

Frames enter by AF_PACKET without a queueing discipline, and are dropped as the first thing at the
callee's device, so what the source's thread runs is all a relayed packet costs. The flows are
entries of the program's table alone; no socket stands behind them. Rates are per second of run
time, so what else the machine does is not counted.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import IO, Any

from twisted.internet.task import Clock

from bench.kernel import network as nw
from bench.kernel.figures import Bound, Figure
from bench.kernel.network import Network, network
from bench.load import compiled
from bench.machine import Cpus
from bench.namespaces import Namespace
from bench.plan import Progress
from rtpproxy_tw.addresses import Address
from rtpproxy_tw.media.kernel import bpf_syscall as bpf
from rtpproxy_tw.media.kernel.ebpf import TAP_POLL, EbpfPath
from rtpproxy_tw.media.kernel.path import Flow, FlowId

SOURCE = Path(__file__).with_name("source.c")

SENDER = (nw.CALLER, 20_000)
SINK = (nw.CALLEE, 30_000)
OUT = (nw.CALLEE_GATE, 40_000)
FIRST_PORT, PORT_STEP = 10_000, 4

SECONDS = 1.0
"""Of each run."""

PAYLOAD = 20

FLOWS = (10, 100, 1_000, 10_000)

COST = "cost with {:,} flows, source included"

DROP_ALL = bytes((0xB7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0))
"""A program of two instructions: the verdict DROP, and out."""

PASS_ALL = bytes((0xB7, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x95, 0, 0, 0, 0, 0, 0, 0))
"""The same with the verdict NEXT."""

REDIRECT = 23
"""The helper's number in the kernel's interface."""

OF_SOURCE = {1_000: 1.0 / 1.8, 10_000: 0.9 / 1.8}
"""What is wanted as a part of what the source alone reaches: 1.8 Mpps where it was asked for."""

OF_FLOOR = 1.0 / 1.29
"""The same of a bare redirection, which reached 1.29 Mpps there."""

TAPPED_OF_SOURCE = 0.9 / 1.8

_OTHERS = bytes.fromhex(
    "4500 003c 0000 4000 4011 b5b1 c0000201 c00002fe 4e20 0035 0028 0000" + "00" * 32
)
"""IPv4 and UDP, from the caller to a port of the relay's host that has no flow."""

RUNS = 300_000

RING = 1 << 25
"""Octets; what a second of 0.9 Mpps leaves when it is read every few milliseconds."""


POLL = 0.01
"""Seconds between two turns of the reader."""

_HEAD = Struct("=QI")


class Still(Clock):
    """A reactor that moves when told to; what it would have to read is not looked at."""

    def addReader(self, reader: Any) -> None:
        """As IReactorFDSet."""

    def removeReader(self, reader: Any) -> None:
        """As IReactorFDSet."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What one source told."""

    packets: int
    seconds: float
    ns: float
    """Of run time, for each packet."""


class Rig:
    """The network, the sink, and sources on demand."""

    def __init__(self, stack: ExitStack, net: Network) -> None:
        self.net = net
        self._program = compiled(SOURCE)
        drop = bpf.load(bpf.SCHED_CLS, DROP_ALL, "rtp_sink", "BSD-2-Clause")
        attach(stack, net.callee, "cb", drop)
        self._drop = drop
        # The sink drops what the neighbours would say, too.
        net.relay.ip(
            f"neigh replace {nw.CALLEE} lladdr {nw.mac(net.callee, 'cb')} nud permanent dev rb"
        )
        self._macs = nw.mac(net.caller, "ca"), nw.mac(net.relay, "ra")

    @contextmanager
    def dropping(self) -> Iterator[None]:
        """Everything is dropped where it would come to the relay: what the source costs itself."""
        with ExitStack() as stack:
            attach(stack, self.net.relay, "ra", self._drop)
            yield

    @contextmanager
    def redirecting(self) -> Iterator[None]:
        """Everything goes on to the callee as it is: what any relay by TC costs at least."""
        with ExitStack() as stack:
            with self.net.relay:
                program = bpf.load(
                    bpf.SCHED_CLS,
                    redirection(socket.if_nametoindex("rb")),
                    "rtp_floor",
                    "BSD-2-Clause",
                )
            stack.callback(os.close, program)
            attach(stack, self.net.relay, "ra", program)
            yield

    def start(
        self, flows: int, cpu: int, seconds: float = SECONDS, rate: float = 0
    ) -> subprocess.Popen[str]:
        """A source, begun."""
        return subprocess.Popen(
            [
                *("ip", "netns", "exec", self.net.caller.name, str(self._program), "ca"),
                *(*self._macs, str(flows), str(seconds), str(cpu), str(PAYLOAD), str(rate)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, flows: int, cpus: Sequence[int], seconds: float = SECONDS) -> list[Sent]:
        """As many packets as can be sent, from a source on each of ``cpus``."""
        running = [self.start(flows, cpu, seconds) for cpu in cpus]
        return [told(each) for each in running]

    def delivered(self) -> int:
        """How many packets have reached the callee's device."""
        return nw.arrived(self.net.callee, "cb")


def redirection(device: int) -> bytes:
    """A program of four instructions: out by ``device``, without flags."""
    instruction = Struct("<BBhi").pack
    return (
        instruction(0xB7, 1, 0, device)
        + instruction(0xB7, 2, 0, 0)
        + instruction(0x85, 0, 0, REDIRECT)
        + instruction(0x95, 0, 0, 0)
    )


def told(source: subprocess.Popen[str]) -> Sent:
    """What a source told when it had ended."""
    text, _ = source.communicate()
    packets, seconds, ns = text.split()
    return Sent(int(packets), float(seconds), float(ns))


def attach(stack: ExitStack, where: Namespace, device: str, program: int) -> None:
    """Put ``program`` on a device for as long as ``stack`` lasts."""
    with where:
        link = bpf.attach(program, socket.if_nametoindex(device))
    stack.callback(os.close, link)


class Carrying:
    """The kernel path with so many flows."""

    def __init__(
        self,
        stack: ExitStack,
        net: Network,
        flows: int,
        *,
        tap: bool = False,
        by_device: bool = False,
    ) -> None:
        """``by_device``: packets leave by the device, and not right to the other end of a pair."""
        self.clock = Still()
        self.copies = 0
        with net.relay:
            self.path = EbpfPath(self.clock, capacity=max(flows, 64), ring_octets=RING)
            self.path.start()
            stack.callback(self.path.stop)
            self.ids = [self._add(number, tap) for number in range(flows)]
        if by_device:
            self.path._neighbours.across(
                frozenset()
            )  # till it looks again, in a second of its clock

    def _add(self, number: int, tap: bool) -> FlowId:
        local: Address = (nw.CALLER_GATE, FIRST_PORT + PORT_STEP * number)
        id = self.path.add(Flow(local, SENDER, OUT, SINK, tos=0xB8, tap=tap))
        if id is None:
            raise OSError(f"a flow was refused: {dict(self.path.refusals)}")
        return id

    def record(self, file: IO[bytes]) -> None:
        """From now on write each copy to ``file``, as a recording would, and count it."""

        def write(id: FlowId, datagram: bytes, source: Address, ns: int) -> None:
            file.write(_HEAD.pack(ns, len(datagram)) + datagram)
            self.copies += 1

        self.path.on_tap(write)

    def read_until(self, source: subprocess.Popen[str]) -> Sent:
        """Let the path read its ring until the source has ended, and once more."""
        while source.poll() is None:
            time.sleep(POLL)
            self.clock.advance(POLL)
        self.clock.advance(TAP_POLL)
        return told(source)


def one_core(cpus: Cpus, niceness: int, repeats: int, progress: Progress) -> list[Figure]:
    """Packets a second of one core, and of two."""
    load = sorted(cpus.load | cpus.contestant)
    first, both = load[:1], load[:2]
    bare: list[float] = []
    floor: list[float] = []
    by_device: list[float] = []
    one: dict[int, list[float]] = {1_000: [], 10_000: []}
    ratios: list[float] = []
    lost = 0
    with network() as net, ExitStack() as stack:
        rig = Rig(stack, net)
        for repeat in range(repeats):
            progress(f"one core and two ({repeat + 1} of {repeats})")
            with rig.dropping():
                bare += [_mpps(rig.send(1_000, first))]
            with rig.redirecting():
                floor += [_mpps(rig.send(1_000, first))]
            with ExitStack() as carrying:
                Carrying(carrying, net, 1_000, by_device=True)
                by_device.append(_mpps(rig.send(1_000, first)))
            for flows, rates in one.items():
                with ExitStack() as carrying:
                    Carrying(carrying, net, flows)
                    before = rig.delivered()
                    sent = rig.send(flows, first)
                    rates.append(_mpps(sent))
                    lost += max(0, sent[0].packets - (rig.delivered() - before))
                    if flows == 1_000 and len(both) > 1:
                        ratios.append(_mpps(rig.send(flows, both)) / rates[-1])
    least = {1_000: 1.0, 10_000: 0.9}
    figures = [
        Figure(f"one core, {flows:,} flows", "Mpps", rates, Bound.AT_LEAST, least[flows])
        for flows, rates in one.items()
    ]
    figures.append(Figure("  1,000 flows, leaving by the device", "Mpps", by_device))
    figures.append(Figure("  the source alone, dropped at once", "Mpps", bare))
    figures.append(Figure("  sent on by a bare redirection", "Mpps", floor))
    figures += [
        _share(f"  {flows:,} flows : source alone", rates, bare, OF_SOURCE[flows])
        for flows, rates in one.items()
    ]
    figures.append(_share("  1,000 flows : bare redirection", one[1_000], floor, OF_FLOOR))
    figures.append(Figure("  lost", "packets", [lost], Bound.AT_MOST, 0, 0))
    if ratios:
        figures.append(Figure("two cores : one core", "", ratios, Bound.AT_LEAST, 1.9))
    return figures


def _share(name: str, rates: Sequence[float], others: Sequence[float], least: float) -> Figure:
    """What remains of others measured just before: much of a slow machine cancels out."""
    shares = [rate / other for rate, other in zip(rates, others, strict=True)]
    return Figure(name, "", shares, Bound.AT_LEAST, least)


def growth(cpus: Cpus, niceness: int, repeats: int, progress: Progress) -> list[Figure]:
    """What a packet costs with more and more flows."""
    first = sorted(cpus.load)[:1]
    costs: dict[int, list[float]] = {flows: [] for flows in FLOWS}
    with network() as net, ExitStack() as stack:
        rig = Rig(stack, net)
        for repeat in range(repeats):
            for flows in FLOWS:
                progress(f"growth: {flows} flows ({repeat + 1} of {repeats})")
                with ExitStack() as carrying:
                    Carrying(carrying, net, flows)
                    costs[flows] += [sent.ns for sent in rig.send(flows, first)]
    figures = [
        Figure(COST.format(flows), "ns", values, digits=0) for flows, values in costs.items()
    ]
    more = [
        (last / first - 1) * 100
        for last, first in zip(costs[FLOWS[-1]], costs[FLOWS[0]], strict=True)
    ]
    figures.append(
        Figure("growth from 10 to 10,000 flows", "%", more, Bound.AT_MOST, 40.0, digits=0)
    )
    return figures


def medians(figures: Sequence[Figure]) -> dict[int, float]:
    """Of what :func:`growth` measured, by flows."""
    by_name = {COST.format(flows): flows for flows in FLOWS}
    return {by_name[each.name]: each.value for each in figures if each.name in by_name}


def miss(cpus: Cpus, niceness: int, repeats: int, progress: Progress) -> list[Figure]:
    """What the host's other packets pay for the program: runs on request, less those of nothing."""
    progress("a miss")
    frame = bytes(12) + b"\x08\x00" + _OTHERS
    costs = []
    with network() as net, ExitStack() as stack:
        Rig(stack, net)
        path = Carrying(stack, net, 1_000).path
        nothing = bpf.load(bpf.SCHED_CLS, PASS_ALL, "rtp_nothing", "BSD-2-Clause")
        stack.callback(os.close, nothing)
        for _ in range(repeats):
            ran = [bpf.run(it, frame, times=RUNS).ns for it in (path.program, nothing)]
            costs.append(float(ran[0] - ran[1]))
    return [Figure("a packet of others", "ns", costs, Bound.AT_MOST, 30.0, 0)]


def tapped(cpus: Cpus, niceness: int, repeats: int, progress: Progress) -> list[Figure]:
    """Every packet copied to the ring: what is relayed of it all, and what a reader costs."""
    core = sorted(cpus.load)[:1]
    bare: list[float] = []
    rates: list[float] = []
    copied: list[float] = []
    lost = 0
    reading: list[float] = []
    missed = 0
    with network() as net, ExitStack() as stack:
        rig = Rig(stack, net)
        for repeat in range(repeats):
            progress(f"tapped ({repeat + 1} of {repeats})")
            with rig.dropping():
                bare += [_mpps(rig.send(1_000, core))]
            with ExitStack() as carrying, tempfile.TemporaryFile() as file:
                taking = Carrying(carrying, net, 1_000, tap=True)
                taking.record(file)
                before = rig.delivered()
                sent = taking.read_until(rig.start(1_000, core[0]))
                rates.append(_mpps([sent]))
                copied.append(taking.copies / sent.packets * 100)
                lost += max(0, sent.packets - (rig.delivered() - before))
                ran, before = time.process_time(), taking.copies
                sent = taking.read_until(rig.start(1_000, core[0], 2 * SECONDS, 100_000))
                reading.append((time.process_time() - ran) / sent.seconds * 100)
                missed += sent.packets - (taking.copies - before)
    return [
        Figure("one core, every packet tapped", "Mpps", rates, Bound.AT_LEAST, 0.9),
        _share("  tapped : source alone", rates, bare, TAPPED_OF_SOURCE),
        Figure("  media lost", "packets", [lost], Bound.AT_MOST, 0, 0),
        Figure("  copies that found room in the ring", "%", copied, digits=1),
        Figure("100 kpps from the ring to disk", "% of a core", reading, Bound.AT_MOST, 10, 1),
        Figure("  copies missed", "packets", [missed], Bound.AT_MOST, 0, 0),
    ]


def _mpps(sent: Sequence[Sent]) -> float:
    return sum(1e3 / each.ns for each in sent)
