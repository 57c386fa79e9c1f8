"""What is counted for metrics: sums over sessions, those that live and those that have ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from rtpproxy_tw.quality.report import report
from rtpproxy_tw.quality.verdict import CODES, final_code
from rtpproxy_tw.reporting.exposition import Histogram
from rtpproxy_tw.session import Component, Ending, Session, Stream
from rtpproxy_tw.views.sessions import STATES, state_of

MOS_BOUNDS = (1.5, 2.0, 2.5, 3.0, 3.25, 3.5, 3.75, 4.0, 4.2, 4.4)
JITTER_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
LOSS_BOUNDS = (0.0, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5)
RTT_BOUNDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0)

REASONS = {
    Ending.DELETED: "delete",
    Ending.TIMEOUT: "ttl",
    Ending.MAX_DURATION: "max_duration",
    Ending.SHUTDOWN: "shutdown",
    Ending.DRAINED: "drained",
    Ending.MOVED: "moved",
}
CLOSINGS = (*REASONS.values(), "setup_ttl")
"""Why sessions were closed; ``setup_ttl``: before they had both parties."""

LEGS = ("a", "b")
"""The caller's and the callee's leg."""


class Amount(NamedTuple):
    """Packets, and their octets."""

    packets: int
    octets: int


@dataclass(slots=True)
class Passage:
    """What has come in and gone out of one component's ports."""

    accepted: int = 0
    octets: int = 0
    sent: int = 0
    """Relayed, and what was added: prompts, media of other sessions."""
    octets_sent: int = 0
    carried: int = 0
    """Of both, what the kernel carried."""
    octets_carried: int = 0

    def add(self, stream: Stream) -> None:
        """Add what ``stream`` has counted."""
        self.accepted += stream.accepted
        self.octets += stream.octets
        self.sent += stream.relayed + stream.added
        self.octets_sent += stream.octets - stream.withheld + stream.added_octets
        self.carried += stream.carried
        self.octets_carried += stream.carried_octets

    def parts(self) -> Iterator[tuple[str, str, Amount]]:
        """By direction (``in``, ``out``) and path (``user``, ``kernel``)."""
        carried, octets = self.carried, self.octets_carried
        yield "in", "user", Amount(self.accepted - carried, self.octets - octets)
        yield "in", "kernel", Amount(carried, octets)
        yield "out", "user", Amount(self.sent - carried, self.octets_sent - octets)
        yield "out", "kernel", Amount(carried, octets)


@dataclass(slots=True)
class Traffic:
    """What streams have counted, added up."""

    passed: dict[Component, Passage] = field(
        default_factory=lambda: {component: Passage() for component in Component}
    )
    ignored: int = 0
    dropped: int = 0
    nowhere: int = 0
    relatches: int = 0
    refused: int = 0

    def add(self, session: Session) -> None:
        """Add one session's counters as they are."""
        for leg in session.legs:
            for stream in leg.streams:
                self.passed[stream.component].add(stream)
                self.ignored += stream.ignored
                self.dropped += stream.dropped
                self.nowhere += stream.nowhere
                self.relatches += stream.latch.relatches
                if stream.refusals is not None:
                    self.refused += stream.refusals.count

    def copy(self) -> Traffic:
        """The same, to add to."""
        passed = {component: copy(passage) for component, passage in self.passed.items()}
        return replace(self, passed=passed)


@dataclass(slots=True)
class Census:
    """All sessions at one time. Those that end while they are counted stay in it."""

    traffic: Traffic
    offloaded: int = 0
    """Streams whose packets the kernel passes on."""
    states: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(STATES, 0)))

    def add(self, session: Session, now: float) -> None:
        """Count one session."""
        self.traffic.add(session)
        if session.ended is None:
            self.offloaded += sum(
                stream.offloaded for leg in session.legs for stream in leg.streams
            )
            self.states[state_of(session, now)] += 1


@dataclass(slots=True)
class Quality:
    """How good ended calls were, one histogram of each kind for each leg; seconds and ratios."""

    mos: Histogram = field(default_factory=lambda: Histogram(MOS_BOUNDS))
    jitter: Histogram = field(default_factory=lambda: Histogram(JITTER_BOUNDS))
    loss: Histogram = field(default_factory=lambda: Histogram(LOSS_BOUNDS))
    rtt: Histogram = field(default_factory=lambda: Histogram(RTT_BOUNDS))


@dataclass(slots=True)
class Tally:
    """What is left of sessions that have ended."""

    traffic: Traffic = field(default_factory=Traffic)
    closed: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(CLOSINGS, 0)))
    verdicts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(CODES, 0)))
    quality: tuple[Quality, Quality] = field(default_factory=lambda: (Quality(), Quality()))
    seconds: float = 0.0
    one_way: int = 0
    unheard: int = 0
    """Streams of sessions with both parties that never had a packet, RTP only."""

    def ended(self, session: Session, why: Ending, now: float) -> None:
        """Take an ended session in."""
        self.traffic.add(session)
        early = why is Ending.TIMEOUT and not session.complete
        self.closed["setup_ttl" if early else REASONS[why]] += 1
        self.seconds += now - session.created
        heard = [leg.rtp.accepted > 0 for leg in session.legs]
        if session.complete:
            self.one_way += sum(heard) == 1
            self.unheard += heard.count(False)
        for leg in session.legs:
            self.verdicts[final_code(leg, now)] += 1
        if not any(leg.rtp.accepted for leg in session.legs):
            return
        for found, kept in zip(report(session, now), self.quality, strict=True):
            if not found.packets:
                continue
            kept.loss.observe(found.loss_ratio)
            if found.mos is not None:
                kept.mos.observe(found.mos)
            if found.jitter_ms is not None:
                kept.jitter.observe(found.jitter_ms / 1000)
            if found.rtt_ms is not None:
                kept.rtt.observe(found.rtt_ms / 1000)
