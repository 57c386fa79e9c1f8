"""Everything by which the relay can be looked into, wired: HTTP, metrics, records, HEP, traces."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread, deferToThreadPool
from twisted.python.threadpool import ThreadPool

from rtpproxy_tw.configuration.options import version
from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.continuity.belongings import Whole
from rtpproxy_tw.continuity.heirlooms import Heirlooms
from rtpproxy_tw.gauges import Counts, Gauges, Timers
from rtpproxy_tw.http_sockets import HttpSockets
from rtpproxy_tw.insight_succession import FeedWhole, MetricsWhole
from rtpproxy_tw.interfaces import IRecorders, ISessionObserver
from rtpproxy_tw.media.routes import local_for
from rtpproxy_tw.outside import Outside
from rtpproxy_tw.recent_succession import RecentWhole
from rtpproxy_tw.recording.trace import HeaderRings
from rtpproxy_tw.registry import SessionRegistry
from rtpproxy_tw.reporting.aliases import RtpengineNames
from rtpproxy_tw.reporting.homer import Collector, Homer
from rtpproxy_tw.reporting.linefile import LineFile
from rtpproxy_tw.reporting.metrics import LAG_EVERY, Executor, Metrics
from rtpproxy_tw.reporting.metrics import Gauges as Further
from rtpproxy_tw.reporting.records import CallRecords, Sink
from rtpproxy_tw.reporting.spooled import SpoolDirectory
from rtpproxy_tw.reporting.webhooks import Webhook, treq_post
from rtpproxy_tw.session import Session
from rtpproxy_tw.statistics import Totals
from rtpproxy_tw.timers import every
from rtpproxy_tw.tools.logs import DEBUGGED
from rtpproxy_tw.trace_succession import TracesWhole
from rtpproxy_tw.web.api import Api, Cluster, Draining, nobody
from rtpproxy_tw.web.feed import Feed
from rtpproxy_tw.web.guard import Guard
from rtpproxy_tw.web.outside import Examining
from rtpproxy_tw.web.recent import Recent
from rtpproxy_tw.web.site import Interface

HOMER_EVERY = 0.2
"""Seconds between two looks at which calls are to be reported on."""

_Result = TypeVar("_Result")


class Relay(Draining, Protocol):
    """The relay as a service."""

    @property
    def listening(self) -> bool:
        """Whether the control sockets are open."""


class Insight:
    """Made before the registry, which is to tell its observers, and connected after it.

    Raises ConfigError where something asked for cannot be.
    """

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        wall: Callable[[], float],
        totals: Totals,
        arrival: Callable[[], float],
    ) -> None:
        """``arrival`` gives monotonic seconds: when the packet that a tap hears has come."""
        self._settings = settings
        self._reactor = reactor
        self._wall = wall
        self._totals = totals
        self._metrics = Metrics(clock=reactor, totals=totals, version=version())
        self.recent = Recent(reactor.seconds)
        self.remembered = RecentWhole(self.recent, lambda call: reactor.callLater(0, call))
        self.feed = Feed(reactor, wall)
        self._rings = HeaderRings(
            seconds=settings.trace,
            now=reactor.seconds,
            arrival=arrival,
            wall=wall,
            local_host=lambda host: local_for(host) or "0.0.0.0",
        )
        self.traces = TracesWhole(self._rings, reactor.callLater)
        self.cluster: Cluster | None = None
        """What other relays there are, and what can be taken over from them."""
        self.reload: Callable[[], list[str]] = list
        self.hand_over: Callable[[Sequence[str] | None], Deferred[int]] = nobody
        """Reads again what can be read again, and names it. Raises ConfigError."""
        self._services: list[IService] = []
        self._observers: list[ISessionObserver] = [self._metrics, self.recent, self.feed]
        if settings.trace:
            self._observers.append(self._rings)
        self._add_records()
        self._add_homer()

    @property
    def observers(self) -> tuple[ISessionObserver, ...]:
        """Who is to be told of sessions."""
        return tuple(self._observers)

    def _add_records(self) -> None:
        settings, reactor = self._settings, self._reactor
        sinks: list[Sink] = []
        if settings.record_calls is not None:
            lines = LineFile(settings.record_calls)
            sinks.append(lines)
            self._services.append(Around(stop=lines.stop))
        if settings.webhook is not None and settings.webhook_spool is not None:
            post = treq_post(settings.webhook, reactor, f"rtpproxy-tw/{version()}")
            threads = Thread(reactor)
            hook = Webhook(
                spool=SpoolDirectory(settings.webhook_spool),
                post=post,
                run=threads.run,
                clock=reactor,
            )
            sinks.append(hook)
            self._services += [
                Around(start=threads.start, stop=threads.stop),
                Around(start=hook.start, stop=hook.stop),
            ]
        if sinks:
            self._observers.append(
                CallRecords(
                    sinks=sinks,
                    now=reactor.seconds,
                    wall=self._wall,
                    node=socket.gethostname(),
                    run=secrets.token_hex(4),
                )
            )

    def _add_homer(self) -> None:
        settings, reactor = self._settings, self._reactor
        if settings.hep is None:
            return
        host, port = settings.hep

        def resolve(host: str, port: int) -> Deferred[list[Any]]:
            return deferToThread(socket.getaddrinfo, host, port, type=socket.SOCK_DGRAM)

        collector = Collector(host, port, resolve)
        homer = Homer(
            collector=collector,
            capture_id=settings.hep_id,
            now=reactor.seconds,
            wall=self._wall,
        )
        self._observers.append(homer)
        timer = every(HOMER_EVERY, reactor, homer.tick)
        self._services += [timer, Around(stop=collector.close)]

    def metered(self, executor: Executor) -> Executor:
        """``executor``, with its commands counted."""
        return self._metrics.metered(executor)

    def connect(
        self,
        *,
        registry: SessionRegistry,
        recorders: IRecorders,
        free_pairs: Callable[[], Mapping[int, int]],
        relay: Relay,
        heirlooms: Heirlooms | None = None,
        port_failures: Mapping[str, int],
        recordings: Counts,
        space: Callable[[], int | None],
    ) -> HttpSockets:
        """Wire what is asked for to the rest. Raises ConfigError."""
        settings = self._settings
        pairs = (settings.max_port - settings.min_port) // 2 + 1
        gauges = Gauges(
            max_sessions=settings.max_sessions,
            pairs=pairs,
            free_pairs=free_pairs,
            failures=port_failures,
            recordings=recordings,
            space=space,
            relay=relay,
        )
        self._metrics.registry = registry
        self._metrics.further = [gauges, Timers(self._reactor.getDelayedCalls)]
        if settings.rtpengine_metrics:
            names = RtpengineNames(self._metrics, self._totals, gauges.ports)
            self._metrics.further = [*self._metrics.further, names]
        api = Api(
            registry=registry,
            recorders=recorders,
            totals=self._totals,
            clock=self._reactor,
            wall=self._wall,
            version=version(),
            capacity=gauges.capacity,
            ports=gauges.ports,
            draining=relay,
            tracing=self._rings,
            debugging=DEBUGGED,
            recent=self.recent,
            feed=self.feed,
            listening=lambda: relay.listening,
            reload=lambda: self.reload(),
            hand_over=lambda options: self.hand_over(options),
            cluster=lambda: self.cluster,
        )
        self.feed.registry, self.feed.overview = registry, api.overview
        self._services.append(Around(stop=self.feed.stop))

        outside = Outside(
            self._reactor, settings.addresses.all(), (settings.min_port, settings.max_port)
        )
        examining = Examining(outside)
        self._services.append(Around(stop=outside.stop))

        def make(guard: Guard) -> Interface:
            return Interface(
                api=api,
                guard=guard,
                clock=self._reactor,
                metrics=self._metrics.text,
                examining=examining,
            )

        sockets = HttpSockets(settings, self._reactor, make, heirlooms)
        if sockets.listeners:
            self._services.append(every(LAG_EVERY, self._reactor, self._metrics.lag.tick))
        return sockets

    def add_metrics(self, gauges: Further) -> None:
        """Have a scrape ask ``gauges``, too; to be called once connected."""
        self._metrics.further = [*self._metrics.further, gauges]

    def wholes(self, catch_up: Callable[[], object]) -> tuple[Whole, ...]:
        """What goes over to another relay; ``catch_up`` tells us of all ends there were."""
        metrics = MetricsWhole(self._metrics, catch_up)
        return metrics, FeedWhole(self.feed), self.remembered, self.traces

    @property
    def adopted(self) -> tuple[Callable[[Session], None], ...]:
        """Whom to tell of sessions that come from a relay before us: who listens to packets."""
        listeners = (Homer, HeaderRings)
        return tuple(each.created for each in self._observers if isinstance(each, listeners))

    def leave(self) -> None:
        """Another relay goes on: write what is to be written, and tell nobody anything more."""
        self.feed.dismiss()
        self.traces.leave()
        for service in self._services:
            service.stopService()

    @property
    def services(self) -> tuple[IService, ...]:
        """What is to be started before the control sockets, and stopped after the sessions."""
        return tuple(self._services)


class Around(Service):
    """Calls something when the relay starts, and something when it stops."""

    def __init__(
        self,
        start: Callable[[], object] = lambda: None,
        stop: Callable[[], object] = lambda: None,
    ) -> None:
        self._start = start
        self._stop = stop

    def startService(self) -> None:
        """Start."""
        super().startService()
        self._start()

    def stopService(self) -> object:
        """Stop; a Deferred fires when that is done."""
        super().stopService()
        return self._stop()


class Thread:
    """One thread that does what may block, in the order it is asked for."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(1, 1, "webhook")

    def start(self) -> None:
        """Begin."""
        self._pool.start()

    def stop(self) -> None:
        """Do what is still to be done, and end."""
        self._pool.stop()

    def run(self, function: Callable[..., _Result], *arguments: Any) -> Deferred[_Result]:
        """Call ``function`` there; fires here."""
        called: Deferred[_Result] = deferToThreadPool(
            self._reactor, self._pool, function, *arguments
        )
        return called
