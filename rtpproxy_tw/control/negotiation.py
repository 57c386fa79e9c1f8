"""U and L: making sessions, giving out ports, taking in addresses; and what follows ``&&``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from rtpproxy_tw.addresses import LocalAddress, is_loopback
from rtpproxy_tw.commands import (
    Allocated,
    CatchDigits,
    Lookup,
    MediaOptions,
    NotFound,
    NotifyTarget,
    Number,
    Origin,
    Outlet,
    Remote,
    Reply,
    SetTos,
    SetTtl,
    SubCommand,
    SubDelete,
    SubLookup,
    Text,
    Update,
    WithResults,
)
from rtpproxy_tw.control.destinations import OWN, Destinations
from rtpproxy_tw.control.later import Later
from rtpproxy_tw.control.locals import LocalChooser
from rtpproxy_tw.control.logbudget import LogBudget
from rtpproxy_tw.errors import AddressUnusable, CommandError, NoPortsLeft
from rtpproxy_tw.interfaces import IMediaPlane, INotifier, IProcessing
from rtpproxy_tw.registry import Match, SessionRegistry, TooManySessions
from rtpproxy_tw.session import (
    LatchFactory,
    Leg,
    NotifySocket,
    Session,
    SessionKey,
    new_session,
)


class Negotiator:
    """Keeps sessions in step with what the SIP proxy tells of the parties' SDP.

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
        processing: IProcessing,
        notifier: INotifier,
        locals_: LocalChooser,
        latch: LatchFactory,
        setup_ttl: float = 60.0,
        asymmetric: bool = False,
        destinations: Destinations | None = None,
        no_room: int = 72,
        later: Later | None = None,
    ) -> None:
        self._destinations = Destinations() if destinations is None else destinations
        self._budget = LogBudget()
        self._clock = clock
        self._registry = registry
        self._plane = plane
        self._processing = processing
        self._notifier = notifier
        self._locals = locals_
        self._latch = latch
        self._setup_ttl = setup_ttl
        self._asymmetric = asymmetric
        self._later = Later() if later is None else later
        self._no_room = no_room
        """The error of a new session that there is no room for."""
        self.draining = False
        """New sessions are refused (E99), existing ones served."""
        self.too_busy: int | None = None
        """The same with this error, while the relay has more to do than it can."""

    def update(self, command: Update, origin: Origin) -> Reply:
        """U: the named party's address; a new session if there is none. Raises CommandError."""
        if command.notify is not None and not self._notifier.enabled:
            raise CommandError(
                75, f"notify socket {command.notify.socket!r} given, but started without -n"
            )
        self._check(command.subs)
        found = self._find(command)
        chosen = self._locals.chosen(command.options)
        notification = self._notification(command.notify, origin)
        created = found is None
        if found is None:
            session = self._create(command, chosen)
            found = Match(session, session.caller)
        else:
            self._answer(found.leg.opposite, command.options, chosen, failure=71)
            if not command.options.weak:
                found.session.strong = True
        session, party = match = found
        session.notify = notification
        answered = self._allocated(party.opposite)

        def enter() -> None:
            if created:
                self._registry.add(session)
            else:
                self._keep(session)
            _note_to_tag(match, command.from_tag, command.to_tag)
            self._describe(party, command.options, command.remote)

        self._after(enter, command.subs)
        return self.with_subs(answered, command.subs, party)

    def lookup(self, command: Lookup) -> Reply:
        """L: the answering party's address. Raises CommandError."""
        chosen = self._locals.chosen(command.options)
        found = self._registry.find(command.call_id, command.from_tag, command.to_tag)
        if found is None:
            return NotFound()
        _note_to_tag(found, command.from_tag, command.to_tag)
        party = found.leg.opposite
        answered = self._look_up(party, command.options, chosen, command.remote, bool(command.subs))
        return self.with_subs(answered, command.subs, party)

    def _after(self, work: Callable[[], None], pressing: object) -> None:
        # When the reply has been sent, unless what is ``pressing`` builds upon it.
        if pressing:
            work()
        else:
            self._later.do(work)

    def _check(self, subs: Sequence[SubCommand]) -> None:
        # All or nothing: what can be known to fail must not fail after the main command is done.
        for sub in subs:
            if isinstance(sub, SubLookup):
                try:
                    self._locals.chosen(sub.options)
                except CommandError as error:
                    raise CommandError(3, f"L after &&: {error.reason}") from error

    def _find(self, command: Update) -> Match | None:
        found = self._registry.find(command.call_id, command.from_tag, command.to_tag)
        if found is None and command.to_tag is None and command.notify is not None:
            # Kamailio up to 5.7 joins the notify socket and its tag into one word, so that the
            # to-tag stands where a socket should: still the same call, here of its callee.
            return self._registry.find(command.call_id, command.from_tag, command.notify.socket)
        return found

    def _look_up(
        self,
        party: Leg,
        options: MediaOptions,
        chosen: LocalAddress | None,
        remote: Remote,
        pressing: bool = True,
    ) -> Allocated:
        self._answer(party.opposite, options, chosen, failure=71)

        def enter() -> None:
            self._keep(party.session)
            self._describe(party, options, remote)

        answered = self._allocated(party.opposite)
        self._after(enter, pressing)
        return answered

    def _allocated(self, leg: Leg) -> Allocated:
        assert leg.local is not None, "a leg with a port has an address"
        # Kept, as media that is sent to it must be known to come back to us.
        local = leg.local = self._locals.current(leg.local)
        host = local.advertised or (None if local.wildcard else local.host)
        return Allocated(leg.port, host, ":" in local.host)

    def _create(self, command: Update, chosen: LocalAddress | None) -> Session:
        if self.draining:
            raise CommandError(99, "shutting down, no new sessions")
        if self.too_busy is not None:
            raise CommandError(self.too_busy, "overloaded, no new sessions")
        options = command.options
        try:
            self._registry.admit(command.call_id)
        except TooManySessions as limit:
            raise CommandError(self._no_room, str(limit)) from limit
        key = SessionKey(command.call_id, command.from_tag)
        session = new_session(key, self._clock.seconds(), self._setup_ttl, self._latch)
        session.caller.local, session.callee.local = (
            (chosen, chosen) if chosen is not None else self._locals.sides(options)
        )
        self._open(session.callee, session.callee.local, failure=self._no_room)
        session.strong = not options.weak
        session.callee.weak = options.weak
        return session

    def _answer(
        self, leg: Leg, options: MediaOptions, chosen: LocalAddress | None, failure: int
    ) -> None:
        # The leg whose port is told: it gets sockets if it has none or new ones are wanted.
        session = leg.session
        self._plane.release(session)
        if not leg.port or options.new_port:
            local = chosen or leg.local
            if options.new_port and chosen is None and len(options.sides) == 2:
                local = self._locals.sides(options)[1]
            assert local is not None, "a leg knows its address from its session's creation on"
            self._open(leg, local, failure)
        if options.weak:
            leg.weak = True

    def _keep(self, session: Session) -> None:
        # A command has found it, and it may have got its second leg by that.
        self._registry.touch(session)
        if session.caller.port and session.callee.port:
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
        remote = self._permitted(party, remote)
        asymmetric = self._asymmetric if options.asymmetric is None else options.asymmetric
        party.codecs = options.codecs or ()
        party.packet_ms = options.packet_ms
        self._processing.repacketise(party)
        for stream in party.streams:
            stream.latch.asymmetric = asymmetric
            stream.latch.payload_types = party.codecs
        _note(party, remote, now)
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

    def _permitted(self, party: Leg, remote: Remote) -> Remote:
        """``remote``, but unknown where nothing may be sent there."""
        if remote.address is None:
            return remote
        why = self._destinations.refusal(remote.address, party.local)
        party.rtp.ours = remote.address if why == OWN else None
        if why is None:
            return remote
        now = self._clock.seconds()
        host, port = remote.address
        party.session.timeline.add(
            now, "command", f"{party.side.value}: told to be at {host} port {port}, {why}: refused"
        )
        suppressed = self._budget.admit(why, now)
        if suppressed is not None:
            self._log.warn(
                "call {call_id!r}: nothing is sent to {host} port {port}, {why}"
                " ({suppressed} more were not logged)",
                call_id=party.session.key.call_id,
                host=host,
                port=port,
                why=why,
                suppressed=suppressed,
            )
        return Remote()

    def _notification(
        self, target: NotifyTarget | None, origin: Origin
    ) -> tuple[NotifySocket, bytes] | None:
        if target is None:
            return None
        socket = self._notifier.resolve(target.socket, origin)
        return None if socket is None else (socket, target.tag)

    # Sub-commands.

    def with_subs(
        self, main: Number | Allocated | Text, subs: Sequence[SubCommand], party: Leg
    ) -> Reply:
        """``main`` with the results of ``subs``; ``party`` is the one the command named."""
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
                self._registry.delete(call_id, from_tag, None, weak=weak)
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
            case CatchDigits():
                self._plane.release(party.session)
                return 0 if self._processing.catch_digits(party, sub) else -1

    def _set_tos(self, leg: Leg, tos: int) -> int:
        if leg.local is not None and ":" in leg.local.host:
            return -1
        self._plane.release(leg.session)
        leg.tos = tos
        self._plane.mark(leg)
        return 0

    def _outlet(self, sub: Outlet, party: Leg) -> int:
        source = self._registry.find(sub.call_id, sub.from_tag, sub.to_tag)
        session = party.session
        if source is None or source.session is session:
            return -1
        if session.outlet_of is not None:
            return 0 if session.outlet_of is source.session else -1  # a re-INVITE says it again
        self._plane.release(source.session)
        session.outlet_of = source.session
        for giver, taker in ((source.leg, party.opposite), (source.leg.opposite, party)):
            for given, taken in zip(giver.streams, taker.streams, strict=True):
                given.feeds += (taken,)
        return 0


def _note_to_tag(found: Match, first: str, second: str | None) -> None:
    """Keep the callee's tag; a command names the tag of the party it speaks of first."""
    tag = second if found.leg is found.session.caller else first
    if tag is not None:
        found.session.to_tag = tag


def _note(party: Leg, remote: Remote, now: float) -> None:
    """Into the session's timeline: what a command says of ``party``, before it takes effect."""
    timeline, side = party.session.timeline, party.side.value
    if remote.hold:
        timeline.add(now, "hold", f"{side}: put on hold")
    elif party.held and remote.address is not None:
        timeline.add(now, "hold", f"{side}: off hold")
    if remote.address is not None:
        host, port = remote.address
        what = "still" if remote.address == party.rtp.latch.signalled else "told to be"
        timeline.add(now, "command", f"{side}: {what} at {host} port {port}")
    elif not remote.hold:
        timeline.add(now, "command", f"{side}: named without an address")
