"""Several relays as one service: the wiring of ``cluster`` to everything else."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Literal
from uuid import uuid4

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.addresses import family_of
from rtpproxy_tw.cluster.holding import Calls
from rtpproxy_tw.cluster.location import read_location
from rtpproxy_tw.cluster.node import Node, NotTaken
from rtpproxy_tw.cluster.peers import Answering, Peers, Refused
from rtpproxy_tw.cluster.router import Router, answered
from rtpproxy_tw.commands import Command, Origin, Reply
from rtpproxy_tw.configuration.options import version
from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.control.listeners import Listener, bound
from rtpproxy_tw.control.responder import Executor, Responder
from rtpproxy_tw.errors import ConfigError, RecordingRefused, RelayError
from rtpproxy_tw.host_addresses import HostAddresses
from rtpproxy_tw.interfaces import ISessionObserver
from rtpproxy_tw.latch import Latch, RtpproxyLatch, StrictLatch
from rtpproxy_tw.media.udpport import bind_media
from rtpproxy_tw.media.userspace import UserspacePlane
from rtpproxy_tw.media_succession import PromptPart
from rtpproxy_tw.recording.files import Earlier
from rtpproxy_tw.recording.recorders import FileRecorders
from rtpproxy_tw.recording_continuation import RecordedPart
from rtpproxy_tw.registry import SessionRegistry
from rtpproxy_tw.reporting.exposition import Family, labelled, single
from rtpproxy_tw.session import Ending, Leg, Session, SessionKey, Side, new_session
from rtpproxy_tw.snapshot import records
from rtpproxy_tw.snapshot.kinds import FLAG, NUMBER, Damaged, listed, one_of, row
from rtpproxy_tw.timers import every

Kind = Literal["gauge", "counter"]
GAUGE: Kind = "gauge"
COUNTER: Kind = "counter"

BEATS = 4
"""In one lease."""

AT_ONCE = 100
"""Calls that are looked up at once."""

LIVING = 0.2
"""Seconds in which an owner that is to write everything down must have said a word."""

GIVING = 1.0
"""Seconds that a living owner has to write everything down; an unresponsive one costs as much."""

RECORDED = listed(row(one_of(Side), FLAG), 2)
"""Which party is recorded, and whether both are to be in one file."""

LEFT_OUT = ("analyzer", "refusals", "latest")
"""Of a stream: what is long, changes with each packet, and is not missed by the party."""


class OurCalls:
    """The sessions of this process, as the cluster sees them. See cluster.holding.Calls.

    ``hosts`` are the media addresses that a session may have here, ``ports`` the range of them.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        registry: SessionRegistry,
        plane: UserspacePlane,
        recorders: FileRecorders,
        prompts: PromptPart,
        now: Callable[[], float],
        hosts: Sequence[str],
        ports: tuple[int, int],
        tos: int,
        adopted: Sequence[Callable[[Session], None]],
        about: Callable[[], dict[str, Any]],
        is_here: Callable[[str], bool],
    ) -> None:
        self._registry = registry
        self._plane = plane
        self._recorders = recorders
        self._recorded = RecordedPart(recorders, writing=True)
        self._prompts = prompts
        self._now = now
        self._hosts = frozenset(hosts)
        self._ports = ports
        self._tos = tos
        self._adopted = tuple(adopted)
        self._links: list[records.Link] = []
        self.about = about
        self.is_here = is_here

    def all(self) -> Sequence[Session]:
        """See Calls."""
        return list(self._registry)

    def address_of(self, session: Session) -> str:
        """See Calls."""
        local = session.callee.local
        return "" if local is None else local.host

    def mark(self, session: Session) -> object:
        """See Calls."""
        return (
            session.complete,
            *(stream.latch.remote for leg in session.legs for stream in leg.streams),
        )

    def leave(self, session: Session) -> None:
        """See Calls."""
        self._registry.end(session, Ending.MOVED)

    def record(self, session: Session) -> bytes:
        """See Calls."""
        self._plane.refresh(session)
        recorded = [
            [leg.side.value, recording.files.single]
            for leg, recording, paused in self._recorders.parties(session)
            if recording.files is not None and not paused
        ]
        parts = {
            "recorded": recorded,  # a node of the version before reads this
            "recordings": self._recorded.pack(session, Luggage()),
            "prompts": self._prompts.pack(session, Luggage()),
        }
        record = records.pack(session, {name: said for name, said in parts.items() if said})
        for leg in session.legs:
            about = record[leg.side.value]
            about.pop("monitor", None)
            for stream in ("rtp", "rtcp"):
                for word in LEFT_OUT:
                    about[stream].pop(word, None)
        record = lean(record, session.caller.rtp.latch)
        record["at"] = self._now()
        return records.to_line(record).rstrip(b"\n")

    def restore(self, lines: Iterable[bytes]) -> int:
        """See Calls."""
        refused = 0
        for line in lines:
            try:
                self._restore(records.from_line(line))
            except (Damaged, OSError) as error:
                refused += 1
                self._log.error("a session is not gone on with: {why}", why=str(error)[:300])
        return refused

    def restored(self) -> None:
        """See Calls."""
        self._plane.claim()
        for link in self._links:
            link.make(self._registry.named)
        self._links.clear()

    def _restore(self, record: Any) -> None:
        """Raises Damaged, or OSError where a port cannot be had."""
        then = NUMBER.unpack(record.get("at") if type(record) is dict else None, 0.0)
        session, link = records.unpack(record, self._now() - then)
        if self._registry.named(session.key) is not None:
            return
        parts = records.parts_of(record)
        self._plane.adopt(self._bound(session))
        self._registry.adopt(session)
        self._links.append(link)
        for call in self._adopted:
            call(session)
        self._go_on(session, parts)

    def _bound(self, session: Session) -> dict[Leg, tuple[socket.socket, socket.socket]]:
        least, greatest = self._ports
        made: dict[Leg, tuple[socket.socket, socket.socket]] = {}
        opened: list[socket.socket] = []
        try:
            for leg in session.legs:
                local = leg.local
                if local is not None and local.host not in self._hosts:
                    raise Damaged(f"{local.host} is no address of ours")
                if not leg.port or local is None:
                    continue
                if not least <= leg.port <= greatest or leg.port % 2:
                    raise Damaged(f"port {leg.port} is not in our range")
                tos = self._tos if leg.tos is None else leg.tos
                for port in (leg.port, leg.port + 1):
                    opened.append(bind_media(local.host, port, tos, free=True))
                made[leg] = opened[-2], opened[-1]
        except BaseException:
            for each in opened:
                each.close()
            raise
        return made

    def _go_on(self, session: Session, parts: Any) -> None:
        now = self._now()
        session.timeline.add(now, "command", "taken over from another node")
        try:
            self._record(session, parts)
            if "prompts" in parts:
                self._prompts.unpack(session, parts["prompts"], Luggage(), 0.0)
        except Damaged as damage:
            self._log.error("a session goes on without all it had: {why}", why=str(damage))

    def _record(self, session: Session, parts: Any) -> None:
        if "recordings" in parts:
            self._recorded.unpack(session, parts["recordings"], Luggage(), 0.0)
            self._recorded.begin()
            return
        for side, together in RECORDED.unpack(parts.get("recorded", []), 0.0):
            leg = session.caller if side is Side.CALLER else session.callee
            with suppress(RecordingRefused):
                self._recorders.record(leg, None, together, earlier=Earlier(uuid4().hex, 1))


KEPT = frozenset(("v", "key", "policy"))
"""What a reader wants to be told in any case."""


def lean(record: dict[str, Any], latch: Latch) -> dict[str, Any]:
    """``record`` without what a reader takes for granted: two thirds of it."""
    return _without(record, _strict() if isinstance(latch, StrictLatch) else _original())


@cache
def _strict() -> dict[str, Any]:
    return records.pack(new_session(SessionKey("", ""), 0.0, 0.0, StrictLatch), {})


@cache
def _original() -> dict[str, Any]:
    return records.pack(new_session(SessionKey("", ""), 0.0, 0.0, RtpproxyLatch), {})


def _without(record: dict[str, Any], blank: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for word, value in record.items():
        usual = blank.get(word, record)
        if isinstance(value, dict) and isinstance(usual, dict) and word != "parts":
            found[word] = _without(value, usual)
        elif word in KEPT or value != usual or type(value) is not type(usual):
            found[word] = value
    return found


@implementer(ISessionObserver)
class Clustering(MultiService):
    """What makes a relay a node. Made before the registry, and connected after it."""

    _log = Logger()

    def __init__(self, settings: Settings, reactor: Any) -> None:
        """Raises ConfigError."""
        super().__init__()
        assert settings.redis is not None, "asked before"
        try:
            from rtpproxy_tw.cluster.redis import RedisStore
        except ImportError as error:
            raise ConfigError(
                "--redis needs txredisapi: pip install 'rtpproxy-tw[redis]'"
            ) from error
        self._settings = settings
        self._reactor = reactor
        self._token = secrets.token_hex(16)
        self._restoring = False
        self.store = RedisStore(read_location(settings.redis), reactor)
        self.node: Node | None = None
        self.addresses = HostAddresses(reactor, lambda: self._connected.addresses_changed())
        self.router: Router | None = None
        self.peers = Peers(reactor, self._about_peer)

    @property
    def hosts(self) -> list[str]:
        """Media addresses that are ours, or may be."""
        own = [local.host for local in self._settings.addresses.all()]
        return list(dict.fromkeys((*own, *self._settings.standby)))

    def connect(
        self,
        *,
        calls: Calls,
        registry: SessionRegistry,
        responder: Responder,
        full: Callable[[], str | None],
    ) -> None:
        """Wire it. Raises ConfigError."""
        settings, reactor = self._settings, self._reactor
        own = list(dict.fromkeys(local.host for local in settings.addresses.all()))
        lease = settings.lease / 1000
        self.node = Node(
            name=settings.node or socket.gethostname(),
            store=self.store,
            clock=reactor,
            calls=calls,
            own=own,
            standby=[each for each in settings.standby if each not in own],
            lease=lease,
        )
        self.node.give = self._give
        registry.may_end = self.node.may_end
        self.router = Router(
            node=self.node,
            peers=self.peers,
            has=lambda call_id: bool(registry.of_call(call_id)),
            full=full,
            clock=reactor,
        )
        responder.route = self.router.route
        self._respond = responder.respond
        self.addresses.setServiceParent(self)
        every(lease / BEATS, reactor, self.node.tick).setServiceParent(self)
        if settings.cluster_listen is not None:
            factory = Answering(self._token, self._answer)
            host, port = settings.cluster_listen

            def listen() -> object:
                # A process that goes on with ours listens before we have ended.
                with bound(socket.SOCK_STREAM, host, port, shared=True) as made:
                    made.listen(64)
                    endpoint = AdoptedStreamServerEndpoint(reactor, made.detach(), family_of(host))
                return endpoint.listen(factory)

            listener = Listener(listen)
            listener.setServiceParent(self)
            listener.listening.addErrback(
                lambda failure: self._log.error(
                    "other nodes cannot reach us: {why}", why=failure.getErrorMessage()
                )
            )

    def about(self, *, sessions: int, room: int, draining: bool) -> Any:
        """How this node is, for the others."""
        listen = self._settings.cluster_listen
        return {
            "version": version(),
            "sessions": sessions,
            "room": room,
            "draining": draining,
            "listen": None if listen is None else list(listen),
            "token": self._token,
        }

    def noting(self, executor: Executor, registry: SessionRegistry) -> Executor:
        """``executor``, whose commands change sessions that are then written down."""
        return _Noting(executor, registry, self)

    def take_over(self, address: str | None) -> Deferred[Any]:
        """By somebody's command: become the owner of ``address``, or of all. Fails with
        RelayError."""
        node = self._connected
        wanted = list(node.holdings) if address is None else [address]
        unknown = [each for each in wanted if each not in node.holdings]
        if unknown:
            raise NotTaken(f"{unknown[0]} is neither ours nor do we stand by for it")
        taking = [node.take_over(each, "it was asked for") for each in wanted]
        return gatherResults(taking, consumeErrors=True).addErrback(_first)

    def bequeath(self) -> Deferred[Any]:
        """Leave to living nodes what they stand by for, and go on without."""
        return self._connected.bequeath()

    def leave(self) -> None:
        """Another process of this node goes on with everything."""
        self._connected.stop()
        self.store.close()
        self.peers.close()

    def stopService(self) -> Any:
        """Leave the sessions to others, where there are any."""
        leaving = self._connected.leave()
        stopped = super().stopService()

        def close(result: object) -> Any:
            self.store.close()
            self.peers.close()
            return stopped

        return leaving.addBoth(close)

    @inlineCallbacks
    def known(self, calls: Sequence[str]) -> Any:
        """Which of ``calls`` were ever written down, so that some relay has gone on with them.

        Fails with Unavailable.
        """
        found: set[str] = set()
        for at in range(0, len(calls), AT_ONCE):
            some = calls[at : at + AT_ONCE]
            places = yield gatherResults([self.store.find(each) for each in some], True)
            found.update(each for each, place in zip(some, places, strict=True) if place)
        return found

    # ISessionObserver.

    def created(self, session: Session) -> None:
        """See ISessionObserver."""
        self._connected.changed(session)

    def completed(self, session: Session) -> None:
        """See ISessionObserver."""
        self._connected.changed(session)

    def ended(self, session: Session, why: Ending) -> None:
        """See ISessionObserver."""
        if why is not Ending.MOVED:
            self._connected.gone(session)

    # For those who look.

    def fleet(self) -> dict[str, Any]:
        """All nodes as far as they are known here."""
        node = self._connected
        return {**node.status(), "nodes": nodes_view(node.peers)}

    def families(self) -> Iterator[Family]:
        """Metrics."""
        node, router = self._connected, self.router
        assert router is not None
        yield single("relay_redis_up", "gauge", "1 while Redis answers.", int(self.store.usable))
        yield single(
            "relay_redis_failures_total",
            "counter",
            "Times that Redis did not answer, or refused.",
            self.store.breaker.failures,
        )
        now = self._reactor.seconds()
        rows = [(each.address, each.status(now)) for each in node.holdings.values()]
        waits = [len(each.pending) for each in node.holdings.values()]
        yield single(
            "relay_redis_queue", "gauge", "Sessions that are still to be written down.", sum(waits)
        )
        yield single(
            "relay_redis_lag_seconds",
            "gauge",
            "For how long the oldest of them has been waiting.",
            node.lag,
        )
        for name, word, kind, about in (
            ("ha_role", "role", GAUGE, "1 while this node owns the media address, 0 as standby."),
            (
                "cluster_taken_over_total",
                "taken_over",
                COUNTER,
                "Sessions gone on with after others.",
            ),
            ("cluster_refused_total", "not_taken_over", COUNTER, "Sessions that could not be."),
        ):
            yield labelled(
                f"relay_{name}",
                kind,
                about,
                [
                    (
                        (("address", address),),
                        int(row[word] == "owner") if word == "role" else row[word],
                    )
                    for address, row in rows
                ],
            )
        yield labelled(
            "relay_cluster_commands_total",
            "counter",
            "Commands for calls of other nodes, by what became of them.",
            [((("result", name),), count) for name, count in router.counts.items()],
        )
        yield single(
            "relay_cluster_splits_total",
            "counter",
            "Times that two nodes thought a media address was theirs.",
            node.splits,
        )

    @property
    def _connected(self) -> Node:
        assert self.node is not None, "connected before anything happens"
        return self.node

    def _about_peer(self, name: str) -> dict[str, Any] | None:
        return self._connected.peers.get(name)

    def _give(self, name: str, address: str) -> Deferred[Any]:
        # An address that moved mostly did so because that node's host is gone, and who has no
        # process there any more, or no host, is not waited for.
        alive = self.peers.ask(name, {"kind": "ping"}, LIVING).addErrback(_words)
        return alive.addCallback(
            lambda _: self.peers.ask(name, {"kind": "give", "address": address}, GIVING)
        )

    def _answer(self, kind: str, message: dict[str, Any]) -> Any:
        match kind:
            case "command":
                return answered(self._respond, message)
            case "ping":
                return {}
            case "give":
                address = str(message.get("address"))
                if address not in self._connected.holdings:
                    raise RelayError(f"{address} is not ours")
                giving: Deferred[Any] = self._connected.hand_over(address)
                return giving.addCallback(lambda _: {})
            case _:
                raise RelayError(f"{kind!r:.40} is not known here")


class _Noting:
    """Tells which sessions a command may have changed."""

    def __init__(self, inner: Executor, registry: SessionRegistry, cluster: Clustering) -> None:
        self._inner = inner
        self._registry = registry
        self._cluster = cluster

    def execute(self, command: Command, origin: Origin) -> Reply:
        """See Executor."""
        try:
            return self._inner.execute(command, origin)
        finally:
            call_id = getattr(command, "call_id", None)
            if call_id is not None:
                for session in self._registry.of_call(call_id):
                    self._cluster.completed(session)


def nodes_view(nodes: dict[str, dict[str, Any] | None]) -> list[dict[str, Any]]:
    """What is known of ``nodes``, without what only they are to know."""
    return [
        {
            "node": name,
            "alive": about is not None,
            **{
                word: (about or {}).get(word)
                for word in ("version", "sessions", "room", "draining", "owns", "addresses")
            },
        }
        for name, about in sorted(nodes.items())
    ]


def read_nodes(found: dict[str, bytes | None]) -> list[dict[str, Any]]:
    """The same of what the store has."""
    nodes: dict[str, dict[str, Any] | None] = {}
    for name, about in found.items():
        try:
            read = None if about is None else json.loads(about)
        except (ValueError, RecursionError):
            read = None
        nodes[name] = read if isinstance(read, dict) else None
    return nodes_view(nodes)


def _words(failure: Any) -> None:
    """A node of an earlier version refuses what it does not know, so it lives."""
    failure.trap(Refused)


def _first(failure: Any) -> Any:
    """The failure within what gathers several."""
    return getattr(failure.value, "subFailure", failure)
