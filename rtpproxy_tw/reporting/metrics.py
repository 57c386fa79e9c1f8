"""The relay's metrics: what is counted while it works, and the text that is scraped.

Whatever must be added up over all sessions is added up when somebody scrapes, a slice at a time;
between scrapes metrics cost one addition per command and a few per ended call.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, get_args

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from rtpproxy_tw.commands import Command, Failed, NotFound, Origin, Reply
from rtpproxy_tw.errors import CommandError
from rtpproxy_tw.interfaces import ISessionObserver
from rtpproxy_tw.registry import SessionRegistry
from rtpproxy_tw.reporting.exposition import (
    Family,
    Histogram,
    Labels,
    histograms,
    labelled,
    single,
    text_of,
)
from rtpproxy_tw.reporting.tally import LEGS, Census, Tally
from rtpproxy_tw.session import Ending, Session
from rtpproxy_tw.statistics import Totals

_NAMES: dict[type, str] = {kind: kind.__name__.lower() for kind in get_args(Command)}
"""What each command is called."""

SLICE = 0.002
"""Seconds that adding up may keep the reactor at a time."""

BATCH = 32
"""Sessions between two looks at the clock."""

CONTROL_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)
LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

LAG_EVERY = 0.5
"""Seconds between two measurements of the reactor's lateness."""


class Executor(Protocol):
    """What does commands."""

    def execute(self, command: Command, origin: Origin) -> Reply:
        """Do one. Raises CommandError."""


class Gauges(Protocol):
    """What others know, asked for at a scrape; cheap, never blocking."""

    def families(self) -> Iterator[Family]:
        """Their metrics."""


class MeteredExecutor:
    """Counts and times the commands it passes on."""

    def __init__(self, inner: Executor, now: Callable[[], float] = time.perf_counter) -> None:
        self._inner = inner
        self._now = now
        self.results: Counter[tuple[str, str]] = Counter()
        """By command and result: ``ok``, or the error's code."""
        self.seconds = Histogram(CONTROL_BOUNDS)

    def execute(self, command: Command, origin: Origin) -> Reply:
        """Do ``command``. Raises what the inner one raises."""
        began = self._now()
        result = "internal"
        try:
            reply = self._inner.execute(command, origin)
            result = _result(reply)
            return reply
        except CommandError as error:
            result = f"E{error.code}"
            raise
        finally:
            self.seconds.observe(self._now() - began)
            self.results[_NAMES[type(command)], result] += 1


def _result(reply: Reply) -> str:
    match reply:
        case Failed(code):
            return f"E{code}"
        case NotFound():
            return "not_found"
        case _:
            return "ok"


class LagMeter:
    """How late the reactor is: what every packet and every command waits for."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._due: float | None = None
        self.seconds = Histogram(LAG_BOUNDS)

    def tick(self) -> None:
        """To be called every LAG_EVERY seconds by a timer of the reactor."""
        now = self._clock.seconds()
        if self._due is not None:
            self.seconds.observe(max(0.0, now - self._due))
        self._due = now + LAG_EVERY


@implementer(ISessionObserver)
class Metrics:
    """Counts, and answers scrapes.

    ``now`` gives seconds that pass while code runs, ``version`` is the package's.
    """

    def __init__(
        self,
        *,
        clock: IReactorTime,
        totals: Totals,
        version: str,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self._totals = totals
        self._version = version
        self._now = now
        self._started = clock.seconds()
        self._scrape: list[Deferred[bytes]] = []
        self.tally = Tally()
        self.census = Census(self.tally.traffic)
        """What was counted for the last scrape."""
        self.lag = LagMeter(clock)
        self.executor: MeteredExecutor | None = None
        self.registry: SessionRegistry | None = None
        self.further: Sequence[Gauges] = ()

    def created(self, session: Session) -> None:
        """Nothing: the totals count that."""

    def completed(self, session: Session) -> None:
        """Nothing."""

    def ended(self, session: Session, why: Ending) -> None:
        """Keep what is to be kept of it."""
        self.tally.ended(session, why, self._clock.seconds())

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return self._clock.seconds() - self._started

    def metered(self, executor: Executor) -> MeteredExecutor:
        """``executor``, its commands counted from now on."""
        self.executor = MeteredExecutor(executor)
        return self.executor

    def text(self) -> Deferred[bytes]:
        """The metrics' text. Whoever asks while it is being made gets the same."""
        answer: Deferred[bytes] = Deferred()
        self._scrape.append(answer)
        if len(self._scrape) == 1:
            sessions: Iterator[Session] = iter(())
            if self.registry is not None:
                self.registry.refresh()
                sessions = iter(self.registry)
            self._count(sessions, Census(self.tally.traffic.copy()))
        return answer

    def _count(self, sessions: Iterator[Session], census: Census) -> None:
        until = self._now() + SLICE
        now = self._clock.seconds()
        for counted, session in enumerate(sessions, 1):
            census.add(session, now)
            if counted % BATCH == 0 and self._now() >= until:
                self._clock.callLater(0, self._count, sessions, census)
                return
        # The text takes about as long as a slice, so it has a turn of its own.
        self._clock.callLater(0, self._answer, census)

    def _answer(self, census: Census) -> None:
        waiting, self._scrape = self._scrape, []
        self.census = census
        text = text_of(self.families(census))
        for answer in waiting:
            answer.callback(text)

    def families(self, census: Census) -> Iterator[Family]:
        """All metrics."""
        yield labelled(
            "relay_build_info", "gauge", "Always 1.", [((("version", self._version),), 1)]
        )
        yield single("relay_uptime_seconds", "gauge", "Since the start.", self.uptime)
        yield from self._sessions(census)
        yield from self._media(census)
        yield from self._control()
        yield histograms(
            "relay_eventloop_lag_seconds",
            "How late the event loop served a timer, measured twice a second.",
            [((), self.lag.seconds)],
        )
        yield from self._quality()
        for gauges in self.further:
            yield from gauges.families()

    def _sessions(self, census: Census) -> Iterator[Family]:
        yield labelled(
            "relay_sessions",
            "gauge",
            "Sessions by whose media is heard: setup is before the answer.",
            _by("state", census.states),
        )
        yield single(
            "relay_sessions_created_total",
            "counter",
            "Sessions made.",
            self._totals.nsess_created,
        )
        yield labelled(
            "relay_sessions_closed_total",
            "counter",
            "Sessions ended, by the reason.",
            _by("reason", self.tally.closed),
        )
        yield labelled(
            "relay_session_verdict_total",
            "counter",
            "Legs of ended sessions, by the verdict on their media.",
            _by("verdict", self.tally.verdicts),
        )
        yield single(
            "relay_session_seconds_total",
            "counter",
            "Seconds that ended sessions have lasted.",
            self.tally.seconds,
        )

    def _media(self, census: Census) -> Iterator[Family]:
        traffic = census.traffic
        parts = [
            ((("proto", component.name.lower()), ("dir", direction), ("path", path)), amount)
            for component, passage in traffic.passed.items()
            for direction, path, amount in passage.parts()
        ]
        for name, what, values in (
            ("packets", "Packets", [(labels, amount.packets) for labels, amount in parts]),
            ("bytes", "Octets of packets", [(labels, amount.octets) for labels, amount in parts]),
        ):
            about = f"{what} accepted and sent, prompts included, by the process or the kernel."
            yield labelled(f"relay_{name}_total", "counter", about, values)
        early = self._totals.npkts_discard - traffic.ignored - traffic.dropped
        reasons = {
            "unlatched": max(0, early),
            "wrong_source": traffic.ignored,
            "no_peer": traffic.nowhere,
            "send_error": traffic.dropped - traffic.nowhere,
        }
        yield labelled(
            "relay_drops_total",
            "counter",
            "Packets not passed on: before the answer, from a source that is not believed, with"
            " nowhere to go, or not taken by the kernel.",
            _by("reason", reasons),
        )
        yield single(
            "relay_streams_offloaded",
            "gauge",
            "Streams whose packets the kernel passes on by itself.",
            census.offloaded,
        )
        yield single(
            "relay_relatch_total",
            "counter",
            "How often another source was believed in place of the one before.",
            traffic.relatches,
        )
        yield single(
            "relay_relatch_refused_total",
            "counter",
            "How often another source began to send and was not believed.",
            traffic.refused,
        )

    def _control(self) -> Iterator[Family]:
        totals = self._totals
        executor = self.executor
        if executor is not None:
            results = [
                ((("cmd", command), ("result", result)), count)
                for (command, result), count in sorted(executor.results.items())
            ]
            yield labelled(
                "relay_control_commands_total",
                "counter",
                "Commands understood, by kind and result: ok, not_found, or the error's code.",
                results,
            )
            yield histograms(
                "relay_control_seconds",
                "How long commands took to be answered.",
                [((), executor.seconds)],
            )
        yield single(
            "relay_control_errors_total",
            "counter",
            "Commands answered by an error, those not understood included.",
            totals.ncmds_errs,
        )
        yield single(
            "relay_control_duplicates_total",
            "counter",
            "Commands that came again and were answered as before.",
            totals.ncmds_rcvd_ndups,
        )

    def _quality(self) -> Iterator[Family]:
        legs: list[Labels] = [(("leg", leg),) for leg in LEGS]
        kept = self.tally.quality
        for name, about, found in (
            ("relay_mos", "Estimated MOS of ended calls.", [each.mos for each in kept]),
            ("relay_jitter_seconds", "Jitter at the end of calls.", [each.jitter for each in kept]),
            ("relay_loss_ratio", "Share of packets lost before us.", [each.loss for each in kept]),
            ("relay_rtt_seconds", "Round trip to the party.", [each.rtt for each in kept]),
        ):
            yield histograms(name, f"{about} Leg a is the caller's.", zip(legs, found, strict=True))


def _by(label: str, counts: Counter[str] | dict[str, int]) -> Iterator[tuple[Labels, float]]:
    for value, count in counts.items():
        yield ((label, value),), count
