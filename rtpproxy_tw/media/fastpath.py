"""When settled streams leave this process for a faster path, and when they come back.

A component of a session (RTP or RTCP, both directions) is offloaded when both its latches are
settled and nobody wants its packets but the other party, or those who do can wait some
milliseconds for copies. It is taken back before anything about the session changes. What was
carried is added to the counters of the streams as differences, so that nobody need know who
carried it.

Nothing overtakes anything on the way in: flows are ordered (see kernel/path.py), so the path begins
to carry when the socket has sent on the last packet that had gone there. The same holds for single
packets that the path leaves to the socket later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.interfaces import IFastPath, IPatientTap
from rtpproxy_tw.media.arrival import Arrival
from rtpproxy_tw.media.kernel.path import (
    HIGHEST,
    LAST_NS,
    OCTETS,
    PACKETS,
    RECEIVED,
    Flow,
    FlowId,
    Glance,
    KernelPath,
    RtpState,
    Sample,
    only_goes_on,
)
from rtpproxy_tw.quality.analyzer import Analyzer
from rtpproxy_tw.session import Component, Session, Stream
from rtpproxy_tw.statistics import Totals

RETRY = 1.0
"""Seconds until a stream that could not be offloaded is considered again."""

UNFIT = 5.0
"""Seconds for a stream of which something came to the socket that the path had not recognised as
its own: fragments."""

NANO = 1e-9

_FIELDS = RtpState._fields

WINDOW = (1 << 64) - 1
"""The path remembers so many sequence numbers."""


@implementer(IFastPath)
class NullFastPath:
    """There is none."""

    active = False

    def consider(self, stream: Stream, now: float) -> None:
        """See IFastPath."""

    def release(self, session: Session) -> None:
        """See IFastPath."""

    def recall(self, stream: Stream, now: float) -> None:
        """See IFastPath."""

    def refresh(self, session: Session) -> None:
        """See IFastPath."""

    def follow(self, session: Session) -> bool:
        """See IFastPath."""
        return False

    def refresh_all(self) -> None:
        """See IFastPath."""


@dataclass(slots=True, eq=False)
class Carried:
    """One offloaded stream and how much of it is in the counters already."""

    stream: Stream
    flow: FlowId
    look: Callable[[], Glance]
    packets: int = 0
    octets: int = 0
    refused: int = 0
    failed: int = 0
    missed: int = 0
    analysed: int = 0
    """How many packets the path had carried when its RTP statistics were last taken."""
    glance: Glance = ()
    """What the path last told at a glance."""
    behind: bool = False
    """Whether it has carried packets since whose jitter is not in our figures."""


@implementer(IFastPath)
class Offloader:
    """Gives settled streams to ``path``. ``now`` is monotonic seconds, ``tos`` the default mark.

    ``arrival`` is told when the packets came that taps hear.
    """

    _log = Logger()
    active = True

    def __init__(
        self,
        *,
        path: KernelPath,
        now: Callable[[], float],
        totals: Totals,
        tos: int,
        arrival: Arrival | None = None,
    ) -> None:
        self._path = path
        self._now = now
        self._totals = totals
        self._tos = tos
        self._arrival = Arrival(now) if arrival is None else arrival
        self._carried: dict[FlowId, Carried] = {}
        self._by_stream: dict[Stream, Carried] = {}
        self._catching_up = False
        path.on_withdrawn(self._withdrawn)
        path.on_tap(self._copied)

    @property
    def carrying(self) -> int:
        """How many streams are carried."""
        return len(self._carried)

    def consider(self, stream: Stream, now: float) -> None:
        """See IFastPath."""
        carried = self._by_stream.get(stream)
        if carried is not None:
            self._catch_up(carried)
            return
        peer = stream.peer
        if not self._fit(stream) or not self._fit(peer):
            stream.offload_after = now + RETRY
            return
        if not (self._carry(peer) and self._carry(stream)):
            self._drop(stream, now + RETRY)
            return
        stream.offloaded = peer.offloaded = True
        stream.offload_after = peer.offload_after = now
        for each in (peer, stream):
            carried = self._by_stream.get(each)
            if carried is not None:
                self._catch_up(carried)

    def release(self, session: Session) -> None:
        """See IFastPath."""
        for leg in session.legs:
            for stream in leg.streams:
                self._uncarry(stream)

    def recall(self, stream: Stream, now: float) -> None:
        """See IFastPath."""
        self._path.drain()
        carried = self._by_stream.get(stream)
        if carried is None or not self._path.is_held(carried.flow):
            self._drop(stream, now + UNFIT)

    def refresh(self, session: Session) -> None:
        """See IFastPath."""
        for leg in session.legs:
            for stream in leg.streams:
                carried = self._by_stream.get(stream)
                if carried is not None and self._moved(carried):
                    self._add(carried, self._path.sample(carried.flow))

    def follow(self, session: Session) -> bool:
        """See IFastPath. Each call passes here once a second, so nothing is done twice."""
        caller, callee = session.legs
        find, goes_on, fresh = self._by_stream.get, True, 0
        for stream in (caller.rtp, callee.rtp):
            carried = find(stream)
            count = self._count_along(carried) if carried is not None else 0
            goes_on = goes_on and count > 0
            fresh += count
        self._totals.npkts_rcvd += fresh
        self._totals.npkts_relayed += fresh
        for stream in (caller.rtcp, callee.rtcp):
            carried = find(stream)
            if carried is not None and carried.look() != carried.glance:
                return False
        return goes_on

    def _count_along(self, carried: Carried) -> int:
        """Count what came, if it was only the next one each time; how many, else 0."""
        stream, before, after = carried.stream, carried.glance, carried.look()
        analyzer, packets, octets = stream.analyzer, after[PACKETS], after[OCTETS]
        fresh = packets - carried.packets
        if (
            fresh <= 0
            or analyzer is None
            or not only_goes_on(before, after)
            or not analyzer.goes_on(after[HIGHEST], after[RECEIVED])
        ):
            return 0
        carried.glance, carried.behind = after, True
        self._add_to_stream(carried, packets, octets, after[LAST_NS])
        return fresh

    def refresh_all(self) -> None:
        """See IFastPath."""
        for flow, (packets, octets, last_ns) in self._path.samples().items():
            carried = self._carried.get(flow)
            if carried is not None and packets != carried.packets:
                self._add_traffic(carried, packets, octets, last_ns)

    def _moved(self, carried: Carried) -> bool:
        """Whether the path has counted anything that is not in our counters, at a glance."""
        counts = carried.look()
        moved = counts != carried.glance or carried.behind
        carried.glance, carried.behind = counts, False
        return moved

    def _fit(self, stream: Stream) -> bool:
        latch = stream.latch
        if not latch.settled or latch.remote is None:
            return False
        if stream.feeds or stream.processor or stream.leg.session.outlet_of:
            return False
        return all(map(IPatientTap.providedBy, stream.taps))

    def _carry(self, stream: Stream) -> bool:
        peer = stream.peer
        source, to = stream.latch.source, peer.latch.remote
        local, out = stream.leg.local, peer.leg.local
        if source is None or to is None or local is None or out is None:
            return False
        tos = self._tos if peer.leg.tos is None else peer.leg.tos
        rtp = stream.component is Component.RTP
        flow = self._path.add(
            Flow(
                local=(local.host, stream.port),
                source=source,
                out=(out.host, peer.port),
                to=to,
                tos=tos,
                rtp=rtp,
                ordered=True,
                # So rare that copies cost nothing; what the parties report is wanted here too.
                tap=not rtp or bool(stream.taps),
            ),
            _state(stream.analyzer) if rtp else None,
        )
        if flow is None:
            return False
        carried = Carried(stream, flow, self._path.glancer(flow))
        self._carried[flow] = self._by_stream[stream] = carried
        self._note(stream, "is carried by the kernel")
        return True

    def _catch_up(self, carried: Carried) -> None:
        """Send on what has come to the socket; if that was all, the path may go on.

        One socket at a time and to its end: a relay that is behind with all of them would else
        never be done with one, and never be rid of the load.
        """
        stream = carried.stream
        if self._catching_up or stream.sender is None:
            return
        self._catching_up = True
        try:
            stream.sender.drain()
        finally:
            self._catching_up = False
        if self._by_stream.get(stream) is carried:
            state = _state(stream.analyzer) if stream.component is Component.RTP else None
            self._path.passed(carried.flow, stream.latest, state)

    def _drop(self, stream: Stream, again_at: float) -> None:
        """Neither direction of the component is carried any more."""
        for each in (stream, stream.peer):
            self._uncarry(each)
            each.offload_after = again_at

    def _uncarry(self, stream: Stream) -> None:
        carried = self._by_stream.pop(stream, None)
        stream.offloaded = False
        if carried is None:
            return
        self._note(stream, "passes through the relay itself")
        final = self._path.remove(carried.flow)  # the last copies are heard meanwhile
        del self._carried[carried.flow]
        self._add(carried, final)

    def _withdrawn(self, flow: FlowId) -> None:
        carried = self._carried.get(flow)
        if carried is not None:
            self._drop(carried.stream, self._now() + RETRY)

    def _copied(self, flow: FlowId, datagram: bytes, source: Address, when_ns: int) -> None:
        carried = self._carried.get(flow)
        if carried is None:
            return
        stream, arrival = carried.stream, self._arrival
        stream.latest = datagram
        if stream.component is Component.RTCP:
            stream.keep_letter(when_ns * NANO, datagram)
        arrival.of_copy = when_ns * NANO
        try:
            for tap in stream.taps:
                tap.heard(stream, datagram, source)
        finally:
            arrival.of_copy = None

    def _note(self, stream: Stream, text: str) -> None:
        what = f"{stream.leg.side.value}: {stream.component.name} {text}"
        stream.leg.session.timeline.add(self._now(), "path", what)

    def _add(self, carried: Carried, sample: Sample) -> None:
        stream, totals = carried.stream, self._totals
        self._add_traffic(carried, sample.packets, sample.octets, sample.last_ns)
        stream.longest_gap = max(stream.longest_gap, sample.gap_ns * NANO)
        refused, carried.refused = sample.refused - carried.refused, sample.refused
        failed, carried.failed = sample.failed - carried.failed, sample.failed
        missed, carried.missed = sample.tap_lost - carried.missed, sample.tap_lost
        for tap in stream.taps if missed else ():
            if IPatientTap.providedBy(tap):
                tap.missed(stream, missed)
        stream.ignored += refused
        stream.dropped += failed
        totals.npkts_rcvd += refused
        totals.npkts_discard += refused + failed
        # While it is held, the statistics go on here.
        if stream.component is Component.RTP and sample.packets != carried.analysed:
            carried.analysed = sample.packets
            if sample.rtp.ssrc is not None:
                number = sample.rtp.highest & 0xFFFF
                stream.latch.carried(sample.rtp.ssrc, number, sample.last_ns * NANO)
            if stream.analyzer is None:
                stream.analyzer = Analyzer()
            stream.analyzer.resume(dict(zip(_FIELDS, sample.rtp, strict=True)))

    def _add_traffic(self, carried: Carried, packets: int, octets: int, last_ns: int) -> None:
        fresh = packets - carried.packets
        if fresh <= 0:
            return
        self._add_to_stream(carried, packets, octets, last_ns)
        self._totals.npkts_rcvd += fresh
        self._totals.npkts_relayed += fresh

    def _add_to_stream(self, carried: Carried, packets: int, octets: int, last_ns: int) -> None:
        """All but the totals."""
        stream, last = carried.stream, last_ns * NANO
        fresh, more = packets - carried.packets, octets - carried.octets
        carried.packets, carried.octets = packets, octets
        if not stream.accepted:
            stream.first_heard = last
        stream.accepted += fresh
        stream.relayed += fresh
        stream.octets += more
        stream.carried += fresh
        stream.carried_octets += more
        if last > stream.last_heard:
            stream.last_heard = last
        if last > stream.latch.last_heard:
            stream.latch.last_heard = last
        if last > stream.leg.last_active:
            stream.leg.last_active = last


def _state(analyzer: Analyzer | None) -> RtpState | None:
    if analyzer is None:
        return None
    state = analyzer.snapshot()
    state["seen"] &= WINDOW
    return RtpState(**state)
