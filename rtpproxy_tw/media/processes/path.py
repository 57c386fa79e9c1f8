"""Media processes as a path that carries flows: the seam of the kernel's, without the kernel.

The sockets stay the relay's. While a flow is carried the relay does not read the port where it
arrives: its process does, by a descriptor of its own, beginning with what waits there. Who reads is
never in doubt, so nothing is lost, doubled or overtaken on the way there and back: the relay stops
reading before it tells the process, and reads again when the process has said that it has stopped,
or is dead.
"""

from __future__ import annotations

import itertools
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from twisted.logger import Logger

from rtpproxy_tw.addresses import Address, family_of
from rtpproxy_tw.media.connecting import disconnect
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
    brief_of,
)
from rtpproxy_tw.media.kernel.repeated import Repeated
from rtpproxy_tw.media.kernel.survey import GlanceSurvey
from rtpproxy_tw.media.processes import layout
from rtpproxy_tw.media.processes.child import Child, Spawn, spawn

NANO = 1_000_000_000

CHECK_EVERY = 1.0
"""Seconds between two looks whether processes still do something."""

ASK_EVERY = 0.02
"""Seconds between two questions that wait for an answer."""

FRESH = 0.001
"""Seconds within which nothing is asked twice."""

READ_TRIES = 16
"""How often a slot that is being written is read again."""


class Port(Protocol):
    """A port of the media plane that can be left to a process."""

    @property
    def socket(self) -> socket.socket:
        """What it reads from."""

    def suspend(self) -> None:
        """Read nothing until :meth:`resume`."""

    def resume(self) -> None:
        """Read again. Does nothing to a port that was closed."""

    def stray(self, datagram: bytes, source: Address) -> None:
        """``datagram`` from ``source`` was read elsewhere; does nothing for a closed port."""


@dataclass(slots=True, eq=False)
class _Carried:
    """One flow. ``final`` is set once nobody carries it any more."""

    flow: Flow
    port: Port
    out: Port
    child: Child
    slot: int
    final: Sample | None = None
    fresh_at: float = float("-inf")
    """When its process was last asked about it."""
    read_at: tuple[int, int, int] | None = None
    """Version, regularity and packets of what was last read: with these it is the same again."""
    read: Sample | None = None


@dataclass(slots=True, eq=False)
class _Known:
    """A port of which a process has a descriptor."""

    name: int
    users: int = 0


@dataclass(slots=True)
class _Strays:
    """What strangers sent that has to be heard before ports are read again."""

    told: list[tuple[Port, bytes, Address]] = field(default_factory=list)
    ports: list[Port] = field(default_factory=list)
    locals: list[Address] = field(default_factory=list)


class ProcessPath:
    """KernelPath by ``count`` processes, each with room for ``capacity`` flows.

    They are started with the first flow, as the relay has given up its privileges by then.
    ``connecting``: settled ports on a concrete IPv4 address may be connected to their party.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        count: int,
        capacity: int,
        connecting: bool = False,
        spawn: Spawn = spawn,
    ) -> None:
        self.port_at: Callable[[Address], Port | None] = lambda local: None
        """The port with that local address; set by whoever makes the plane."""
        self._reactor = reactor
        self._connecting = connecting
        self.children = [
            Child(
                number=number,
                reactor=reactor,
                capacity=capacity,
                heard=self._heard,
                died=self._lost,
                spawn=spawn,
            )
            for number in range(1, count + 1)
        ]
        self._flows: dict[FlowId, _Carried] = {}
        self._locals: dict[Address, FlowId] = {}
        self._survey = GlanceSurvey()
        self._known: dict[tuple[Child, Address], _Known] = {}
        self._waiting: set[Address] = set()
        """Where strays have to be heard first."""
        self._ids = itertools.count(1)
        self._names = itertools.count(1)
        self._refusals: Counter[str] = Counter()
        self._withdrawn: OnWithdrawn = lambda id: None
        self._asked_at = float("-inf")
        self._stopped = False
        self._checks = Repeated(reactor, CHECK_EVERY, self._check)

    # --- life

    def start(self) -> None:
        """See KernelPath. Whether processes still do something is looked at from now on."""
        self._checks.start()

    def confine(self) -> None:
        """See KernelPath: nothing here needs any."""

    def stop(self) -> None:
        """See KernelPath."""
        self._stopped = True
        self._checks.stop()
        for child in self.children:
            child.stop()
        for carried in self._flows.values():
            if carried.final is None:
                self._give_back(carried)
        self._flows.clear()
        self._locals.clear()

    def _check(self) -> None:
        for child in self.children:
            child.check()

    # --- flows

    def add(self, flow: Flow, rtp: RtpState | None = None) -> FlowId | None:
        """See KernelPath. Tapped flows are refused: nobody here makes copies."""
        ports = self.port_at(flow.local), self.port_at(flow.out)
        child = self._refusal(flow, *ports) or self._child(flow)
        if isinstance(child, str):
            self._refusals[child] += 1
            return None
        port, out = ports
        assert port is not None
        assert out is not None
        id = FlowId(next(self._ids))
        slot = child.take_slot()
        port.suspend()
        if not child.tell(*self._message(id, flow, child, slot, port, out, rtp or RtpState())):
            self._forget(child, flow)
            child.free.append(slot)
            port.resume()
            self._refusals["process busy"] += 1
            return None
        self._flows[id] = _Carried(flow, port, out, child, slot)
        self._locals[flow.local] = id
        child.flows += 1
        return id

    def _refusal(self, flow: Flow, port: Port | None, out: Port | None) -> str:
        if family_of(flow.local[0]) != family_of(flow.source[0]):
            return "families differ"
        if family_of(flow.out[0]) != family_of(flow.to[0]):
            return "families differ"
        if flow.local in self._locals:
            return "local address taken"
        if flow.tap:
            return "copies are wanted"
        if self._stopped or port is None or out is None:
            return "no socket"
        return "strangers to be heard first" if flow.local in self._waiting else ""

    def _child(self, flow: Flow) -> Child | str:
        """The process for ``flow``: both directions have the same, else who has least to do.

        Or why there is none.
        """
        opposite = self._locals.get(flow.out)
        children = self.children if opposite is None else [self._flows[opposite].child]
        for child in children:
            child.start()
        ready = [child for child in children if child.ready]
        if not ready:
            return "no process"
        free = [child for child in ready if child.free]
        return min(free, key=lambda child: child.flows) if free else "table full"

    def _message(
        self,
        id: FlowId,
        flow: Flow,
        child: Child,
        slot: int,
        port: Port,
        out: Port,
        rtp: RtpState,
    ) -> tuple[bytes, list[int]]:
        flags = layout.RTP_FLAG if flow.rtp else 0
        host = flow.local[0]
        if self._connecting and host != "0.0.0.0" and family_of(host) == socket.AF_INET:
            # Linux has an IPv6 socket refuse all other hosts even when disconnected again.
            flags |= layout.CONNECT_FLAG
        descriptors, names = [], []
        for local, which, flag in (
            (flow.local, port, layout.FRESH_IN),
            (flow.out, out, layout.FRESH_OUT),
        ):
            known = self._known.get((child, local))
            if known is None:
                known = self._known[child, local] = _Known(next(self._names))
                descriptors.append(which.socket.fileno())
                flags |= flag
            known.users += 1
            names.append(known.name)
        lane = layout.Lane(id, slot, names[0], names[1], flags, flow.source, flow.to, rtp)
        return layout.pack_add(lane), descriptors

    def _forget(self, child: Child, flow: Flow) -> None:
        for local in (flow.local, flow.out):
            known = self._known.get((child, local))
            if known is not None:
                known.users -= 1
                if not known.users:
                    del self._known[child, local]

    def remove(self, id: FlowId) -> Sample:
        """See KernelPath. The opposite direction ends with it: whoever wants one, wants both."""
        carried = self._flows[id]
        if carried.final is None:
            self._take_back(id, carried)
        del self._flows[id]
        self._survey.forget(id)
        assert carried.final is not None
        return carried.final

    def _take_back(self, id: FlowId, carried: _Carried) -> None:
        together = {id: carried}
        opposite = self._locals.get(carried.flow.out)
        if opposite is not None and self._flows[opposite].child is carried.child:
            together[opposite] = self._flows[opposite]
        said = carried.child.settle(layout.pack_ids(layout.DROP, together))
        strays = self._sorted(carried.child, said)
        for each in together.values():
            if each.final is None:  # else the process was lost meanwhile
                self._finish(each)
                strays.ports.append(each.port)
                strays.locals.append(each.flow.local)
        if strays.told:
            self._waiting.update(strays.locals)
            self._reactor.callLater(0, self._hear, strays)
        else:
            for port in strays.ports:
                port.resume()

    def _sorted(self, child: Child, said: list[bytes]) -> _Strays:
        """What strangers sent while we waited; the rest is heard later."""
        strays = _Strays()
        for message in said:
            if message[0] == layout.STRANGER:
                self._note_stray(strays, message)
            else:
                self._reactor.callLater(0, self._heard, child, message)
        return strays

    def _finish(self, carried: _Carried) -> None:
        """Its process does nothing for it any more."""
        carried.final = self._read(carried)
        carried.child.free.append(carried.slot)
        carried.child.flows -= 1
        self._forget(carried.child, carried.flow)
        self._locals.pop(carried.flow.local, None)

    def _note_stray(self, strays: _Strays, message: bytes) -> None:
        id, source, datagram = layout.unpack_stranger(message)
        carried = self._flows.get(FlowId(id))
        if carried is not None:
            strays.told.append((carried.port, datagram, source))

    def _hear(self, strays: _Strays) -> None:
        """Strays first, then what has come since."""
        for port, datagram, source in strays.told:
            port.stray(datagram, source)
        self._waiting.difference_update(strays.locals)
        for port in strays.ports:
            port.resume()

    # --- what is told of flows

    def freshen(self, id: FlowId) -> None:
        """What is told next of ``id`` is to be true at this moment, unless too much was asked for.

        Else it is that of a quarter of a second ago at most, jitter that of a second. To ask for
        each of many calls would keep both sides waiting for each other.
        """
        carried = self._flows[id]
        now = self._reactor.seconds()
        if now - carried.fresh_at < FRESH or now - self._asked_at < ASK_EVERY:
            return
        self._asked_at = now
        self.ask(id)

    def ask(self, id: FlowId) -> None:
        """Have the process write down what it knows of ``id``, and of the opposite direction."""
        carried = self._flows[id]
        if carried.final is not None:
            return
        opposite = self._locals.get(carried.flow.out)
        ids = {id} if opposite is None else {id, opposite}
        said = carried.child.settle(layout.pack_ids(layout.TELL, ids))
        strays = self._sorted(carried.child, said)
        if strays.told:
            self._reactor.callLater(0, self._hear, strays)
        for each in ids:
            self._flows[each].fresh_at = self._reactor.seconds()

    def sample(self, id: FlowId) -> Sample:
        """See KernelPath."""
        carried = self._flows[id]
        return carried.final or self._read(carried)

    def _read(self, carried: _Carried) -> Sample:
        child, base = carried.child, carried.slot * layout.WORDS
        start = carried.slot * layout.SLOT_SIZE + layout.PUBLISHED_AT
        words = child.words
        for _ in range(READ_TRIES):
            version, steady = words[base + layout.VERSION], words[base + layout.STEADY]
            packets, octets, last = layout.TRAFFIC.unpack_from(child.octets, base * 8)
            if carried.read is not None and carried.read_at == (version, steady, packets):
                return carried.read
            content = bytes(child.octets[start : start + layout.SLOT_SIZE - layout.PUBLISHED_AT])
            if (
                not version & 1
                and version == words[base + layout.VERSION]
                and steady == words[base + layout.STEADY]
                and packets == words[base + layout.PACKETS]
            ):
                break
        told = layout.unpack_published(content)
        rtp = told.rtp
        if steady and carried.flow.rtp:
            rtp = layout.advanced(rtp, max(0, packets - told.packets), steady - 1)
        carried.read_at = None if version & 1 else (version, steady, packets)
        carried.read = Sample(
            packets=packets,
            octets=octets,
            last_ns=int(last * NANO),
            gap_ns=int(told.gap * NANO),
            foreign=told.foreign,
            refused=told.refused,
            failed=told.failed,
            rtp=rtp,
        )
        return carried.read

    def glancer(self, id: FlowId) -> Callable[[], Glance]:
        """See KernelPath."""
        return partial(self._glance, self._flows[id])

    def _glance(self, carried: _Carried) -> Glance:
        sample = carried.final or self._read(carried)
        rtp = sample.rtp
        return (
            *(sample.packets, sample.octets, sample.last_ns),
            *(sample.failed, sample.refused, sample.tap_lost),
            *(rtp.earlier, rtp.lowest, rtp.ssrc_changes),
            *(rtp.ssrc or 0, -1 if rtp.payload_type is None else rtp.payload_type),
            *(rtp.highest, rtp.received),
        )

    def brief(self, id: FlowId) -> Brief:
        """See KernelPath."""
        carried = self._flows[id]
        return brief_of(carried.final or self._read(carried))

    def survey(self) -> Iterator[Surveyed]:
        """See KernelPath."""
        flows = self._flows

        def glance(id: FlowId) -> Glance | None:
            carried = flows.get(id)
            return None if carried is None else self._glance(carried)

        return self._survey.look((id for id, it in flows.items() if it.flow.rtp), glance)

    def count(self, id: FlowId, packets: int) -> int:
        """See KernelPath."""
        return self._survey.count(id, packets)

    def samples(self) -> Mapping[FlowId, Traffic]:
        """See KernelPath."""
        return {id: self._traffic(carried) for id, carried in self._flows.items()}

    def _traffic(self, carried: _Carried) -> Traffic:
        final = carried.final
        if final is not None:
            return Traffic(final.packets, final.octets, final.last_ns)
        packets, octets, last = layout.TRAFFIC.unpack_from(
            carried.child.octets, carried.slot * layout.SLOT_SIZE
        )
        return Traffic(packets, octets, int(last * NANO))

    @property
    def refusals(self) -> Mapping[str, int]:
        """See KernelPath."""
        return self._refusals

    # --- the processes

    def _heard(self, child: Child, message: bytes) -> None:
        if message[0] == layout.STRANGER:
            id, source, datagram = layout.unpack_stranger(message)
            carried = self._flows.get(FlowId(id))
            if carried is not None and carried.final is None:
                carried.port.stray(datagram, source)
        elif message[0] == layout.GIVEN_UP:
            self._tell_withdrawn(FlowId(layout.unpack_word(message)))

    def _lost(self, child: Child) -> None:
        """It is dead: what it had is as it left it, and its sockets are ours again."""
        ids = [id for id, it in self._flows.items() if it.child is child and it.final is None]
        for id in ids:
            carried = self._flows[id]
            self._finish(carried)
            self._give_back(carried)
            self._reactor.callLater(0, self._tell_withdrawn, id)

    def _give_back(self, carried: _Carried) -> None:
        try:
            disconnect(carried.port.socket)
        except OSError as error:
            self._log.error("a port cannot be disconnected: {error}", error=error)
        carried.port.resume()

    def _tell_withdrawn(self, id: FlowId) -> None:
        if id in self._flows:
            self._withdrawn(id)

    def on_withdrawn(self, callback: OnWithdrawn) -> None:
        """See KernelPath."""
        self._withdrawn = callback

    # --- what a kernel does and a process need not

    def set_tap(self, id: FlowId, tap: bool) -> None:
        """See KernelPath: never asked for, as tapped flows are refused."""
        if tap != self._flows[id].flow.tap:
            raise NotImplementedError

    def is_held(self, id: FlowId) -> bool:
        """See KernelPath: whoever reads reads everything."""
        return False

    def passed(self, id: FlowId, datagram: bytes, rtp: RtpState | None = None) -> None:
        """See KernelPath: the process begins where the relay has stopped reading."""

    def drain(self) -> None:
        """See KernelPath: there are no copies."""

    def on_tap(self, callback: OnTap) -> None:
        """See KernelPath: there are no copies."""
