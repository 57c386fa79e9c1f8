"""The seam between the relay and whatever carries settled streams past it.

==========  ====================================================================================
Flow        one direction of one component: datagrams that arrive on one local address from one
            believed source, and where they go
path        what carries flows: the eBPF program, or a fake
add         the path carries the flow from the next datagram on
remove      datagrams come to the socket again; the counters returned are the last ones
handed up   a datagram of the believed source that the path leaves to the socket all the same:
            fragments, IP options, too long for the way out, and the like
foreign     a datagram of another source; some go up to the socket, the rest is dropped
held        an ordered flow of which something went up to the socket: all of it does, until the
            last one that did has been sent on from there
withdrawn   a flow that the path gave up by itself, because no route leads to its destination
==========  ====================================================================================

All times are nanoseconds of CLOCK_MONOTONIC. The sockets of the local addresses stay open: they
own the ports and take what the path does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, NewType, Protocol, runtime_checkable

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.errors import RelayError

FlowId = NewType("FlowId", int)
"""Names a flow from its ``add`` to its ``remove``; never used again while the process lives."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What is to be carried. Hosts are numeric and canonical; families may differ.

    ``local`` and ``out`` may have an unspecified host (a socket bound to a wildcard): the flow
    then takes what is sent to any address of this host, or leaves from the one that the route
    gives. ``tos`` is the octet put on what leaves.
    """

    local: Address
    """Where it arrives."""
    source: Address
    """The only believed sender."""
    out: Address
    """The local address it leaves from."""
    to: Address
    """Where it goes."""
    tos: int = 0
    rtp: bool = True
    """Keep RTP statistics."""
    tap: bool = False
    """Hand a copy of every datagram to the ``on_tap`` callback."""
    ordered: bool = False
    """Let nothing overtake what goes up to the socket: hold the flow from its start, and whenever
    a datagram is handed up, until ``passed``."""


class RtpState(NamedTuple):
    """RTP statistics as :class:`rtpproxy_tw.quality.analyzer.Analyzer` keeps them.

    The same words with the same meaning, so that one may go on where the other left off. Only
    ``seen`` is shorter: a late number more than 64 below the highest counts as received, whether
    or not it had come before. Jitter is in timestamp ticks; ``jitter_total`` is the sum over
    ``jitter_samples``, of all sources. The filter forgets a source when another begins.
    """

    received: int = 0
    duplicates: int = 0
    errors: int = 0
    ssrc: int | None = None
    ssrc_changes: int = 0
    payload_type: int | None = None
    earlier: int = 0
    offset: int = 0
    lowest: int = 0
    highest: int = -1
    seen: int = 0
    """Bit n: the number n below the highest has come; 64 bits."""
    jitter_last: float = 0.0
    jitter_peak: float = 0.0
    jitter_total: float = 0.0
    jitter_samples: int = 0
    source_samples: int = 0
    """How many of the samples are of the current source."""
    clock_rate: int = 0
    """Hz, of the last packet; 0: the next one is no sample."""
    ticks: int = 0
    """When the last packet came, in ticks of ``clock_rate``."""
    timestamp: int = 0
    """Of the last packet."""
    recent: tuple[int, ...] = ()
    """The last ten different timestamps, oldest first."""

    @property
    def sent(self) -> int:
        """How many packets the party must have sent."""
        return self.earlier + self.highest - self.lowest + 1


NO_RTP = RtpState()
"""Before any packet."""


class Traffic(NamedTuple):
    """What changes with every packet."""

    packets: int
    """Relayed."""
    octets: int
    """Of their payload."""
    last_ns: int
    """When the last of them came, 0 before any."""


Glance = tuple[int, ...]
"""What can be told of a flow without reading all of it, by place: ``packets``, ``octets`` and
``last_ns`` as in Traffic; ``highest`` and ``received`` of RtpState at the end; and between them
whatever stays the same as long as no other figure but these moves, and neither do ``ssrc`` and
``payload_type``. Of Sample, ``gap_ns``, ``handed_up`` and ``foreign`` may move unseen, and so may
of RtpState what tells of time."""

PACKETS, OCTETS, LAST_NS = range(3)
HIGHEST, RECEIVED = -2, -1


def only_goes_on(before: Glance, after: Glance) -> bool:
    """Whether between two glances nothing happened but that each packet was the next one."""
    return (
        bool(before and after)
        and after[PACKETS] - before[PACKETS]
        == after[HIGHEST] - before[HIGHEST]
        == after[RECEIVED] - before[RECEIVED]
        and after[3:HIGHEST] == before[3:HIGHEST]
    )


class Brief(NamedTuple):
    """What moves of a flow with RTP that only goes on; names as in Traffic and RtpState."""

    packets: int
    octets: int
    last_ns: int
    highest: int
    received: int
    jitter_last: float
    jitter_peak: float
    jitter_total: float
    jitter_samples: int
    source_samples: int


class Upto(NamedTuple):
    """How far a flow had only gone on; names as in RtpState, both -1 where that is not known."""

    highest: int = -1
    received: int = -1


class Surveyed(NamedTuple):
    """What a survey has found out about some of the flows with RTP."""

    packets: int
    """How many were relayed that had not been counted before, and now are."""
    stirred: Mapping[FlowId, Upto]
    """Flows of which anything else may have happened since the survey before than that each packet
    was the next one, or that none came where none had come before."""


@dataclass(frozen=True, slots=True)
class Sample:
    """All counters of one flow since its ``add``; consistent with each other."""

    packets: int = 0
    """Relayed."""
    octets: int = 0
    """Of their payload."""
    last_ns: int = 0
    """When the last of them came, 0 before any."""
    gap_ns: int = 0
    """The longest time between two of them."""
    handed_up: int = 0
    """Of the believed source, left to the socket."""
    foreign: int = 0
    """Of others, left to the socket."""
    refused: int = 0
    """Of others, dropped because too many came within a second."""
    failed: int = 0
    """Lost because the kernel was out of memory."""
    tap_lost: int = 0
    """Relayed, but not copied: the tap's reader was too slow."""
    rtp: RtpState = NO_RTP
    """Counts on from what was given to ``add``."""


def brief_of(sample: Sample) -> Brief:
    """The same of all counters."""
    rtp = sample.rtp
    return Brief(
        *(sample.packets, sample.octets, sample.last_ns, rtp.highest, rtp.received),
        *(rtp.jitter_last, rtp.jitter_peak, rtp.jitter_total),
        *(rtp.jitter_samples, rtp.source_samples),
    )


class Unavailable(RelayError):
    """This machine cannot carry flows; ``reason`` and ``remedy`` are sentences for the operator."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} {remedy}".strip())
        self.reason = reason
        self.remedy = remedy


OnTap = Callable[[FlowId, bytes, Address, int], None]
"""(flow, datagram, source, when in ns). Called in batches, some milliseconds late."""

OnWithdrawn = Callable[[FlowId], None]
"""The flow is carried no more; ``remove`` it for its last counters."""


@runtime_checkable
class LastingPath(Protocol):
    """A path that carries on when its process dies, and may be gone on with by another one."""

    def shape(self) -> Mapping[str, object]:
        """What must be the same in the other process; empty where this path does not outlive us."""

    def descriptors(self) -> Mapping[str, int]:
        """Those it lives as long as somebody has, by name."""

    def adopt(self, flow: Flow) -> FlowId | None:
        """Go on with just that flow, which a process before us let be carried, counters and all.

        None where there is none, or one that differs.
        """

    def take_back(self, local: Address) -> Sample | None:
        """The last counters of what a process before us let be carried there, and is no more.

        None where there was nothing.
        """

    def take_back_all(self) -> None:
        """Whatever is left of that is not carried any more either."""


class KernelPath(Protocol):
    """Carries flows. Only ``start`` raises, and only Unavailable; unknown ids are bugs: KeyError.

    Nothing blocks longer than some microseconds.
    """

    def start(self) -> None:
        """Make ready to carry. Raises Unavailable, having undone what it did."""

    def confine(self) -> None:
        """Let the calling thread give up, for good, the capabilities that are needed no more."""

    def stop(self) -> None:
        """Carry nothing any more and leave nothing behind. Idempotent."""

    def add(self, flow: Flow, rtp: RtpState | None = None) -> FlowId | None:
        """Carry ``flow`` from its next datagram on; ``rtp``: statistics to go on from.

        None where it cannot be (``refusals`` tells why): the datagrams come to the socket as
        before. A second flow with the same ``local`` is refused.
        """

    def remove(self, id: FlowId) -> Sample:
        """Stop carrying; nothing is counted afterwards, and no tap callback comes any more."""

    def set_tap(self, id: FlowId, tap: bool) -> None:
        """Start or stop copying; copies made before a stop are delivered before it returns."""

    def is_held(self, id: FlowId) -> bool:
        """Whether datagrams of the believed source go up to the socket for the time being."""

    def passed(self, id: FlowId, datagram: bytes, rtp: RtpState | None = None) -> None:
        """The socket of an ordered flow has sent ``datagram`` on.

        If it is the last one that went up, the next one is carried, and ``rtp`` is what its
        statistics go on from.
        """

    def sample(self, id: FlowId) -> Sample:
        """The counters now."""

    def glancer(self, id: FlowId) -> Callable[[], Glance]:
        """The cheapest look, to be called again and again until the flow is removed or withdrawn.

        What it gives differs from before when any counter moved.
        """

    def brief(self, id: FlowId) -> Brief:
        """What moves while a flow with RTP goes on; may be of a moment amid a packet."""

    def survey(self) -> Iterator[Surveyed]:
        """Look at all flows with RTP, some for each step, which takes a fraction of a millisecond.

        As cheap as can be for flows that only go on. Flows may come and go between two steps.
        """

    def count(self, id: FlowId, packets: int) -> int:
        """Let so many of the flow's packets be counted, before its removal; how many more that is
        than there were: none when a flow is added or adopted."""

    def samples(self) -> Mapping[FlowId, Traffic]:
        """What every flow carried, cheaply enough to be asked every second."""

    def drain(self) -> None:
        """Hand out the copies that have been made by now."""

    def on_tap(self, callback: OnTap) -> None:
        """Whom to give the copies of tapped flows; one callback, before the first tap."""

    def on_withdrawn(self, callback: OnWithdrawn) -> None:
        """Whom to tell of flows given up; one callback, never called from within ``add``."""

    @property
    def refusals(self) -> Mapping[str, int]:
        """How often ``add`` answered None, by reason."""
