"""The path through the kernel: flows in the program's tables, kept true to the network.

It attaches the program to every device, and to those that appear later; looks up each flow's way
out, and again whenever devices, addresses or routes change, and every REFRESH seconds besides
(a path's MTU is learned without news, and not every removal of a route is told). A flow that has
no way out any more is withdrawn. Where neighbours are is told to the program as soon as it is news.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from twisted.logger import Logger

from rtpproxy_tw.addresses import Address, family_of
from rtpproxy_tw.media.kernel import capabilities, layout
from rtpproxy_tw.media.kernel import rtnetlink as rt
from rtpproxy_tw.media.kernel.attach import AUTO, CLSACT, TCX, Attachments, Filters
from rtpproxy_tw.media.kernel.ipsec import policies_in_force
from rtpproxy_tw.media.kernel.left import LINK, MAP, PROGRAM, Left, shape
from rtpproxy_tw.media.kernel.neighbours import Neighbours
from rtpproxy_tw.media.kernel.onlookers import Onlookers
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
from rtpproxy_tw.media.kernel.program import ETHERNET, MAPS, OBJECT, Program, explain
from rtpproxy_tw.media.kernel.repeated import Repeated
from rtpproxy_tw.media.kernel.ring import Copy, Ring
from rtpproxy_tw.media.kernel.routing import NoWay, Routing
from rtpproxy_tw.media.kernel.table import FOR_EVER, Full, Table
from rtpproxy_tw.media.kernel.watch import Watcher

CAPACITY = 1_024
"""Flows, where nothing else is said; each costs half a kilobyte of kernel memory."""

BUDGET = 100
"""Datagrams of strangers per flow and second that go up: twice what a usual stream has, so that a
peer that moved is seen, and a flood costs the relay nothing."""

RING_OCTETS = 1 << 23
"""Holds 32,000 tapped packets of audio: more than half a second at 50,000 per second."""

TAP_POLL = 0.02
"""Seconds between two looks into the ring, while anything is tapped."""

REFRESH = 10.0
"""Seconds."""

CHUNK = 50
"""Ways looked up before others get their turn: a millisecond at most."""

HEARTBEAT = 1.0
"""Seconds between two signs of life."""

PATIENCE_NS = 30_000_000_000
"""How long after the last sign of life the program relays on, where a crash would leave it."""

VOUCHED_NS = 3_000_000_000
"""How long after it the program believes what it was told of neighbours. A process that stands
still for so long hears of no other address that one may have got."""

_SERIALS = 1 << 32


@dataclass(slots=True, eq=False)
class _Carried:
    """One flow. ``final`` is set once it was withdrawn; the slot is then no longer its own."""

    flow: Flow
    slot: int
    hop: layout.Hop
    place: int
    """Of the neighbour; 0: none."""
    serial: int
    final: Sample | None = None
    counted: int = 0
    """How many packets were counted when it was withdrawn, and since."""


class EbpfPath:
    """KernelPath by eBPF. ``reactor`` needs IReactorTime and IReactorFDSet.

    ``devices`` limits it to devices of these names; None: all. ``method`` is ``tcx``, ``clsact``
    or, by what the kernel can, ``auto``.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        capacity: int = CAPACITY,
        budget: int = BUDGET,
        ring_octets: int = RING_OCTETS,
        method: str = AUTO,
        devices: frozenset[str] | None = None,
        left: Left | None = None,
    ) -> None:
        self._reactor = reactor
        self._capacity = capacity
        self._budget = budget
        self._ring_octets = ring_octets
        self._method = method
        self._only = devices
        self._left = left or Left()
        self._shape = shape(OBJECT, capacity, ring_octets)
        self._before: dict[Address, int] | None = None
        """Slots of flows that a process before us has put there; None: not looked at."""
        self._flows: dict[FlowId, _Carried] = {}
        self._locals: dict[tuple[str, int], FlowId] = {}
        self._slots: dict[int, FlowId] = {}
        self._tapped: dict[int, tuple[FlowId, Address]] = {}
        """By serial number."""
        self._copies: Iterator[Copy] = iter(())
        """Read, and not handed out yet: there are some if a tap asks for the rest."""
        self._ids = itertools.count(1)
        self._refusals: Counter[str] = Counter()
        self._undo: list[Callable[[], object]] = []
        self._tap: OnTap = _ignore_copy
        self._withdrawn: OnWithdrawn = _ignore
        self._hosts: set[str] = set()
        self._stale: deque[FlowId] = deque()
        """Flows whose way has to be looked up again."""
        self._resolving: Any = None
        self._ipsec = False
        self._unseen: frozenset[int] = frozenset()
        """Devices from which packets go right to the other end."""

    # --- life

    def start(self) -> None:
        """See KernelPath."""
        try:
            self._start()
        except OSError as error:
            self.stop()
            raise explain(error) from None
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        left, links = self._same(), dict[int, int]()
        if left is not None:
            links = {int(device): fd for device, fd in left.take(LINK).items()}
        self._program = Program(self._capacity, self._ring_octets, left)
        self._undo.append(self._program.close)
        self._table = Table(self._program.maps, self._capacity)
        self._undo.append(self._table.close)
        self._ring = Ring(self._program.maps["ring"], self._ring_octets)
        self._undo.append(self._ring.close)
        try:
            self._start_watching()
        except OSError as error:
            raise Unavailable(
                f"The network cannot be watched by netlink: {error.strerror}.",
                "With systemd, RestrictAddressFamilies must allow AF_NETLINK.",
            ) from None
        self._attachments = Attachments(
            self._program.programs, self._requests, TCX if links else self._method, links
        )
        self._undo.append(self._attachments.close)
        reaped = self._attachments.reap(self._routing.links)
        if reaped:
            self._log.info("removed {count} filters that a crash had left", count=reaped)
        self._attachments.follow(self._usable())
        if not self._attachments.devices:
            raise Unavailable(
                "The program could be attached to no device.", "The log says why for each."
            )
        self._repeat(REFRESH, self._refresh_all)
        self._repeat(HEARTBEAT, self._live_on)
        self._live_on()
        self._drain_call = Repeated(self._reactor, TAP_POLL, self.drain)
        self._undo.append(self._drain_call.stop)
        self._undo.append(self._stop_resolving)
        self._left.close()

    def _same(self) -> Left | None:
        """What a process before us has left, if it is of our kind."""
        needed = [*(MAP + name for name in MAPS), PROGRAM + ETHERNET]
        return self._left if self._left.shape == self._shape and self._left.has(*needed) else None

    def _start_watching(self) -> None:
        self._requests = rt.Requests()
        self._undo.append(self._requests.close)
        self._routing = Routing(self._requests)
        self._neighbours = Neighbours(self._program.maps["hops"], self._requests)
        self._undo.append(self._neighbours.close)
        self._onlookers = Onlookers(Filters(self._requests))
        self._undo.append(self._onlookers.close)
        # Watch first, then look: what changes in between is looked at again.
        watcher = Watcher(
            self._reactor, self._refresh, self._neighbours.heard, self._neighbours.missed
        )
        self._undo.append(watcher.close)
        self._look()

    def _repeat(self, seconds: float, what: Callable[[], object]) -> None:
        call = Repeated(self._reactor, seconds, what)
        call.start()
        self._undo.append(call.stop)

    def _live_on(self) -> None:
        now = time.monotonic_ns()
        lasting = self._attachments.method != CLSACT
        self._table.serve_until(FOR_EVER if lasting else now + PATIENCE_NS)
        self._cross()
        if self._neighbours.hears:
            self._table.vouch_until(now + VOUCHED_NS)

    def _cross(self) -> None:
        """Let packets go right to the other end of pairs of devices where nobody looks on."""
        unseen = self._onlookers.unseen()
        for devices, text in (
            (unseen - self._unseen, "streams go from {devices} right to the other end of the pair"),
            (self._unseen - unseen, "streams leave by {devices}, as something looks at what does"),
        ):
            names = sorted(
                self._routing.links[it].name for it in devices & self._routing.links.keys()
            )
            if names:
                self._log.info(text, devices=", ".join(names))
        self._unseen = unseen
        self._neighbours.across(unseen)

    def confine(self) -> None:
        """See KernelPath. Putting filters on devices, and taking them off, needs CAP_NET_ADMIN."""
        which: tuple[int, ...] = (capabilities.BPF, capabilities.PERFMON, capabilities.SYS_ADMIN)
        if self._attachments.method == TCX:
            which += (capabilities.NET_ADMIN,)
        try:
            capabilities.give_up(*which)
        except OSError as error:
            self._log.warn("capabilities could not be given up: {error}", error=error)

    def stop(self) -> None:
        """See KernelPath."""
        while self._undo:
            self._undo.pop()()
        self._flows.clear()
        self._locals.clear()
        self._slots.clear()
        self._tapped.clear()
        self._copies = iter(())

    @property
    def program(self) -> int:
        """The descriptor of the program on Ethernet devices, to be run on request."""
        return self._program.programs[ETHERNET]

    @property
    def method(self) -> str:
        """How it is attached: ``tcx`` or ``clsact``."""
        return self._attachments.method

    @property
    def devices(self) -> set[str]:
        """The names of the devices it is on."""
        links = self._routing.links
        return {links[index].name for index in self._attachments.devices if index in links}

    # --- one process after another

    def shape(self) -> Mapping[str, object]:
        """See LastingPath."""
        return self._shape if self._attachments.method == TCX else {}

    def descriptors(self) -> Mapping[str, int]:
        """See LastingPath."""
        if self._attachments.method != TCX:
            return {}
        return {
            **{MAP + name: it.descriptor for name, it in self._program.maps.items()},
            **{PROGRAM + name: fd for name, fd in self._program.programs.items()},
            **{f"{LINK}{device}": fd for device, fd in self._attachments.links.items()},
        }

    def adopt(self, flow: Flow) -> FlowId | None:
        """See LastingPath."""
        slot = self._surveyed().get(flow.local)
        if slot is None:
            return None
        content = self._table.read(slot)
        serial = layout.unpack_serial(content)
        try:
            hop = self._hop(flow)
        except NoWay:
            return None
        description = self._describe(flow, hop, serial, layout.unpack_place(content))
        if not layout.is_described(content, description):
            return None
        del self._surveyed()[flow.local]
        id = FlowId(serial)
        place = self._neighbours.take(hop)
        self._table.point(slot, place)
        self._table.begin(slot)
        carried = self._flows[id] = _Carried(flow, slot, hop, place, serial)
        self._locals[flow.local] = self._slots[slot] = id
        if flow.tap:
            self._start_tapping(id, carried)
        return id

    def _surveyed(self) -> dict[Address, int]:
        """Slots of flows that a process before us has put there, and nobody has taken over."""
        if self._before is None:
            self._before = self._table.survey()
            serials = [layout.unpack_serial(self._table.read(it)) for it in self._before.values()]
            self._ids = itertools.count(max(serials, default=0) + 1)
        return self._before

    def take_back(self, local: Address) -> Sample | None:
        """See LastingPath."""
        slot = self._surveyed().pop(local, None)
        return None if slot is None else layout.unpack_sample(self._table.remove(slot))

    def take_back_all(self) -> None:
        """See LastingPath."""
        for local in list(self._surveyed()):
            self.take_back(local)

    # --- flows

    def add(self, flow: Flow, rtp: RtpState | None = None) -> FlowId | None:
        """See KernelPath."""
        try:
            return self._add(flow, rtp or RtpState())
        except NoWay as why:
            self._refusals[str(why)] += 1
        except Full:
            self._refusals["table full"] += 1
        except (OSError, ValueError):
            self._refusals["unusable address"] += 1
        return None

    def _add(self, flow: Flow, rtp: RtpState) -> FlowId:
        if family_of(flow.local[0]) != family_of(flow.source[0]):
            raise NoWay("families differ")
        if family_of(flow.out[0]) != family_of(flow.to[0]):
            raise NoWay("families differ")
        if flow.local in self._locals:
            raise NoWay("local address taken")
        id = FlowId(next(self._ids))
        serial = id % _SERIALS
        hop = self._hop(flow)
        place = self._neighbours.take(hop)
        try:
            slot = self._table.put(flow.local, self._describe(flow, hop, serial, place), rtp)
        except BaseException:
            self._neighbours.leave(hop, place)
            raise
        carried = self._flows[id] = _Carried(flow, slot, hop, place, serial)
        self._locals[flow.local] = self._slots[slot] = id
        if flow.tap:
            self._start_tapping(id, carried)
        return id

    def _describe(self, flow: Flow, hop: layout.Hop, serial: int, place: int) -> layout.Halves:
        flags = (layout.RTP_FLAG if flow.rtp else 0) | (layout.TAP_FLAG if flow.tap else 0)
        flags |= layout.ORDERED_FLAG if flow.ordered else 0
        return layout.pack_description(
            flow.local,
            flow.source,
            flow.out[1],
            flow.to,
            hop,
            tos=flow.tos,
            serial=serial,
            budget=self._budget,
            flags=flags,
            place=place,
        )

    def remove(self, id: FlowId) -> Sample:
        """See KernelPath."""
        carried = self._flows[id]
        if carried.final is None:
            self._take_out(id, carried)
        del self._flows[id]
        assert carried.final is not None
        return carried.final

    def _take_out(self, id: FlowId, carried: _Carried) -> None:
        carried.counted = -self._table.count(carried.slot, 0)
        carried.final = layout.unpack_sample(self._table.remove(carried.slot))
        self._neighbours.leave(carried.hop, carried.place)
        del self._locals[carried.flow.local], self._slots[carried.slot]
        self._stop_tapping(carried)

    def sample(self, id: FlowId) -> Sample:
        """See KernelPath."""
        carried = self._flows[id]
        return carried.final or layout.unpack_sample(self._table.read(carried.slot))

    def is_held(self, id: FlowId) -> bool:
        """See KernelPath."""
        carried = self._flows[id]
        return carried.final is None and self._table.is_held(carried.slot)

    def passed(self, id: FlowId, datagram: bytes, rtp: RtpState | None = None) -> None:
        """See KernelPath."""
        carried = self._flows[id]
        if carried.final is None:
            self._table.passed(carried.slot, datagram, rtp)

    def glancer(self, id: FlowId) -> Callable[[], Glance]:
        """See KernelPath."""
        return self._table.glancer(self._flows[id].slot)

    def brief(self, id: FlowId) -> Brief:
        """See KernelPath."""
        carried = self._flows[id]
        if carried.final is None:
            return self._table.brief(carried.slot)
        return brief_of(carried.final)

    def survey(self) -> Iterator[Surveyed]:
        """See KernelPath."""
        for fresh, stirred in self._table.look():
            slots = self._slots
            yield Surveyed(fresh, {slots[it]: to for it, to in stirred.items() if it in slots})

    def count(self, id: FlowId, packets: int) -> int:
        """See KernelPath."""
        carried = self._flows[id]
        if carried.final is None:
            return self._table.count(carried.slot, packets)
        more, carried.counted = packets - carried.counted, packets
        return more

    def samples(self) -> Mapping[FlowId, Traffic]:
        """See KernelPath."""
        traffic = self._table.traffic
        return {
            id: traffic(it.slot)
            if it.final is None
            else Traffic(it.final.packets, it.final.octets, it.final.last_ns)
            for id, it in self._flows.items()
        }

    @property
    def refusals(self) -> Mapping[str, int]:
        """See KernelPath."""
        return self._refusals

    # --- the tap

    def on_tap(self, callback: OnTap) -> None:
        """See KernelPath."""
        self._tap = callback

    def set_tap(self, id: FlowId, tap: bool) -> None:
        """See KernelPath."""
        carried = self._flows[id]
        if tap == carried.flow.tap:
            return
        carried.flow = replace(carried.flow, tap=tap)
        if carried.final is not None:
            return
        self._describe_anew(carried)
        if tap:
            self._start_tapping(id, carried)
        else:
            self._stop_tapping(carried)

    def drain(self) -> None:
        """See KernelPath. A tap may come back here: the order stays."""
        if not self._tapped:
            return
        self._hand_out(self._copies)
        self._copies = iter(self._ring.read())
        self._hand_out(self._copies)

    def _hand_out(self, copies: Iterator[Copy]) -> None:
        tapped, tap = self._tapped, self._tap
        for serial, ns, datagram in copies:
            if serial in tapped:
                id, source = tapped[serial]
                try:
                    tap(id, datagram, source, ns)
                except Exception:
                    self._log.failure("a tapped datagram could not be handled")

    def _start_tapping(self, id: FlowId, carried: _Carried) -> None:
        self._tapped[carried.serial] = id, carried.flow.source
        self._drain_call.start()

    def _stop_tapping(self, carried: _Carried) -> None:
        """Copies made before reach the tap before this returns."""
        if carried.serial in self._tapped:
            self.drain()
            self._tapped.pop(carried.serial, None)  # a tap may have done it
            if not self._tapped:
                self._drain_call.stop()

    # --- the network

    def on_withdrawn(self, callback: OnWithdrawn) -> None:
        """See KernelPath."""
        self._withdrawn = callback

    def _usable(self) -> list[rt.Link]:
        links = self._routing.links.values()
        return [link for link in links if self._only is None or link.name in self._only]

    def _look(self) -> None:
        """Read devices, addresses and IPsec policies anew. Raises OSError."""
        self._routing.refresh()
        self._neighbours.follow(self._routing.links)
        self._onlookers.follow(self._routing.links.values())
        self._cross()
        hosts = self._requests.hosts()
        table = self._program.maps["hosts"]
        for host in self._hosts - hosts:
            try:
                del table[layout.pack_key((host, 0))]
            except KeyError:
                pass
            except OSError:
                hosts.add(host)  # to be tried again
        for host in sorted(hosts - self._hosts):
            try:
                table[layout.pack_key((host, 0))] = bytes(4)
            except OSError:
                hosts.discard(host)  # no room: a wildcard does not take what is sent there
        self._hosts = hosts
        self._ipsec = policies_in_force(self._ipsec)

    def _refresh_all(self) -> None:
        """The same, and at the neighbours."""
        self._neighbours.refresh()
        self._refresh()

    def _refresh(self) -> None:
        """Look at the network, and at the way of every flow, again."""
        try:
            self._look()
        except OSError as error:
            self._log.warn("cannot look at the network: {error}", error=error)
            return
        self._attachments.follow(self._usable())
        self._stale = deque(self._flows)
        if self._resolving is None:
            self._resolve_some()

    def _resolve_some(self) -> None:
        self._resolving = None
        ids = [self._stale.popleft() for _ in range(min(CHUNK, len(self._stale)))]
        some = {id: it for id in ids if (it := self._flows.get(id)) and it.final is None}
        asked = ((it.flow.out, it.flow.to, it.flow.tos) for it in [*some.values()])
        for (id, carried), found in zip([*some.items()], self._routing.hops(asked), strict=True):
            if carried.final is None:  # the other direction may have taken it along
                self._resolve(id, carried, NoWay("IPsec policies") if self._ipsec else found)
        if self._stale:
            self._resolving = self._reactor.callLater(0, self._resolve_some)

    def _stop_resolving(self) -> None:
        self._stale.clear()
        if self._resolving is not None:
            self._resolving.cancel()
            self._resolving = None

    def _hop(self, flow: Flow) -> layout.Hop:
        if self._ipsec:
            raise NoWay("IPsec policies")
        return self._routing.hop(flow.out, flow.to, flow.tos)

    def _resolve(self, id: FlowId, carried: _Carried, hop: layout.Hop | NoWay) -> None:
        """This is its way now."""
        if isinstance(hop, NoWay):
            self._log.info("gave up a flow to {host}: {why}", host=carried.flow.to[0], why=str(hop))
            self._take_out(id, carried)
            self._withdrawn(id)
            return
        if hop != carried.hop:
            before, left = carried.hop, carried.place
            carried.hop, carried.place = hop, self._neighbours.take(hop)
            self._describe_anew(carried)
            self._neighbours.leave(before, left)
        else:
            # A new relay that was to take over, and could not, may have put its own there.
            self._table.point(carried.slot, carried.place)

    def _describe_anew(self, carried: _Carried) -> None:
        self._table.change(
            carried.slot,
            self._describe(carried.flow, carried.hop, carried.serial, carried.place),
        )


def _ignore_copy(id: FlowId, datagram: bytes, source: tuple[str, int], ns: int) -> None:
    """The tap nobody asked for."""


def _ignore(id: FlowId) -> None:
    """Nobody wants to know."""
