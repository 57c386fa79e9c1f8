"""What each command does."""

from __future__ import annotations

from twisted.logger import Logger

from rtpproxy_tw.addresses import Address, canonical, is_peer
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
    Number,
    Origin,
    Play,
    Query,
    Record,
    Reply,
    Statistics,
    StopPlay,
    StopRecord,
    Text,
    Update,
    Version,
)
from rtpproxy_tw.control.access import Networks
from rtpproxy_tw.control.counters import query, statistics
from rtpproxy_tw.control.destinations import Destinations
from rtpproxy_tw.control.features import BASE, FEATURES, NOTIFICATION
from rtpproxy_tw.control.later import Later
from rtpproxy_tw.control.negotiation import Negotiator
from rtpproxy_tw.control.tokens import integer
from rtpproxy_tw.errors import CommandError, PromptRefused, RecordingRefused
from rtpproxy_tw.interfaces import IMediaPlane, INotifier, IPlayers, IRecorders
from rtpproxy_tw.registry import Match, SessionRegistry
from rtpproxy_tw.session import (
    Ending,
    Session,
)
from rtpproxy_tw.statistics import Totals

PROMPT_MS = 10
"""Milliseconds of a prompt's packet, unless the session's codecs are asked for."""

UDP = "udp:"
"""In front of a target of ``C`` that is no file."""


def unknown(call_id: str) -> CommandError:
    """E50: clients ask for sessions long gone as a matter of course."""
    return CommandError(50, f"no session of call {call_id!r} matches the tags")


class Dispatcher:
    """Executes commands on the registry and the recorders; U and L are the negotiator's.

    ``copies`` holds the hosts to which ``C`` may send media, None standing for all.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        registry: SessionRegistry,
        plane: IMediaPlane,
        negotiator: Negotiator,
        recorders: IRecorders,
        players: IPlayers,
        notifier: INotifier,
        totals: Totals,
        destinations: Destinations | None = None,
        copies: Networks | None = None,
        later: Later | None = None,
    ) -> None:
        self._destinations = Destinations() if destinations is None else destinations
        self._copies = copies
        self._registry = registry
        self._plane = plane
        self._negotiator = negotiator
        self._recorders = recorders
        self._players = players
        self._notifier = notifier
        self._totals = totals
        self._later = Later() if later is None else later

    def execute(self, command: Command, origin: Origin) -> Reply:
        """Do what ``command`` says. Raises CommandError where that cannot be done."""
        match command:
            case Update():
                return self._negotiator.update(command, origin)
            case Lookup():
                return self._negotiator.lookup(command)
            case Delete():
                return self._delete(command)
            case Query():
                return self._query(command)
            case Play():
                return self._play(command)
            case StopPlay():
                found = self._change(command.call_id, command.from_tag, command.to_tag)
                self._players.stop(found.leg)
                return Number(0)
            case Record():
                return self._record(command)
            case Copy():
                return self._copy(command)
            case StopRecord():
                return self._stop_recording(command)
            case Statistics():
                self._plane.refresh_all()
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

    def _find(self, call_id: str, first: str, second: str | None) -> Match:
        found = self._registry.find(call_id, first, second)
        if found is None:
            raise unknown(call_id)
        return found

    def _change(self, call_id: str, first: str, second: str | None) -> Match:
        found = self._find(call_id, first, second)
        self._plane.release(found.session)
        return found

    def _change_all(self, call_id: str, first: str, second: str | None) -> list[Match]:
        found = self._registry.matching(call_id, first, second)
        if not found:
            raise unknown(call_id)
        for session, _ in found:
            self._plane.release(session)
        return found

    def _delete(self, command: Delete) -> Reply:
        if not self._registry.delete(
            command.call_id, command.from_tag, command.to_tag, weak=command.weak, end=self._end
        ):
            raise unknown(command.call_id)
        return Number(0)

    def _end(self, session: Session, why: Ending) -> None:
        # Nobody can look for it before it has ended.
        self._later.do(lambda: self._registry.end(session, why))

    def _query(self, command: Query) -> Reply:
        found = self._find(command.call_id, command.from_tag, command.to_tag)
        self._plane.refresh(found.session)
        answer = Text(query(command, found, self._registry), overflow=26)
        return self._negotiator.with_subs(answer, command.subs, found.leg)

    def _play(self, command: Play) -> Reply:
        found = self._change(command.call_id, command.from_tag, command.to_tag)
        leg = found.leg
        codecs, packet_ms = leg.codecs, leg.opposite.packet_ms or PROMPT_MS
        if command.codecs is not None:
            codecs, packet_ms = _payload_types(command.codecs), PROMPT_MS
        elif not codecs:
            raise CommandError(35, "P with codecs 'session', but the party has no codec list")
        if command.count == 0:
            self._players.stop(leg)
            return Number(0)
        try:
            self._players.play(leg, command.prompt, codecs, command.count, packet_ms)
        except PromptRefused as refusal:
            raise CommandError(60, str(refusal)) from refusal
        return Number(0)

    def _record(self, command: Record) -> Reply:
        started = 0
        for _, leg in self._change_all(command.call_id, command.from_tag, command.to_tag):
            try:
                self._recorders.record(leg, None, command.single)
            except RecordingRefused as refusal:
                self._log.info("not recorded: {reason}", reason=str(refusal))
            else:
                started += 1
                self._registry.note(leg, "recording", "recording begins")
        return Number(0) if started else Failed(50)

    def _copy(self, command: Copy) -> Reply:
        found = self._change(command.call_id, command.from_tag, command.to_tag)
        if command.target.startswith(UDP):
            return self._copy_to(found, command)
        if command.show_port:
            raise CommandError(65, f"modifier 'p', but {command.target!r} is a file")
        try:
            self._recorders.record(found.leg, command.target, command.single)
        except RecordingRefused as refusal:
            raise CommandError(65, str(refusal)) from refusal
        self._registry.note(found.leg, "recording", "recording begins")
        return Number(0)

    def _copy_to(self, found: Match, command: Copy) -> Reply:
        try:
            host, port = self._recorders.copy(found.leg, self._copy_target(found, command))
        except RecordingRefused as refusal:
            raise CommandError(65, str(refusal)) from refusal
        return Allocated(port, host, ":" in host) if command.show_port else Number(0)

    def _copy_target(self, found: Match, command: Copy) -> Address:
        """Where copies go. Raises CommandError 65 where none may go."""
        target = _udp_target(command.target)
        why = self._destinations.refusal(target, found.leg.local)
        if why is None and self._copies is not None and target[0] not in self._copies:
            why = "not among those that copies may go to; see --copy-allow"
        if why is not None:
            raise CommandError(65, f"cannot copy to {command.target!r}: {why}")
        return target

    def _stop_recording(self, command: StopRecord) -> Reply:
        stopped = 0
        for session, leg in self._change_all(command.call_id, command.from_tag, command.to_tag):
            for each in session.legs if command.both else (leg,):
                if self._recorders.stop(each):
                    stopped += 1
                    self._registry.note(each, "recording", "recording ends")
        return Number(0) if stopped else Failed(50)

    def _info(self, command: Info) -> Reply:
        self._plane.refresh_all()
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


def _payload_types(codecs: str) -> tuple[int, ...]:
    """The numbers in a list of codecs up to the first that is none, as the original reads it."""
    found: list[int] = []
    for item in codecs.split(","):
        number = integer(item.encode("utf-8", "surrogateescape"))
        if number is None:
            break
        found.append(number)
    return tuple(found)


def _udp_target(target: str) -> Address:
    """The address in ``udp:HOST:PORT``; IPv6 hosts may be in brackets. Raises CommandError 65."""
    host, _, port = target.removeprefix(UDP).rpartition(":")
    try:
        host, number = canonical(host.removeprefix("[").removesuffix("]")), int(port)
    except ValueError:
        number = 0
    # RTCP goes to the next port.
    if not 0 < number < 65535 or not is_peer(host):
        raise CommandError(65, f"cannot copy to {target!r}: not a numeric address and port")
    return host, number
