"""What each command does."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from rtpproxy_tw.addresses import LocalAddress, is_loopback
from rtpproxy_tw.commands import (
    Allocated,
    Command,
    Copy,
    Delete,
    DeleteAll,
    Failed,
    Feature,
    Info,
    Lookup,
    MediaOptions,
    NotFound,
    NotifyTarget,
    Number,
    Origin,
    Outlet,
    Play,
    Query,
    Record,
    Remote,
    Reply,
    SetTos,
    SetTtl,
    Statistics,
    StopPlay,
    StopRecord,
    SubCommand,
    SubDelete,
    SubLookup,
    Text,
    Update,
    Version,
    WithResults,
)
from rtpproxy_tw.control.counters import query, statistics
from rtpproxy_tw.control.features import BASE, FEATURES, NOTIFICATION
from rtpproxy_tw.control.locals import LocalChooser
from rtpproxy_tw.errors import AddressUnusable, CommandError, NoPortsLeft, RecordingRefused
from rtpproxy_tw.interfaces import IMediaPlane, INotifier, IRecorders
from rtpproxy_tw.registry import Match, SessionRegistry, TooManySessions
from rtpproxy_tw.session import (
    Ending,
    LatchFactory,
    Leg,
    NotifySocket,
    Session,
    SessionKey,
    new_session,
)
from rtpproxy_tw.statistics import Totals

UNKNOWN = CommandError(50, "no such session")
"""Nothing to tell about it: clients ask for sessions long gone as a matter of course."""


class Dispatcher:
    """Executes commands on the registry, the media plane and the recorders.

    ``asymmetric`` is what a party is taken for when a command does not say, ``setup_ttl`` the
    seconds to live of a session without its second leg.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        registry: SessionRegistry,
        plane: IMediaPlane,
        recorders: IRecorders,
        notifier: INotifier,
        totals: Totals,
        locals_: LocalChooser,
        latch: LatchFactory,
        setup_ttl: float = 60.0,
        asymmetric: bool = False,
    ) -> None:
        self._clock = clock
        self._registry = registry
        self._plane = plane
        self._recorders = recorders
        self._notifier = notifier
        self._totals = totals
        self._locals = locals_
        self._latch = latch
        self._setup_ttl = setup_ttl
        self._asymmetric = asymmetric
        self.draining = False
        """New sessions are refused (E99), existing ones served."""

    def execute(self, command: Command, origin: Origin) -> Reply:
        """Do what ``command`` says. Raises CommandError where that cannot be done."""
        match command:
            case Update():
                return self._update(command, origin)
            case Lookup():
                return self._lookup(command)
            case Delete():
                return self._delete(command.call_id, command.from_tag, command.to_tag, command.weak)
            case Query():
                return self._query(command)
            case Play():
                return self._play(command)
            case StopPlay():
                self._find(command.call_id, command.from_tag, command.to_tag)
                return Number(0)
            case Record():
                return self._record(command)
            case Copy():
                return self._copy(command)
            case StopRecord():
                return self._stop_recording(command)
            case Statistics():
                return Text(statistics(command, self._totals), overflow=25)
            case Info():
                return self._info(command)
            case Version():
                return Number(BASE)
            case Feature(date):
                known = date in FEATURES and (date != NOTIFICATION or self._notifier.enabled)
                return Number(int(known))
            case DeleteAll():
                self._registry.end_all(Ending.DELETED)
                return Number(0)

    # U and L.

    def _update(self, command: Update, origin: Origin) -> Reply:
        if command.notify is not None and not self._notifier.enabled:
            raise CommandError(
                75, f"notify socket {command.notify.socket!r} given, but started without -n"
            )
        found = self._registry.find(command.call_id, command.from_tag, command.to_tag)
        chosen = self._locals.chosen(command.options)
        if found is None:
            session = self._create(command, chosen)
            found = Match(session, session.caller)
        else:
            self._answer(found.leg.opposite, command.options, chosen, failure=71)
            if not command.options.weak:
                found.session.strong = True
        session, party = found
        session.notify = self._notification(command.notify, origin)
        self._describe(party, command.options, command.remote)
        answered = _allocated(party.opposite)
        return self._with_subs(answered, command.subs, party)

    def _lookup(self, command: Lookup) -> Reply:
        chosen = self._locals.chosen(command.options)
        found = self._registry.find(command.call_id, command.from_tag, command.to_tag)
        if found is None:
            return NotFound()
        party = found.leg.opposite
        answered = self._look_up(party, command.options, chosen, command.remote)
        return self._with_subs(answered, command.subs, party)

    def _look_up(
        self, party: Leg, options: MediaOptions, chosen: LocalAddress | None, remote: Remote
    ) -> Allocated:
        self._answer(party.opposite, options, chosen, failure=71)
        self._describe(party, options, remote)
        return _allocated(party.opposite)

    def _create(self, command: Update, chosen: LocalAddress | None) -> Session:
        if self.draining:
            raise CommandError(99, "shutting down, no new sessions")
        options = command.options
        try:
            self._registry.admit(command.call_id)
        except TooManySessions as limit:
            raise CommandError(72, str(limit)) from limit
        key = SessionKey(command.call_id, command.from_tag)
        session = new_session(key, self._clock.seconds(), self._setup_ttl, self._latch)
        session.caller.local, session.callee.local = (
            (chosen, chosen) if chosen is not None else self._locals.sides(options)
        )
        self._open(session.callee, session.callee.local, failure=72)
        session.strong = not options.weak
        session.callee.weak = options.weak
        self._registry.add(session)
        return session

    def _answer(
        self, leg: Leg, options: MediaOptions, chosen: LocalAddress | None, failure: int
    ) -> None:
        # The leg whose port is told: it gets sockets if it has none or new ones are wanted.
        session = leg.session
        if not leg.port or options.new_port:
            local = chosen or leg.local
            if options.new_port and chosen is None and len(options.sides) == 2:
                local = self._locals.sides(options)[1]
            assert local is not None, "a leg knows its address from its session's creation on"
            self._open(leg, local, failure)
        if options.weak:
            leg.weak = True
        self._registry.touch(session)
        if leg.opposite.port:
            self._registry.complete(session)

    def _open(self, leg: Leg, local: LocalAddress, failure: int) -> None:
        try:
            self._plane.open(leg, local)
        except (NoPortsLeft, AddressUnusable) as error:
            raise CommandError(failure, str(error)) from error
        loopback = local.wildcard or is_loopback(local.host)
        for stream in leg.streams:
            stream.latch.loopback = loopback

    def _describe(self, party: Leg, options: MediaOptions, remote: Remote) -> None:
        # What the command says of the party that it names.
        now = self._clock.seconds()
        asymmetric = self._asymmetric if options.asymmetric is None else options.asymmetric
        party.codecs = options.codecs or ()
        party.packet_ms = options.packet_ms
        for stream in party.streams:
            stream.latch.asymmetric = asymmetric
            stream.latch.payload_types = party.codecs
        if remote.hold:
            party.held = True
            party.holds += 1
        if remote.address is not None:
            party.held = False
            host, port = remote.address
            party.rtp.latch.signal(remote.address, now)
            if 0 < port < 65535:  # a refused medium (port 0) has no RTCP either
                party.rtcp.latch.signal((host, port + 1), now)
        self._registry.rearm(party.session)

    def _notification(
        self, target: NotifyTarget | None, origin: Origin
    ) -> tuple[NotifySocket, bytes] | None:
        if target is None:
            return None
        socket = self._notifier.resolve(target.socket, origin)
        return None if socket is None else (socket, target.tag)

    # Sub-commands.

    def _with_subs(
        self, main: Number | Allocated | Text, subs: Sequence[SubCommand], party: Leg
    ) -> Reply:
        if not subs:
            return main
        results: list[int | Allocated] = []
        for sub in subs:
            result = self._sub(sub, party)
            results.append(result)
            if result == -1:
                break
            if isinstance(sub, SubLookup):
                party = party.opposite  # what follows is about the party just named
        return WithResults(main, tuple(results))

    def _sub(self, sub: SubCommand, party: Leg) -> int | Allocated:
        if party.session.ended is not None:
            return -1
        match sub:
            case SetTtl(seconds, reverse):
                self._registry.set_ttl(party.opposite if reverse else party, seconds)
                return 0
            case SetTos(tos, reverse):
                return self._set_tos(party.opposite if reverse else party, tos)
            case SubDelete(weak):
                call_id, from_tag = party.session.key
                self._delete(call_id, from_tag, None, weak)
                return 0
            case SubLookup(options, remote):
                try:
                    chosen = self._locals.chosen(options)
                    return self._look_up(party.opposite, options, chosen, remote)
                except CommandError as error:
                    self._log.info("L after &&: {reason}", reason=error.reason)
                    return -1
            case Outlet():
                return self._outlet(sub, party)

    def _set_tos(self, leg: Leg, tos: int) -> int:
        if leg.local is not None and ":" in leg.local.host:
            return -1
        leg.tos = tos
        self._plane.mark(leg)
        return 0

    def _outlet(self, sub: Outlet, party: Leg) -> int:
        source = self._registry.find(sub.call_id, sub.from_tag, sub.to_tag)
        session = party.session
        if source is None or source.session is session or session.outlet_of is not None:
            return -1
        session.outlet_of = source.session
        for giver, taker in ((source.leg, party.opposite), (source.leg.opposite, party)):
            for given, taken in zip(giver.streams, taker.streams, strict=True):
                given.feeds += (taken,)
        return 0

    # The others.

    def _find(self, call_id: str, first: str, second: str | None) -> Match:
        found = self._registry.find(call_id, first, second)
        if found is None:
            raise UNKNOWN
        return found

    def _matching(self, call_id: str, first: str, second: str | None) -> list[Match]:
        found = self._registry.matching(call_id, first, second)
        if not found:
            raise UNKNOWN
        return found

    def _delete(self, call_id: str, first: str, second: str | None, weak: bool) -> Reply:
        for session, leg in self._matching(call_id, first, second):
            if weak:
                leg.weak = False
            else:
                session.strong = False
            if session.deletable:
                self._registry.end(session, Ending.DELETED)
        return Number(0)

    def _query(self, command: Query) -> Reply:
        found = self._find(command.call_id, command.from_tag, command.to_tag)
        answer = Text(query(command, found, self._registry), overflow=26)
        return self._with_subs(answer, command.subs, found.leg)

    def _play(self, command: Play) -> Reply:
        found = self._find(command.call_id, command.from_tag, command.to_tag)
        if command.count == 0:
            return Number(0)
        if command.codecs is None and not found.leg.codecs:
            raise CommandError(35, "P with codecs 'session', but the party has no codec list")
        raise CommandError(60, f"prompt {command.prompt!r} cannot be played: no prompts yet")

    def _record(self, command: Record) -> Reply:
        started = 0
        for _, leg in self._matching(command.call_id, command.from_tag, command.to_tag):
            try:
                self._recorders.record(leg, None, command.single)
            except RecordingRefused as refusal:
                self._log.info("not recorded: {reason}", reason=str(refusal))
            else:
                started += 1
        return Number(0) if started else Failed(50)

    def _copy(self, command: Copy) -> Reply:
        found = self._find(command.call_id, command.from_tag, command.to_tag)
        if command.show_port or command.target.startswith("udp:"):
            raise CommandError(65, f"cannot copy to {command.target!r}: only files are supported")
        try:
            self._recorders.record(found.leg, command.target, command.single)
        except RecordingRefused as refusal:
            raise CommandError(65, str(refusal)) from refusal
        return Number(0)

    def _stop_recording(self, command: StopRecord) -> Reply:
        stopped = 0
        for session, leg in self._matching(command.call_id, command.from_tag, command.to_tag):
            for each in session.legs if command.both else (leg,):
                stopped += self._recorders.stop(each)
        return Number(0) if stopped else Failed(50)

    def _info(self, command: Info) -> Reply:
        totals = self._totals
        active = len(self._registry)
        lines = [
            f"sessions created: {totals.nsess_created}",
            f"active sessions: {active}",
            f"active streams: {2 * active}",
            f"packets received: {totals.npkts_rcvd}",
            f"packets transmitted: {totals.npkts_relayed + totals.npkts_played}",
        ]
        if command.load:
            lines.append("average load: 0.000000")
        return Text("\n".join(lines))


def _allocated(leg: Leg) -> Allocated:
    local = leg.local
    assert local is not None, "a leg with a port has an address"
    host = local.advertised or (None if local.wildcard else local.host)
    return Allocated(leg.port, host, ":" in local.host)
