"""What is counted for metrics: sums over sessions, those that live and those that have ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rtpproxy_tw.quality.report import report
from rtpproxy_tw.quality.verdict import CODES, code_of
from rtpproxy_tw.reporting.exposition import Histogram
from rtpproxy_tw.session import Component, Ending, Session
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
}
CLOSINGS = (*REASONS.values(), "setup_ttl")
"""Why sessions were closed; ``setup_ttl``: before they had both parties."""

LEGS = ("a", "b")
"""The caller's and the callee's leg."""


@dataclass(slots=True)
class Traffic:
    """What streams have counted, added up."""

    packets_in: Counter[Component] = field(default_factory=Counter)
    packets_out: Counter[Component] = field(default_factory=Counter)
    octets: Counter[Component] = field(default_factory=Counter)
    ignored: int = 0
    dropped: int = 0
    relatches: int = 0

    def add(self, session: Session) -> None:
        """Add one session's counters as they are."""
        for leg in session.legs:
            for stream in leg.streams:
                component = stream.component
                self.packets_in[component] += stream.accepted
                self.packets_out[component] += stream.relayed
                self.octets[component] += stream.octets
                self.ignored += stream.ignored
                self.dropped += stream.dropped
                self.relatches += stream.latch.relatches

    def copy(self) -> Traffic:
        """The same, to add to."""
        return Traffic(
            self.packets_in.copy(),
            self.packets_out.copy(),
            self.octets.copy(),
            self.ignored,
            self.dropped,
            self.relatches,
        )


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

    def ended(self, session: Session, why: Ending, now: float) -> None:
        """Take an ended session in."""
        self.traffic.add(session)
        early = why is Ending.TIMEOUT and not session.complete
        self.closed["setup_ttl" if early else REASONS[why]] += 1
        self.seconds += now - session.created
        heard = [leg.rtp.accepted > 0 for leg in session.legs]
        self.one_way += session.complete and sum(heard) == 1
        for leg in session.legs:
            self.verdicts[code_of(leg, now)] += 1
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
