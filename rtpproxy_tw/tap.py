"""The wiring: from settings to a running relay."""

from __future__ import annotations

import os
import resource
import secrets
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.internet import TimerService
from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtpproxy_tw.capacity import capacity
from rtpproxy_tw.collecting import Collecting
from rtpproxy_tw.configuration.options import Options
from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.configuration.switches import spelled
from rtpproxy_tw.control.dispatcher import Dispatcher
from rtpproxy_tw.control.listeners import Listener, Stdio
from rtpproxy_tw.control.locals import LocalChooser
from rtpproxy_tw.control.negotiation import Negotiator
from rtpproxy_tw.control.responder import Responder
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from rtpproxy_tw.control_sockets import ControlSockets
from rtpproxy_tw.errors import AddressUnusable, ConfigError
from rtpproxy_tw.insight import Around, Insight
from rtpproxy_tw.latch import latch_factory
from rtpproxy_tw.media.carrier import Carrier, choose
from rtpproxy_tw.media.epollplane import WATCH_EVERY, EpollPlane
from rtpproxy_tw.media.player import Players
from rtpproxy_tw.media.processing import Processing
from rtpproxy_tw.media.prompt_files import PromptDirectories
from rtpproxy_tw.media.prompts import Prompts, ThreadReader
from rtpproxy_tw.media.routes import local_for
from rtpproxy_tw.media.userspace import UserspacePlane
from rtpproxy_tw.planes import make_plane
from rtpproxy_tw.recording.clock import SteadyWall
from rtpproxy_tw.recording.recorders import FileRecorders
from rtpproxy_tw.recording.space import Low, Reserve
from rtpproxy_tw.recording.spool import Writer
from rtpproxy_tw.recording_wiring import Afterwards
from rtpproxy_tw.registry import SessionRegistry
from rtpproxy_tw.reporting.accounting import NAME, Accounting
from rtpproxy_tw.reporting.icmp import IcmpListener
from rtpproxy_tw.reporting.notify import Notifier, TimeoutObserver
from rtpproxy_tw.reporting.sampling import Sampler, Sampling
from rtpproxy_tw.session import Ending
from rtpproxy_tw.statistics import Totals
from rtpproxy_tw.tools.logs import is_detailed

__all__ = ["Options", "RelayService", "build", "makeService"]


class RelayService(MultiService):
    """The whole relay.

    ``ready`` fires when every control socket listens, or fails with what kept one from it.
    ``drained`` fires when a relay that was told to take no new sessions has none left.
    """

    log = Logger()

    def __init__(
        self, registry: SessionRegistry, negotiator: Negotiator, listeners: list[Listener | Stdio]
    ) -> None:
        super().__init__()
        self.registry = registry
        self._negotiator = negotiator
        self.listeners = listeners
        self.ready: Deferred[None] = Deferred()
        self.drained: Deferred[None] = Deferred()
        self.listening = False
        """Whether the control sockets are open."""
        self.ending = False
        """Whether the process is to end with the last session."""

    def startService(self) -> None:
        """Start everything; the control sockets last."""
        super().startService()
        waiting = [listener.listening for listener in self.listeners]
        DeferredList(waiting, fireOnOneErrback=True, consumeErrors=True).addCallbacks(
            self._is_ready,
            lambda failure: self.ready.errback(failure.value.subFailure),
        )

    def drain(self) -> Deferred[None]:
        """Take no new sessions from now on; the result is ``drained``. Idempotent."""
        if not self.ending:
            self.ending = True
            self.refuse()
            self.registry.when_empty = self._empty
            if not len(self.registry):
                self._empty()
        return self.drained

    @property
    def draining(self) -> bool:
        """Whether new sessions are refused."""
        return self._negotiator.draining

    def refuse(self) -> None:
        """Take no new sessions, and go on without. Idempotent."""
        if not self._negotiator.draining:
            self._negotiator.draining = True
            self.log.info("no new sessions from now on; {count} are left", count=len(self.registry))

    def resume(self) -> None:
        """Take new sessions again, unless the process is to end. Idempotent."""
        if self._negotiator.draining and not self.ending:
            self._negotiator.draining = False
            self.log.info("new sessions are taken again")

    def ignored_signal(self, name: str) -> None:
        """A signal that has no meaning yet came."""
        self.log.info("{name} is kept for later use and ignored", name=name)

    def _is_ready(self, results: object) -> None:
        self.listening = True
        self.ready.callback(None)

    def _empty(self) -> None:
        if not self.drained.called:
            self.drained.callback(None)


class Sessions(Service):
    """Ends what is left when the relay stops."""

    def __init__(self, registry: SessionRegistry) -> None:
        self._registry = registry

    def stopService(self) -> None:
        """End every session."""
        super().stopService()
        self._registry.end_all(Ending.SHUTDOWN)


class Recordings(Service):
    """Finishes the recordings when the relay stops."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def stopService(self) -> None:
        """Write what is still to be written."""
        super().stopService()
        self._writer.stop()


class Playing(Service):
    """Plays and reads prompts while the relay runs."""

    def __init__(self, players: Players, reader: ThreadReader) -> None:
        self._players = players
        self._reader = reader

    def stopService(self) -> None:
        """Stop all players, and the thread that reads for them."""
        super().stopService()
        self._players.stop_all()
        self._reader.stop()


class RateMeter:
    """Packets received in the last second, for the counter pps_in."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._before = 0

    def tick(self) -> None:
        """A second has passed."""
        now = self._totals.npkts_rcvd
        self._totals.pps_in = float(now - self._before)
        self._before = now


def build(settings: Settings, reactor: Any, wall: Callable[[], float] = time.time) -> RelayService:
    """Everything that ``settings`` ask for, wired to ``reactor`` and not yet started.

    ``wall`` gives seconds since the epoch, for stamps in recordings. Raises ConfigError.
    """
    for name, path in (("record_dir", settings.record_dir), ("spool_dir", settings.spool_dir)):
        if path is not None and not os.path.isdir(path):
            raise ConfigError(f"{spelled(name)} {path}: is not a directory")
    totals = Totals()
    carrier = choose(settings.fast_path, reactor, totals, settings.tos)
    try:
        return _assemble(settings, reactor, wall, totals, carrier)
    except BaseException:
        carrier.stopService()  # it is in the kernel already
        raise


def _assemble(
    settings: Settings,
    reactor: Any,
    wall: Callable[[], float],
    totals: Totals,
    carrier: Carrier,
) -> RelayService:
    writer = Writer(reserve=Reserve(settings.record_min_free << 20, Low(settings.record_low_space)))
    afterwards = Afterwards(settings, reactor)
    stamps = SteadyWall(wall, reactor.seconds)
    notifier = Notifier(reactor=reactor, allowed=settings.notify)
    plane = make_plane(settings, reactor, totals, carrier.path)
    processing = Processing(notifier, totals, reactor.seconds)
    reader = ThreadReader(reactor)
    players = Players(
        clock=reactor,
        prompts=Prompts(PromptDirectories(settings.prompt_dirs), reader),
        processing=processing,
        totals=totals,
        random_bits=secrets.randbits,
        send_twice=settings.send_twice,
    )
    recorders = FileRecorders(
        directory=settings.record_dir,
        spool=settings.spool_dir,
        pcap=settings.record_pcap,
        rtcp=settings.record_rtcp,
        everything=settings.record_all,
        writer=writer,
        wall=stamps,
        settle=stamps.settle,
        local_host=lambda host: local_for(host) or "0.0.0.0",
        outlet=lambda host: plane.outlet(_local_for(host)),
        resume=settings.record_resume,
        tell=afterwards.tell,
        export=afterwards.export,
        note=lambda leg, text: registry.note(leg, "recording", text),
    )
    accounting = Accounting(
        path=os.path.abspath(NAME), node=socket.gethostname(), now=reactor.seconds, wall=wall
    )
    accounted = "acct_csv" in settings.modules
    insight = Insight(settings, reactor, wall, totals)
    sampler = Sampler(
        clock=reactor,
        is_local=lambda host: local_for(host) == host,
        refresh=plane.refresh,
        release=plane.release,
    )
    registry = SessionRegistry(
        clock=reactor,
        plane=plane,
        totals=totals,
        observers=(
            sampler,
            recorders,
            players,
            TimeoutObserver(notifier),
            *((accounting,) if accounted else ()),
            *insight.observers,
        ),
        ttl=settings.ttl,
        independent=settings.independent_ttl,
        hold_timeout=settings.hold_timeout,
        max_duration=settings.max_duration,
        max_sessions=settings.max_sessions,
        max_media=settings.max_media,
    )
    negotiator = Negotiator(
        clock=reactor,
        registry=registry,
        plane=plane,
        processing=processing,
        notifier=notifier,
        locals_=LocalChooser(settings.addresses, local_for),
        latch=latch_factory(settings.latching),
        setup_ttl=settings.setup_ttl,
        asymmetric=settings.asymmetric,
    )
    dispatcher = Dispatcher(
        registry=registry,
        plane=plane,
        negotiator=negotiator,
        recorders=recorders,
        players=players,
        notifier=notifier,
        totals=totals,
    )
    responder = Responder(
        dialect=RtpproxyDialect(bridging=settings.addresses.bridging),
        executor=insight.metered(dispatcher),
        totals=totals,
        clock=reactor,
        detailed=partial(is_detailed, settings),
    )
    wiring = ControlSockets(settings, reactor, responder)
    relay = RelayService(registry, negotiator, wiring.listeners)
    wiring.at_end = relay.drain
    http = insight.connect(
        registry=registry, recorders=recorders, free_pairs=plane.free_pairs, relay=relay
    )
    relay.listeners += http.required
    # Stopped in reverse order: first no more commands, then no more sessions, then what those
    # still had to tell and to write.
    for service in (
        *afterwards.services,
        Recordings(writer),
        carrier,
        notifier,
        Playing(players, reader),
        *(_accounting(accounting, reactor) if accounted else ()),
        _every(1.0, reactor, RateMeter(totals).tick),
        _every(1.0, reactor, writer.flush),
        _every(1.0, reactor, recorders.tick),
        _every(1.0, reactor, plane.refresh_all),
        Sampling(sampler, registry, reactor),
        *_watching(plane, reactor),
        Collecting(registry, reactor),
        IcmpListener(reactor, sampler.unreachable),
        *insight.services,
        Sessions(registry),
        *wiring.listeners,
        *http.listeners,
    ):
        service.setServiceParent(relay)
    _announce(settings)
    return relay


def monotonic(reactor: Any) -> Any:
    """``reactor``, from now on reckoning in monotonic time.

    Twisted's reactors go by the wall clock: set forward by an hour, it would end every call, and
    set back it would keep the dead ones. To be done before anything is scheduled.
    """
    reactor.seconds = time.monotonic
    return reactor


def makeService(options: Options) -> IService:
    """What ``twistd rtpproxy`` runs."""
    from twisted.internet import reactor

    monotonic(reactor)
    for note in options.notes:
        RelayService.log.warn("{note}", note=note)
    relay = build(options.settings, reactor)
    UnderTwistd(relay, reactor).setServiceParent(relay)
    return relay


class UnderTwistd(Service):
    """What twistd does not do for the relay: HUP, and an end when it cannot start.

    A child of the relay that starts after all others.
    """

    def __init__(self, relay: RelayService, reactor: Any) -> None:
        self._relay = relay
        self._reactor = reactor

    def startService(self) -> None:
        """Raises SystemExit, which twistd lets pass, where a control socket cannot listen."""
        super().startService()
        for listener in self._relay.listeners:
            result = getattr(listener.listening, "result", None)
            if isinstance(result, Failure):
                raise SystemExit(f"rtpproxy: {result.getErrorMessage()}")
        self._relay.drained.addCallback(lambda _: self._reactor.stop())
        self._reactor.callWhenRunning(self._install_signals)

    def _install_signals(self) -> None:
        signal.signal(signal.SIGHUP, self._hang_up)
        for kept in (signal.SIGUSR1, signal.SIGUSR2):
            if signal.getsignal(kept) is signal.SIG_DFL:  # twistd may rotate its log by USR1
                signal.signal(kept, self._ignore)

    def _hang_up(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._relay.drain)

    def _ignore(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._relay.ignored_signal, signal.Signals(number).name)


def _every(seconds: float, reactor: Any, call: Callable[[], None]) -> TimerService:
    timer = TimerService(seconds, call)
    timer.clock = reactor
    return timer


def _accounting(accounting: Accounting, reactor: Any) -> tuple[IService, IService]:
    around = Around(start=accounting.start, stop=accounting.stop)
    return around, _every(0.5, reactor, accounting.tick)


def _local_for(host: str) -> str:
    """The local address that leads to ``host``. Raises AddressUnusable."""
    local = local_for(host)
    if local is None:
        raise AddressUnusable(f"no route leads to {host}")
    return local


def _watching(plane: UserspacePlane, reactor: Any) -> list[IService]:
    """What lets ``plane`` notice parties that fell silent, where it cares."""
    if isinstance(plane, EpollPlane):
        return [_every(WATCH_EVERY, reactor, plane.watch)]
    return []


def _announce(settings: Settings) -> None:
    log = Logger()
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    pairs = (settings.max_port - settings.min_port) // 2 + 1
    found = capacity(pairs, descriptors, settings.max_sessions)
    log.info("can carry {calls} calls at once, {why}", calls=found.calls, why=found.why)
    for local in settings.addresses.all():
        if local.wildcard and local.advertised is None:
            log.warn(
                "media is taken on {host}: replies name no address, so the SIP proxy puts its own"
                " into the SDP; use -l ADDRESS or -A ADDRESS where that is wrong",
                host=local.host,
            )
