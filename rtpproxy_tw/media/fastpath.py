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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.interfaces import IFastPath, IPatientTap
from rtpproxy_tw.media.arrival import Arrival
from rtpproxy_tw.media.kernel.path import (
    Flow,
    FlowId,
    Glance,
    KernelPath,
    LastingPath,
    RtpState,
    Sample,
    Upto,
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
    shortcuts = True

    def consider(self, stream: Stream, now: float) -> None:
        """See IFastPath."""

    def release(self, session: Session) -> None:
        """See IFastPath."""

    def recall(self, stream: Stream, now: float) -> None:
        """See IFastPath."""

    def refresh(self, session: Session) -> None:
        """See IFastPath."""

    def disturb(self, session: Session) -> None:
        """See IFastPath."""

    def go_on(self, session: Session) -> bool:
        """See IFastPath."""
        return False

    def stirred(self) -> Iterator[set[Session]]:
        """See IFastPath."""
        yield set()

    def refresh_all(self) -> None:
        """See IFastPath."""


@dataclass(slots=True, eq=False)
class Carried:
    """One offloaded stream and how much of it is in the counters already."""

    stream: Stream
    flow: FlowId
    packets: int = 0
    octets: int = 0
    refused: int = 0
    failed: int = 0
    missed: int = 0
    analysed: int = 0
    """How many packets the path had carried when its RTP statistics were last taken."""
    glance: Glance = ()
    """What the path last told at a glance."""
    look: Callable[[], Glance] = tuple
    """Takes a glance; there is nothing to see where the path is not there any more."""


@implementer(IFastPath)
class Offloader:
    """Gives settled streams to ``path``. ``now`` is monotonic seconds, ``tos`` the default mark.

    ``arrival`` is told when the packets came that taps hear; ``carrier`` is what timelines call the
    path. One that makes no copies (``copying``) gets RTP that nobody else listens to; it may be
    missing for a while, and streams are quick meanwhile. ``freshen`` is called before a flow is
    looked at for somebody who asked.
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
        carrier: str = "the kernel",
        copying: bool = True,
        freshen: Callable[[FlowId], None] = lambda flow: None,
    ) -> None:
        self._path = path
        self._carrier = carrier
        self._copying = copying
        self.shortcuts = not copying
        self._freshen = freshen
        self._now = now
        self._totals = totals
        self._tos = tos
        self._arrival = Arrival(now) if arrival is None else arrival
        self._carried: dict[FlowId, Carried] = {}
        self._by_stream: dict[Stream, Carried] = {}
        self._disturbed: set[Session] = set()
        """Those of which something came to this process, or came back to it, since it was asked
        which ones were stirred."""
        self._catching_up: Stream | None = None
        """Whose queue is being emptied."""
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
        for each in (peer, stream):
            if each.sender is not None:
                each.sender.fold()  # the path goes on from the present figures
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
        if stream is self._catching_up:
            return  # it was held when the first of its queue came, and is until that is empty
        self._path.drain()
        carried = self._by_stream.get(stream)
        if carried is None or not self._path.is_held(carried.flow):
            self._drop(stream, now + UNFIT)

    def refresh(self, session: Session) -> None:
        """See IFastPath."""
        for leg in session.legs:
            for stream in leg.streams:
                carried = self._by_stream.get(stream)
                if carried is None:
                    continue
                self._freshen(carried.flow)
                # What is asked may turn out to be dead, and what it had to be ours again.
                if self._moved(carried):
                    sample = self._path.sample(carried.flow)
                    self._add(carried, sample, self._path.count(carried.flow, sample.packets))

    def disturb(self, session: Session) -> None:
        """See IFastPath."""
        if self._catching_up is not None and session is self._catching_up.leg.session:
            return
        self._disturbed.add(session)
        self.refresh(session)

    def go_on(self, session: Session) -> bool:
        """See IFastPath."""
        found = [self._by_stream.get(leg.rtp) for leg in session.legs]
        return all([carried is not None and self._go_on(carried) for carried in found])

    def _go_on(self, carried: Carried) -> bool:
        analyzer = carried.stream.analyzer
        if analyzer is None:
            return False
        brief = self._path.brief(carried.flow)
        if brief.packets == carried.packets:
            return True
        went_on = analyzer.goes_on(brief.highest, brief.received) and analyzer.jitters_on(
            brief.jitter_last,
            brief.jitter_peak,
            brief.jitter_total,
            brief.jitter_samples,
            brief.source_samples,
        )
        if went_on:
            packets = brief.packets
            unknown = self._path.count(carried.flow, packets)
            self._add_traffic(carried, packets, brief.octets, brief.last_ns, unknown)
        return went_on

    def stirred(self) -> Iterator[set[Session]]:
        """See IFastPath."""
        found, self._disturbed = self._disturbed, set()
        for packets, flows in self._path.survey():
            self._count(packets)
            for flow, upto in flows.items():
                carried = self._carried.get(flow)
                if carried is not None:
                    self._count_along(carried, upto)
                    found.add(carried.stream.leg.session)
            yield found
            found = set()
        if found:
            yield found

    def _count_along(self, carried: Carried, upto: Upto) -> None:
        """Up to there nothing was lost; so much is known before the path's figures are taken."""
        analyzer = carried.stream.analyzer
        if analyzer is not None:
            analyzer.goes_on(upto.highest, upto.received)

    def _count(self, packets: int) -> None:
        self._totals.npkts_rcvd += packets
        self._totals.npkts_relayed += packets

    def refresh_all(self) -> None:
        """See IFastPath."""
        for flow, (packets, octets, last_ns) in self._path.samples().items():
            carried = self._carried.get(flow)
            if carried is not None and packets != carried.packets:
                fresh = self._path.count(flow, packets)
                self._add_traffic(carried, packets, octets, last_ns, fresh)

    def _moved(self, carried: Carried) -> bool:
        """Whether the path has counted anything that is not in our counters, at a glance."""
        counts = carried.look()
        moved = counts != carried.glance
        carried.glance = counts
        return moved

    def _fit(self, stream: Stream) -> bool:
        latch = stream.latch
        if not latch.settled or latch.remote is None:
            return False
        if stream.feeds or stream.processor or stream.leg.session.outlet_of:
            return False
        if not self._copying and (stream.taps or stream.component is Component.RTCP):
            return False
        return all(map(IPatientTap.providedBy, stream.taps))

    def _flow_of(self, stream: Stream) -> Flow | None:
        """What is to be carried, once it is known from where to where."""
        peer = stream.peer
        source, to = stream.latch.source, peer.latch.remote
        local, out = stream.leg.local, peer.leg.local
        if source is None or to is None or local is None or out is None:
            return None
        rtp = stream.component is Component.RTP
        return Flow(
            local=(local.host, stream.port),
            source=source,
            out=(out.host, peer.port),
            to=to,
            tos=self._tos if peer.leg.tos is None else peer.leg.tos,
            rtp=rtp,
            ordered=True,
            # So rare that copies cost nothing; what the parties report is wanted here too.
            tap=not rtp or bool(stream.taps),
        )

    def _carry(self, stream: Stream) -> bool:
        wanted = self._flow_of(stream)
        if wanted is None:
            return False
        flow = self._path.add(wanted, _state(stream.analyzer) if wanted.rtp else None)
        if flow is None:
            return False
        carried = Carried(stream, flow, look=self._path.glancer(flow))
        self._carried[flow] = self._by_stream[stream] = carried
        self._note(stream, f"is carried by {self._carrier}")
        return True

    def _catch_up(self, carried: Carried) -> None:
        """Send on what has come to the socket; if that was all, the path may go on.

        One socket at a time and to its end: a relay that is behind with all of them would else
        never be done with one, and never be rid of the load. Meanwhile the path carries nothing of
        the stream, so that its counters need not be looked at for each packet.
        """
        stream = carried.stream
        if self._catching_up is not None or stream.sender is None:
            return
        self._catching_up = stream
        try:
            stream.sender.drain()
        finally:
            self._catching_up = None
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
        session = stream.leg.session
        self._note(stream, "passes through the relay itself")
        counted = -self._path.count(carried.flow, 0)
        final = self._path.remove(carried.flow)  # the last copies are heard meanwhile
        del self._carried[carried.flow]
        self._add(carried, final, final.packets - counted)
        if stream.component is Component.RTP:
            self._disturbed.add(session)

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
            self._disturbed.add(stream.leg.session)
        arrival.of_copy = when_ns * NANO
        try:
            for tap in stream.taps:
                tap.heard(stream, datagram, source)
        finally:
            arrival.of_copy = None

    def _note(self, stream: Stream, text: str) -> None:
        what = f"{stream.leg.side.value}: {stream.component.name} {text}"
        stream.leg.session.timeline.add(self._now(), "path", what)

    def _add(self, carried: Carried, sample: Sample, fresh: int) -> None:
        """``fresh``: how many of its packets are not in the totals."""
        stream, totals = carried.stream, self._totals
        self._add_traffic(carried, sample.packets, sample.octets, sample.last_ns, fresh)
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

    def told(self, stream: Stream) -> list[int] | None:
        """Of what is carried, how much is in the counters: for :meth:`resume`."""
        carried = self._by_stream.get(stream)
        if carried is None:
            return None
        missed = carried.missed
        return [carried.packets, carried.octets, carried.refused, carried.failed, missed]

    def drain(self) -> None:
        """Have all copies heard that the path has made so far."""
        self._path.drain()

    def resume(
        self, session: Session, told: Mapping[Stream, Sequence[int]], *, exactly: bool = False
    ) -> None:
        """Go on with what another process let be carried, of which ``told`` is counted already.

        Unless ``told`` is what stands in the totals ``exactly``, these are told of none of it: they
        were written at another time.
        """
        for leg in session.legs:
            for stream in leg.streams:
                self._resume(stream, told.get(stream, (0, 0, 0, 0, 0)), exactly)
        for stream in session.caller.streams:
            if stream.offloaded != stream.peer.offloaded:
                self._drop(stream, self._now() + RETRY)

    def _resume(self, stream: Stream, told: Sequence[int], exactly: bool) -> None:
        path, local = self._path, stream.leg.local
        if local is None or not stream.port or not isinstance(path, LastingPath):
            return
        wanted = self._flow_of(stream) if self._fit(stream) else None
        flow = None if wanted is None else path.adopt(wanted)
        if flow is None:
            sample = path.take_back((local.host, stream.port))
        else:
            sample = path.sample(flow)
        if sample is None:
            return
        if sample.packets < told[0] or sample.octets < told[1]:
            told = (0, 0, 0, 0, 0)  # it is another flow than was told of
        packets, octets, refused, failed, missed = told
        missed = missed if exactly else sample.tap_lost
        carried = Carried(stream, flow or FlowId(0), packets, octets, refused, failed, missed)
        if flow is not None:
            carried.look = path.glancer(flow)
            path.count(flow, sample.packets)
            self._carried[flow] = self._by_stream[stream] = carried
            stream.offloaded = True
        self._add(carried, sample, sample.packets - packets if exactly else 0)

    def _add_traffic(
        self, carried: Carried, packets: int, octets: int, last_ns: int, unknown: int
    ) -> None:
        """``unknown``: how many of its packets are not in the totals."""
        self._count(unknown)
        fresh = packets - carried.packets
        if fresh <= 0:
            return
        stream, leg = carried.stream, carried.stream.leg
        last = last_ns * NANO
        if not stream.accepted:
            stream.first_heard = last
        stream.accepted += fresh
        stream.relayed += fresh
        stream.octets += octets - carried.octets
        stream.carried += fresh
        stream.carried_octets += octets - carried.octets
        carried.packets, carried.octets = packets, octets
        stream.last_heard = max(stream.last_heard, last)
        stream.latch.last_heard = max(stream.latch.last_heard, last)
        leg.last_active = max(leg.last_active, last)


def _state(analyzer: Analyzer | None) -> RtpState | None:
    if analyzer is None:
        return None
    state = analyzer.snapshot()
    state["seen"] &= WINDOW
    return RtpState(**state)
