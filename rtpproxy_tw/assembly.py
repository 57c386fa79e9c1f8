"""The parts of a relay, made from its settings and wired to each other."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger

from rtpproxy_tw.addresses import LocalAddress
from rtpproxy_tw.advertiser import ToldAddresses, make_advertiser
from rtpproxy_tw.advertiser import telling as tells_of_addresses
from rtpproxy_tw.aftermath import Aftermath
from rtpproxy_tw.bequest import (
    Bequest,
    FlowPart,
    FreshReplies,
    KeptNames,
    KeptPart,
    Lapse,
    Shape,
    deposits,
    sockets_of,
)
from rtpproxy_tw.capacity import PER_CALL_PAIRS
from rtpproxy_tw.clustering import Clustering, OurCalls
from rtpproxy_tw.collecting import Collecting
from rtpproxy_tw.configuration.options import version
from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.continuity.heirlooms import KERNEL, Heirlooms
from rtpproxy_tw.continuity.safe import Safe
from rtpproxy_tw.continuity.testament import Testament
from rtpproxy_tw.control.destinations import Destinations
from rtpproxy_tw.control.dispatcher import Dispatcher
from rtpproxy_tw.control.later import Later
from rtpproxy_tw.control.locals import LocalChooser
from rtpproxy_tw.control.negotiation import Negotiator
from rtpproxy_tw.control.replies import ReplyCache
from rtpproxy_tw.control.responder import Executor, Responder
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from rtpproxy_tw.control_access import OwnPlaces, copy_networks
from rtpproxy_tw.control_sockets import ControlSockets
from rtpproxy_tw.control_succession import Connections, Replies
from rtpproxy_tw.errors import AddressUnusable
from rtpproxy_tw.flow_succession import CarriedPart
from rtpproxy_tw.insight import Around, Insight
from rtpproxy_tw.insight_succession import Clients
from rtpproxy_tw.interfaces import ISessionObserver
from rtpproxy_tw.latch import latch_factory
from rtpproxy_tw.media.attention import SIGN_EVERY
from rtpproxy_tw.media.carrier import Carrier
from rtpproxy_tw.media.epollplane import WATCH_EVERY, EpollPlane
from rtpproxy_tw.media.player import Players
from rtpproxy_tw.media.processing import Processing
from rtpproxy_tw.media.prompt_files import PromptDirectories
from rtpproxy_tw.media.prompts import Prompts, ThreadReader
from rtpproxy_tw.media.resizer import Resizer
from rtpproxy_tw.media.routes import local_for
from rtpproxy_tw.media.userspace import UserspacePlane
from rtpproxy_tw.media_succession import PromptPart
from rtpproxy_tw.overload import EVERY, Overload, occupied
from rtpproxy_tw.planes import make_plane
from rtpproxy_tw.processing_succession import Notices, ProcessingPart
from rtpproxy_tw.quality_succession import FreshHistoryPart, HistoryPart
from rtpproxy_tw.recording.clock import SteadyWall
from rtpproxy_tw.recording.recorders import FileRecorders
from rtpproxy_tw.recording.space import Low, Reserve
from rtpproxy_tw.recording.spool import Writer
from rtpproxy_tw.recording_continuation import RecordedPart
from rtpproxy_tw.recording_succession import RecordingPart, RecordingTotals, Settled
from rtpproxy_tw.recording_wiring import Afterwards
from rtpproxy_tw.registry import BEAT, SessionRegistry
from rtpproxy_tw.reporting.accounting import NAME, Accounting
from rtpproxy_tw.reporting.icmp import IcmpListener
from rtpproxy_tw.reporting.notify import Notifier, TimeoutObserver
from rtpproxy_tw.reporting.sampling import Sampler, Sampling
from rtpproxy_tw.service import Playing, RateMeter, Recordings, RelayService, Sessions
from rtpproxy_tw.session import Ending, Leg, Session
from rtpproxy_tw.statistics import Totals
from rtpproxy_tw.succession import Counters, Flag, Succession
from rtpproxy_tw.timers import every
from rtpproxy_tw.tools.logs import is_detailed

NO_ROOM = {"original": 72, "kamailio": 72, "opensips": 10}
"""The error of a new session that there is no room for, by who is to understand it."""

TOO_BUSY = {"original": 98, "kamailio": 98, "opensips": 10}
"""The same where the relay is too busy for more."""


@dataclass(slots=True, frozen=True)
class Surroundings:
    """What every part is made from."""

    settings: Settings
    reactor: Any
    wall: Callable[[], float]
    """Seconds since the epoch, for stamps."""
    totals: Totals
    heirlooms: Heirlooms
    """What a relay before us has left."""


def assemble(
    settings: Settings,
    reactor: Any,
    wall: Callable[[], float],
    totals: Totals,
    carrier: Carrier,
    heirlooms: Heirlooms | None = None,
    safe: Safe | None = None,
) -> RelayService:
    """Everything that ``settings`` ask for, not yet started. Raises ConfigError.

    ``safe`` holds what is to outlive a crash; None: nobody would.
    """
    around = Surroundings(settings, reactor, wall, totals, heirlooms or Heirlooms())
    media = Media(around, carrier)
    storing = Storing(around, media, note=lambda leg, text: registry.note(leg, "recording", text))
    cluster = () if settings.redis is None else (Clustering(settings, reactor),)
    telling = Telling(around, media, cluster)
    testament = Testament(
        safe=safe or Safe(_nobody_keeps),
        sessions=lambda: registry,
        sockets=sockets_of(media.plane),
        refresh=media.plane.refresh,
        replies=FreshReplies(lambda: caches_of(control.sockets)),
        now=reactor.seconds,
        later=lambda call: reactor.callLater(0, call),
    )
    registry = SessionRegistry(
        clock=reactor,
        plane=media.plane,
        totals=totals,
        observers=(
            storing.recorders,
            media.players,
            *telling.observers,
            telling.aftermath,
            testament,
            *cluster,
        ),
        ttl=settings.ttl,
        independent=settings.independent_ttl,
        hold_timeout=settings.hold_timeout,
        max_duration=settings.max_duration,
        max_sessions=settings.max_sessions,
        max_media=settings.max_media,
    )
    registry.when_touched = testament.changed
    advertiser = make_advertiser(settings, reactor)
    current = advertiser.told.current
    told = ToldAddresses(advertiser.told, settings.addresses.all())
    control = Control(around, media, storing, telling, registry, current, cluster)
    relay = RelayService(registry, control.negotiator, control.sockets.listeners)
    control.sockets.at_end = relay.drain
    relay.clock = reactor
    http = telling.insight.connect(
        registry=registry,
        recorders=storing.recorders,
        free_pairs=media.plane.free_pairs,
        relay=relay,
        heirlooms=around.heirlooms,
        port_failures=media.plane.failures,
        recordings=storing.recorders.counts,
        space=lambda: storing.writer.free,
    )
    advertiser.changed = tells_of_addresses(registry, telling.insight.feed, reactor.seconds)
    telling.insight.add_metrics(control.sockets.gauges)
    telling.insight.add_metrics(control.overload)
    telling.insight.add_metrics(advertiser)
    telling.insight.reload = control.sockets.reload
    telling.insight.hand_over = lambda options: relay.hand_over(options)
    relay.listeners += http.required
    prompts = PromptPart(media.players)
    counts = RecordingTotals(storing.recorders.counts)
    flags = (
        Flag("refusing", lambda: relay.draining, relay.refuse),
        Flag("ending", lambda: relay.ending, relay.drain),
    )
    resizer = partial(Resizer, totals=totals)
    testament.parts = (
        prompts,
        ProcessingPart(media.processing, resizer, lasting=True),
        FlowPart(carrier.path, writing=True),
        RecordedPart(storing.recorders, writing=True),
    )
    testament.wholes = (Counters(totals), counts, *flags, Shape(carrier.shape), told)
    testament.deposits = deposits(
        lambda: {**control.sockets.descriptors, **http.descriptors}, carrier.descriptors
    )
    relay.succession = Succession(
        registry=registry,
        plane=media.plane,
        totals=totals,
        now=reactor.seconds,
        parts=(
            RecordingPart(storing.recorders, storing.writer),
            storing.left,
            ProcessingPart(media.processing, resizer),
            prompts,
            FlowPart(carrier.path, writing=False),
            Lapse(reactor.seconds),
            KeptPart(testament),
            FreshHistoryPart(),
        ),
        lasting=(HistoryPart(),),
        first=(
            Settled(storing.writer),
            counts,
            Replies(lambda: caches_of(control.sockets), reactor.seconds),
            KeptNames(testament.safe),
            *flags,
            told,
            Notices(media.notifier),
            *telling.insight.wholes(telling.aftermath.catch_up),
        ),
        last=(
            Connections(lambda: control.sockets.factories, reactor),
            Clients(http.sites, reactor),
        ),
        adopted=(telling.sampler.created, *telling.adopted),
        abandoned=(
            carrier.path.release,
            partial(media.players.ended, why=Ending.SHUTDOWN),
            testament.abandoned,
        ),
        left=(
            *(each.leave for each in cluster),
            *(telling.aftermath.catch_up, advertiser.stopService, http.leave, *telling.left),
        ),
        inherited=(carrier.settle,),
        giving=(telling.insight.remembered.prepare,),
        descriptors=lambda: {
            **control.sockets.descriptors,
            **http.descriptors,
            **{KERNEL + name: fd for name, fd in carrier.descriptors().items()},
        },
        shape=carrier.shape,
        flows=CarriedPart(carrier),
        version=version(),
    )
    for each in cluster:
        _connect(each, around, media, storing, registry, relay, control, telling)
    # Stopped in reverse order: first no more commands, then no more sessions, then what those
    # still had to tell and to write.
    for service in (
        *storing.services,
        # What a crash left is out of the way by now.
        Around(start=lambda: storing.left.begin(lambda each: registry.named(each.key) is each)),
        carrier,
        media.notifier,
        *media.services,
        *telling.accounting,
        every(1.0, reactor, RateMeter(totals).tick),
        every(BEAT, reactor, registry.beat),
        every(SIGN_EVERY, reactor, media.plane.attend),
        *((every(EVERY, reactor, control.overload.look),) if settings.overload_protection else ()),
        every(1.0, reactor, storing.writer.flush),
        every(1.0, reactor, storing.recorders.tick),
        Sampling(telling.sampler, registry, reactor),
        *_watching(media.plane, reactor),
        Collecting(registry, reactor),
        advertiser,
        IcmpListener(reactor, telling.sampler.unreachable),
        *telling.insight.services,
        Around(stop=telling.aftermath.stop),
        Sessions(registry),
        *cluster,
        *control.sockets.services,
        *control.sockets.listeners,
        *http.listeners,
        # Begins when all sockets are open.
        *((Bequest(testament, reactor),) if safe else ()),
    ):
        service.setServiceParent(relay)
    return relay


class Media:
    """What carries packets and makes them. Raises ConfigError."""

    def __init__(self, around: Surroundings, carrier: Carrier) -> None:
        settings, reactor = around.settings, around.reactor
        self.notifier = Notifier(reactor=reactor, allowed=settings.notify)
        self.arrival = carrier.arrival
        self.plane = make_plane(settings, reactor, around.totals, carrier.path)
        if isinstance(self.plane, EpollPlane):
            carrier.serve(self.plane.port_at)
        self.processing = Processing(self.notifier, around.totals, reactor.seconds)
        reader = ThreadReader(reactor)
        self.players = Players(
            clock=reactor,
            prompts=Prompts(PromptDirectories(settings.prompt_dirs), reader),
            processing=self.processing,
            totals=around.totals,
            random_bits=secrets.randbits,
            send_twice=settings.send_twice,
        )
        self.services: tuple[IService, ...] = (Playing(self.players, reader),)


class Storing:
    """What records. ``note`` takes what is to stand in a leg's timeline. Raises ConfigError."""

    def __init__(
        self, around: Surroundings, media: Media, note: Callable[[Leg, str], None]
    ) -> None:
        settings = around.settings
        self.writer = Writer(
            reserve=Reserve(settings.record_min_free << 20, Low(settings.record_low_space)),
            later=around.reactor.callLater,
        )
        afterwards = Afterwards(settings, around.reactor)
        stamps = SteadyWall(around.wall, media.arrival)
        self.recorders = FileRecorders(
            directory=settings.record_dir,
            spool=settings.spool_dir,
            pcap=settings.record_pcap,
            rtcp=settings.record_rtcp,
            everything=settings.record_all,
            writer=self.writer,
            wall=stamps,
            settle=stamps.settle,
            local_host=lambda host: local_for(host) or "0.0.0.0",
            outlet=lambda host: media.plane.outlet(_local_for(host)),
            resume=settings.record_resume,
            tell=afterwards.tell,
            export=afterwards.export,
            note=note,
        )
        self.left = RecordedPart(self.recorders, writing=False)
        """What a crash left in the midst of it."""
        self.services: tuple[IService, ...] = (*afterwards.services, Recordings(self.writer))


class Telling:
    """What watches calls and tells of them. Raises ConfigError."""

    def __init__(
        self, around: Surroundings, media: Media, cluster: Sequence[Clustering] = ()
    ) -> None:
        settings, reactor = around.settings, around.reactor
        self.insight = Insight(settings, reactor, around.wall, around.totals, media.arrival)
        self.sampler = Sampler(
            clock=reactor,
            is_local=lambda host: local_for(host) == host,
            refresh=media.plane.refresh,
            go_on=media.plane.go_on,
            stirred=media.plane.stirred,
            release=media.plane.release,
        )
        accounted = (_accounting(around, cluster),) if "acct_csv" in settings.modules else ()
        self.observers: tuple[ISessionObserver, ...] = (
            TimeoutObserver(media.notifier),
            *accounted,
        )
        # The sampler first: it judges, and others tell of it.
        self.aftermath = Aftermath((self.sampler, *self.insight.observers), reactor)
        self.insight.recent.catch_up = self.aftermath.catch_up
        self.adopted: tuple[Callable[[Session], None], ...] = (
            *(accounting.created for accounting in accounted),
            *self.insight.adopted,
        )
        """Whom to tell of sessions that another relay has left to this one."""
        self.left: tuple[Callable[[], object], ...] = (
            *(accounting.leave for accounting in accounted),
            self.insight.leave,
        )
        """What to do when another relay has taken over."""
        self.accounting: tuple[IService, ...] = tuple(
            service
            for accounting in accounted
            for service in (
                Around(start=accounting.start, stop=accounting.stop),
                every(0.5, reactor, accounting.tick),
            )
        )


class Control:
    """What hears commands and obeys. Raises ConfigError."""

    log = Logger()

    def __init__(
        self,
        around: Surroundings,
        media: Media,
        storing: Storing,
        telling: Telling,
        registry: SessionRegistry,
        current: Callable[[LocalAddress], LocalAddress],
        cluster: Sequence[Clustering] = (),
    ) -> None:
        settings, reactor = around.settings, around.reactor
        destinations = Destinations(
            is_own=OwnPlaces(settings.control, media.plane.serves),
            deny_private=settings.deny_private,
        )
        # Other nodes are told of a session as a command has left it.
        later = None if cluster else Later()
        self.negotiator = Negotiator(
            clock=reactor,
            registry=registry,
            plane=media.plane,
            processing=media.processing,
            notifier=media.notifier,
            locals_=LocalChooser(settings.addresses, local_for, current),
            latch=latch_factory(settings.latching, rebinding=settings.rebinding),
            setup_ttl=settings.setup_ttl,
            asymmetric=settings.asymmetric,
            destinations=destinations,
            no_room=NO_ROOM[settings.overload_profile],
            later=later,
        )
        dispatcher = Dispatcher(
            registry=registry,
            plane=media.plane,
            negotiator=self.negotiator,
            recorders=storing.recorders,
            players=media.players,
            notifier=media.notifier,
            totals=around.totals,
            destinations=destinations,
            copies=copy_networks(settings),
            later=later,
        )
        executor: Executor = telling.insight.metered(dispatcher)
        for each in cluster:
            executor = each.noting(executor, registry)
        self.overload = Overload(occupied, reactor.seconds, self._overloaded)
        self._too_busy = TOO_BUSY[settings.overload_profile]
        self.responder = responder = Responder(
            dialect=RtpproxyDialect(bridging=settings.addresses.bridging),
            executor=executor,
            totals=around.totals,
            clock=reactor,
            detailed=partial(is_detailed, settings),
            later=later,
        )
        self.sockets = ControlSockets(settings, reactor, responder, around.wall, around.heirlooms)

    def _overloaded(self, active: bool) -> None:
        self.negotiator.too_busy = self._too_busy if active else None
        if active:
            self.log.error(
                "overloaded (busy {load:.0%} of the time): no new sessions", load=self.overload.load
            )
        else:
            self.log.info("no longer overloaded: new sessions are taken again")


def _connect(
    cluster: Clustering,
    around: Surroundings,
    media: Media,
    storing: Storing,
    registry: SessionRegistry,
    relay: RelayService,
    control: Control,
    telling: Telling,
) -> None:
    """Make the relay a node of a cluster."""
    settings = around.settings

    def room() -> int:
        if control.overload.active:
            return 0
        free = min(media.plane.free_pairs().values(), default=0) // PER_CALL_PAIRS
        most = settings.max_sessions
        return min(free, max(0, most - len(registry))) if most else free

    def full() -> str | None:
        if relay.draining:
            return "no new sessions are taken"
        if control.overload.active:
            return "there is more to do than one relay can"
        return None if room() else "there is no room for more sessions"

    cluster.connect(
        calls=OurCalls(
            registry=registry,
            plane=media.plane,
            recorders=storing.recorders,
            prompts=PromptPart(media.players),
            now=around.reactor.seconds,
            hosts=cluster.hosts,
            ports=(settings.min_port, settings.max_port),
            tos=settings.tos,
            adopted=(telling.sampler.created, *telling.adopted),
            about=lambda: cluster.about(
                sessions=len(registry), room=room(), draining=relay.draining
            ),
            is_here=cluster.addresses.has,
        ),
        registry=registry,
        responder=control.responder,
        full=full,
    )
    telling.insight.add_metrics(cluster)
    telling.insight.cluster = cluster
    relay.bequeath = cluster.bequeath


def caches_of(sockets: ControlSockets) -> dict[str, ReplyCache]:
    """What was answered over UDP, by control socket."""
    return {name: protocol.cache for name, protocol in sockets.datagrams.items()}


def _nobody_keeps(*fields: str, descriptors: Sequence[int] = ()) -> bool:
    return False


def _accounting(around: Surroundings, cluster: Sequence[Clustering]) -> Accounting:
    elsewhere = None
    for each in cluster:
        elsewhere = each.known
    return Accounting(
        elsewhere=elsewhere,
        path=os.path.abspath(NAME),
        node=socket.gethostname(),
        now=around.reactor.seconds,
        wall=around.wall,
    )


def _local_for(host: str) -> str:
    """The local address that leads to ``host``. Raises AddressUnusable."""
    local = local_for(host)
    if local is None:
        raise AddressUnusable(f"no route leads to {host}")
    return local


def _watching(plane: UserspacePlane, reactor: Any) -> list[IService]:
    """What lets ``plane`` notice parties that fell silent, where it cares."""
    if isinstance(plane, EpollPlane):
        return [every(WATCH_EVERY, reactor, plane.watch)]
    return []
