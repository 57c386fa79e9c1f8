"""A path that carries flows in memory; :mod:`tests.kernel.contract` holds it to the real one."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial

from rtpproxy_tw.addresses import Address, family_of
from rtpproxy_tw.media.kernel import layout
from rtpproxy_tw.media.kernel.path import (
    Brief,
    Flow,
    FlowId,
    Glance,
    OnTap,
    OnWithdrawn,
    RtpState,
    Sample,
    Surveyed,
    Traffic,
    Unavailable,
    brief_of,
)
from rtpproxy_tw.media.kernel.survey import GlanceSurvey
from rtpproxy_tw.quality.analyzer import Analyzer


class Fate(Enum):
    """What became of a datagram."""

    RELAYED = "relayed"
    UP = "left to the socket"
    DROPPED = "dropped"


def analyzer_of(state: RtpState) -> Analyzer:
    """An analyzer that goes on from ``state``."""
    made = Analyzer()
    made.resume(state._asdict())
    return made


def state_of(analyzer: Analyzer) -> RtpState:
    """What the program would tell after the same packets."""
    state = analyzer.snapshot()
    return RtpState(**(state | {"seen": state["seen"] & ((1 << 64) - 1)}))


@dataclass(eq=False)
class Carried:
    """One flow of the fake."""

    flow: Flow
    analyzer: Analyzer
    sample: Sample = field(default_factory=Sample)
    withdrawn: bool = False
    held: bool = False
    print: int = 0
    passed: int = 0

    def told(self) -> Sample:
        """With the RTP statistics."""
        return replace(self.sample, rtp=state_of(self.analyzer))


class FakePath:
    """KernelPath without a kernel. ``sent`` is what left: (datagram, from, to).

    ``unavailable`` is raised by ``start``; no route leads to ``unreachable`` hosts.
    """

    def __init__(self, *, capacity: int = 64, budget: int = 100) -> None:
        self.sent: list[tuple[bytes, Address, Address]] = []
        self.unavailable: Unavailable | None = None
        self.unreachable: set[str] = set()
        self.running = False
        self.confined = False
        self._capacity = capacity
        self._budget = budget
        self._flows: dict[FlowId, Carried] = {}
        self._survey = GlanceSurvey()
        self._copies: list[tuple[FlowId, bytes, Address, int]] = []
        self._ids = itertools.count(1)
        self._refusals: Counter[str] = Counter()
        self._tap: OnTap | None = None
        self._withdrawn: OnWithdrawn | None = None

    # --- what a test does

    def deliver(
        self, datagram: bytes, source: Address, local: Address, now_ns: int = 1_000_000_000
    ) -> Fate:
        """``datagram`` arrives on this host."""
        for id, it in self._flows.items():
            if it.flow.local in (local, (wildcard_of(local), local[1])) and not it.withdrawn:
                return self._judge(id, it, datagram, source, now_ns)
        return Fate.UP

    def lose_route(self, host: str) -> None:
        """No route leads to ``host`` any more."""
        self.unreachable.add(host)
        for id, it in list(self._flows.items()):
            if it.flow.to[0] == host and not it.withdrawn:
                it.withdrawn = True
                self.hand_out_copies()
                if self._withdrawn is not None:
                    self._withdrawn(id)

    def hand_out_copies(self) -> None:
        """Some milliseconds pass: tapped datagrams reach the callback."""
        while self._copies:
            copy = self._copies.pop(0)
            if self._tap is not None:
                self._tap(*copy)

    def _judge(
        self, id: FlowId, it: Carried, datagram: bytes, source: Address, now_ns: int
    ) -> Fate:
        sample = it.sample
        if source != it.flow.source:
            # The real one counts anew each second; this one never does.
            if sample.foreign >= self._budget:
                it.sample = replace(sample, refused=sample.refused + 1)
                return Fate.DROPPED
            it.sample = replace(sample, foreign=sample.foreign + 1)
            return Fate.UP
        if it.held and not (it.print and it.print == it.passed):
            it.print = layout.print_of(datagram)
            return Fate.UP
        it.held = False
        if it.flow.tap:
            self._copies.append((id, datagram, source, now_ns))
        if it.flow.rtp:
            it.analyzer.heard(datagram, now_ns / 1e9)
        gap = now_ns - sample.last_ns if sample.last_ns else 0
        it.sample = replace(
            sample,
            packets=sample.packets + 1,
            octets=sample.octets + len(datagram),
            last_ns=now_ns,
            gap_ns=max(gap, sample.gap_ns),
        )
        self.sent.append((datagram, it.flow.out, it.flow.to))
        return Fate.RELAYED

    # --- KernelPath

    def start(self) -> None:
        """See KernelPath."""
        if self.unavailable is not None:
            raise self.unavailable
        self.running = True

    def confine(self) -> None:
        """See KernelPath."""
        self.confined = True

    def stop(self) -> None:
        """See KernelPath."""
        self.running = False
        self._flows.clear()

    def add(self, flow: Flow, rtp: RtpState | None = None) -> FlowId | None:
        """See KernelPath."""
        why = self._refusal(flow)
        if why:
            self._refusals[why] += 1
            return None
        id = FlowId(next(self._ids))
        self._flows[id] = Carried(flow, analyzer_of(rtp or RtpState()), held=flow.ordered)
        return id

    def _refusal(self, flow: Flow) -> str:
        if family_of(flow.local[0]) != family_of(flow.source[0]):
            return "families differ"
        if family_of(flow.out[0]) != family_of(flow.to[0]):
            return "families differ"
        active = [it for it in self._flows.values() if not it.withdrawn]
        if any(it.flow.local == flow.local for it in active):
            return "local address taken"
        if flow.to[0] in self.unreachable:
            return "no route"
        return "table full" if len(active) >= self._capacity else ""

    def remove(self, id: FlowId) -> Sample:
        """See KernelPath."""
        self.hand_out_copies()
        self._survey.forget(id)
        return self._flows.pop(id).told()

    def set_tap(self, id: FlowId, tap: bool) -> None:
        """See KernelPath."""
        carried = self._flows[id]
        carried.flow = replace(carried.flow, tap=tap)
        carried.held, carried.print, carried.passed = carried.flow.ordered, 0, 0
        if not tap:
            self.hand_out_copies()

    def is_held(self, id: FlowId) -> bool:
        """See KernelPath."""
        it = self._flows[id]
        return it.held and not it.withdrawn

    def passed(self, id: FlowId, datagram: bytes, rtp: RtpState | None = None) -> None:
        """See KernelPath."""
        it = self._flows[id]
        it.passed = layout.print_of(datagram)
        if rtp is not None:
            it.analyzer = analyzer_of(rtp)

    def sample(self, id: FlowId) -> Sample:
        """See KernelPath."""
        return self._flows[id].told()

    def glancer(self, id: FlowId) -> Callable[[], Glance]:
        """See KernelPath."""
        return partial(self._glance, self._flows[id])

    def _glance(self, it: Carried) -> Glance:
        sample, rtp = it.sample, state_of(it.analyzer)
        return (
            *(sample.packets, sample.octets, sample.last_ns),
            *(sample.failed, sample.refused, sample.tap_lost),
            *(rtp.earlier, rtp.lowest, rtp.ssrc_changes),
            *(rtp.ssrc or 0, -1 if rtp.payload_type is None else rtp.payload_type),
            *(rtp.highest, rtp.received),
        )

    def brief(self, id: FlowId) -> Brief:
        """See KernelPath."""
        return brief_of(self._flows[id].told())

    def survey(self) -> Iterator[Surveyed]:
        """See KernelPath."""
        flows = self._flows
        return self._survey.look(
            (id for id, it in flows.items() if it.flow.rtp),
            lambda id: self._glance(flows[id]) if id in flows else None,
        )

    def count(self, id: FlowId, packets: int) -> int:
        """See KernelPath."""
        return self._survey.count(id, packets)

    def samples(self) -> Mapping[FlowId, Traffic]:
        """See KernelPath."""
        return {
            id: Traffic(it.sample.packets, it.sample.octets, it.sample.last_ns)
            for id, it in self._flows.items()
        }

    def drain(self) -> None:
        """See KernelPath."""
        self.hand_out_copies()

    def on_tap(self, callback: OnTap) -> None:
        """See KernelPath."""
        self._tap = callback

    def on_withdrawn(self, callback: OnWithdrawn) -> None:
        """See KernelPath."""
        self._withdrawn = callback

    @property
    def refusals(self) -> Mapping[str, int]:
        """See KernelPath."""
        return self._refusals


def wildcard_of(local: Address) -> str:
    """The unspecified host of the family."""
    return "::" if ":" in local[0] else "0.0.0.0"
