"""What this relay hands over, and takes over: the wiring of ``continuity`` to everything else."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import Any

from twisted.logger import Logger

from rtpproxy_tw.continuity.belongings import Luggage, Part, Whole
from rtpproxy_tw.continuity.channel import MOST_DESCRIPTORS, Channel
from rtpproxy_tw.continuity.giving import Giver
from rtpproxy_tw.continuity.inheritance import Inheritance
from rtpproxy_tw.continuity.taking import Taker
from rtpproxy_tw.control.factories import ControlFactory
from rtpproxy_tw.control.framing import Carried
from rtpproxy_tw.control.replies import ReplyCache
from rtpproxy_tw.errors import PromptRefused
from rtpproxy_tw.flow_succession import CarriedPart
from rtpproxy_tw.media.codecs import FRAMINGS
from rtpproxy_tw.media.connecting import disconnect
from rtpproxy_tw.media.player import Players
from rtpproxy_tw.media.userspace import UserspacePlane
from rtpproxy_tw.registry import SessionRegistry
from rtpproxy_tw.session import Leg, Session
from rtpproxy_tw.snapshot.kinds import (
    ADDRESS,
    COUNT,
    FLAG,
    OCTETS,
    TIME,
    Damaged,
    integer,
    row,
    text,
)
from rtpproxy_tw.statistics import Totals


@contextmanager
def uncollected(*, lasting: bool = False) -> Iterator[None]:
    """Make many objects, none of them garbage, without the collector looking at them.

    ``lasting``: nor is it to look at them afterwards, which would be the first thing that it does.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
        if lasting:
            gc.freeze()
    finally:
        if was:
            gc.enable()


class MediaPart:
    """The sockets of a session."""

    name = "media"

    def __init__(self, plane: UserspacePlane) -> None:
        self._plane = plane

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part."""
        found = {}
        for leg in session.legs:
            sockets = self._plane.sockets(leg)
            if sockets is not None:
                found[leg.side.value] = [luggage.add(each.fileno()) for each in sockets]
        return found

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part."""
        if type(value) is not dict:
            raise Damaged("no object")
        found: dict[Leg, tuple[socket.socket, socket.socket]] = {}
        try:
            for leg in session.legs:
                if leg.port:
                    found[leg] = _pair(leg, value.get(leg.side.value), luggage)
        except BaseException:
            for pair in found.values():
                for each in pair:
                    each.close()
            raise
        try:
            self._plane.adopt(found)
        except OSError as error:
            raise Damaged(f"its sockets cannot be read: {error}") from None


def _pair(leg: Leg, numbers: Any, luggage: Luggage) -> tuple[socket.socket, socket.socket]:
    local = leg.local
    if type(numbers) is not list or len(numbers) != 2 or local is None:
        raise Damaged("a port without sockets")
    kind = socket.SOCK_DGRAM
    rtp = luggage.socket(numbers[0], local.family, kind, (local.host, leg.port))
    try:
        rtcp = luggage.socket(numbers[1], local.family, kind, (local.host, leg.port + 1))
    except BaseException:
        rtp.close()
        raise
    return rtp, rtcp


class PromptPart:
    """What is being played to the parties of a session."""

    _log = Logger()
    name = "prompts"

    def __init__(self, players: Players) -> None:
        self._players = players

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part."""
        found = {}
        for leg in session.legs:
            player = self._players.playing(leg)
            if player is not None:
                frames = player.ticks // FRAMINGS[player.payload_type].ticks
                numbers = [player.ssrc, player.sequence, player.timestamp, player.marker]
                place = list(player.track.place)
                found[leg.side.value] = [player.name, player.payload_type, frames, place, numbers]
        return found or None

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part."""
        if type(value) is not dict:
            raise Damaged("no object")
        for leg in session.legs:
            if leg.side.value in value:
                try:
                    self._players.go_on(leg, *PLAYING.unpack(value[leg.side.value], shift))
                except PromptRefused as refusal:
                    self._log.error("a prompt does not go on: {reason}", reason=str(refusal))


_U32 = integer(0, 0xFFFFFFFF)
PLAYING = row(
    text(4096),
    integer(0, 127),
    integer(1, 1000),
    row(COUNT, integer()),
    row(_U32, integer(0, 0xFFFF), _U32, integer(0, 0x80)),
)
"""File, payload type, frames a packet, place in the file, numbers of the next packet."""


class Counters:
    """The totals."""

    name = "totals"

    def __init__(self, totals: Totals) -> None:
        self._totals = totals

    def pack(self, luggage: Luggage) -> Any:
        """See Whole."""
        return {field.name: getattr(self._totals, field.name) for field in fields(Totals)}

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""
        if type(value) is not dict:
            raise Damaged("no object")
        for field in fields(Totals):
            number = value.get(field.name, 0)
            if type(number) not in (int, float):
                raise Damaged(f"{field.name}: {number!r:.80} is no number")
            setattr(self._totals, field.name, number)


class Replies:
    """What was answered lately over UDP, and may be asked for again."""

    name = "replies"

    def __init__(self, caches: Callable[[], Mapping[str, ReplyCache]], now: Callable[[], float]):
        self._caches = caches
        self._now = now

    def pack(self, luggage: Luggage) -> Any:
        """See Whole."""
        now = self._now()
        return {
            name: [REPLY.pack(entry) for entry in cache.entries(now)]
            for name, cache in self._caches().items()
            if REPLY.pack is not None
        }

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""
        if type(value) is not dict:
            raise Damaged("no object")
        for name, cache in self._caches().items():
            for entry in value.get(name, ()):
                cache.store(*REPLY.unpack(entry, shift))


REPLY = row(ADDRESS, OCTETS, OCTETS, OCTETS, TIME)


class Connections:
    """Control connections, but for those over TLS: what is agreed on there cannot be passed on."""

    _log = Logger()
    name = "connections"

    def __init__(self, factories: Callable[[], Mapping[str, ControlFactory]], reactor: Any) -> None:
        self._factories = factories
        self._reactor = reactor

    def pack(self, luggage: Luggage) -> Any:
        """See Whole."""
        carried = [
            (name, found)
            for name, factory in self._factories().items()
            for found in (each.carried() for each in factory.connections)
            if found is not None
        ]
        if len(carried) > MOST_DESCRIPTORS:
            count = len(carried) - MOST_DESCRIPTORS
            self._log.warn("{count} control connections are closed: too many", count=count)
        rows: dict[str, list[list[Any]]] = {}
        for name, found in carried[:MOST_DESCRIPTORS]:
            assert PENDING.pack is not None
            entry = [luggage.add(found.descriptor), *PENDING.pack(found[1:])]
            rows.setdefault(name, []).append(entry)
        return rows

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""
        factories = self._factories()
        if type(value) is not dict:
            raise Damaged("no object")
        for name, rows in value.items():
            factory = factories.get(name)
            for entry in rows if factory is not None and type(rows) is list else ():
                if type(entry) is not list:
                    raise Damaged("no connection")
                pending = PENDING.unpack(entry[1:], shift)
                self._adopt(luggage, entry[0], pending, factory)

    def _adopt(self, luggage: Luggage, number: Any, pending: Any, factory: Any) -> None:
        descriptor = luggage.take(number)
        try:
            with socket.socket(fileno=descriptor) as passed:
                if passed.type != socket.SOCK_STREAM:
                    raise Damaged("a connection that is none")
                passed.setblocking(False)
                made = self._reactor.adoptStreamConnection(descriptor, passed.family, factory)
        except OSError as error:
            # Its client has gone meanwhile.
            self._log.info("a control connection is not gone on with: {error}", error=error)
            return
        if made is not None:
            made.protocol.go_on(Carried(descriptor, *pending))


PENDING = row(OCTETS, OCTETS, FLAG)
"""Unsent, unread, relaxed."""


class Flag:
    """Something that is so or not."""

    def __init__(self, name: str, get: Callable[[], bool], put: Callable[[], object]) -> None:
        """``put`` makes it so."""
        self.name = name
        self._get = get
        self._put = put

    def pack(self, luggage: Luggage) -> Any:
        """See Whole."""
        return self._get()

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""
        if FLAG.unpack(value, shift):
            self._put()


class Standstill:
    """Since when nobody has relayed: that is nobody's silence, however short the time to live."""

    name = "standstill"

    def __init__(self, registry: SessionRegistry, now: Callable[[], float]) -> None:
        self._registry = registry
        self._now = now

    def pack(self, luggage: Luggage) -> Any:
        """See Whole; to be the first of all."""
        return self._now()

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""
        self._registry.stood_still_since(TIME.unpack(value, shift))


class Succession:
    """Hands this relay over, and takes another one over. The reactor must not run meanwhile.

    ``first`` is told before the sessions, ``last`` after them; ``adopted`` is called for each
    session that was taken over, ``abandoned`` for each whose record proved damaged midway,
    ``inherited`` when all was taken over after a crash, ``left`` when another relay has all,
    ``giving`` some tenths of a second before anything is handed over.
    What ``lasting`` parts say of a session goes ahead, as its sockets do; what ``parts`` say, when
    nobody relays any more. ``flows`` are those that the kernel may carry meanwhile.
    """

    def __init__(
        self,
        *,
        registry: SessionRegistry,
        plane: UserspacePlane,
        totals: Totals,
        now: Callable[[], float],
        parts: Sequence[Part] = (),
        lasting: Sequence[Part] = (),
        first: Sequence[Whole] = (),
        last: Sequence[Whole] = (),
        adopted: Sequence[Callable[[Session], None]] = (),
        abandoned: Sequence[Callable[[Session], None]] = (),
        inherited: Sequence[Callable[[], object]] = (),
        left: Sequence[Callable[[], object]] = (),
        giving: Sequence[Callable[[], object]] = (),
        descriptors: Callable[[], Mapping[str, int]] = dict,
        shape: Callable[[], Mapping[str, object]] = dict,
        flows: CarriedPart | None = None,
        version: str = "",
    ) -> None:
        self.descriptors = descriptors
        """Those of all listening sockets, and of what is in the kernel, by name."""
        self.shape = shape
        """Of what is in the kernel."""
        self._registry = registry
        self._plane = plane
        self._flows = flows
        self._now = now
        self._lasting: tuple[Part, ...] = (MediaPart(plane), *lasting)
        self._others: tuple[Part, ...] = (*parts, *((flows,) if flows else ()))
        self._first: tuple[Whole, ...] = (
            Standstill(registry, now),
            Counters(totals),
            *first,
        )
        self._last = tuple(last)
        self._adopted = tuple(adopted)
        self._abandoned = tuple(abandoned)
        self._inherited = tuple(inherited)
        self._left = tuple(left)
        self._giving = tuple(giving)
        self._version = version

    def giver(self, channel: Channel) -> Giver:
        """Hands everything over, by and by; :meth:`give` is its last step."""
        for call in self._giving:
            call()
        return Giver(
            channel,
            sessions=lambda: self._registry,
            lasting=self._lasting,
            parts=self._others,
            first=self._first,
            last=self._last,
            now=self._now,
        )

    def give(self, giver: Giver) -> None:
        """Nobody relays from now on; returns when the other relay serves. Raises HandoverError."""
        # Before anything is counted. What is connected to its party would hear nobody else over
        # there; and what a kernel carries is left to it where the other relay goes on with that.
        lasting = self._flows is not None and self._flows.are_left(giver.hello.get("kernel"))
        if lasting and self._flows is not None:
            self._flows.leave()
        for session in self._registry:
            if lasting:
                self._plane.refresh(session)
            else:
                self._plane.release(session)
        with uncollected():
            giver.finish()

    def take(self, channel: Channel, *, strict: bool = True) -> int:
        """Take everything over; how many sessions. Raises HandoverError or Damaged."""
        taker = self.taker(strict=strict)
        kernel = None if self._flows is None else dict(self._flows.shape())
        with uncollected(lasting=True):
            taker.take(channel, self._version, kernel)
            self._plane.claim()
            if self._flows is not None:
                self._flows.resume()
        return taker.taken

    def inherit(self, inheritance: Inheritance) -> int:
        """Go on where a crash ended another process; how many sessions. Raises nothing."""
        taker = self.taker(strict=False)
        with uncollected(lasting=True):
            inheritance.bequeath(taker, self._now())
            self._hear_everybody()
            self._plane.claim()
            inheritance.close()
            for call in self._inherited:
                call()
        return taker.taken

    def _hear_everybody(self) -> None:
        """After a crash: a socket that is connected to its party would hear nobody else."""
        for session in self._registry:
            for leg in session.legs:
                for each in self._plane.sockets(leg) or ():
                    with suppress(OSError):
                        each.getpeername()
                        disconnect(each)

    def leave(self) -> None:
        """Another relay has it all: finish what only this process can."""
        for call in self._left:
            call()

    def taker(self, *, strict: bool) -> Taker:
        """What makes ours of what it is given."""
        return Taker(
            parts=(*self._lasting, *self._others),
            wholes=(*self._first, *self._last),
            now=self._now,
            admit=self._admit,
            abandon=self._abandon,
            find=self._registry.named,
            strict=strict,
            prepared=self._plane.claim,
        )

    def _admit(self, session: Session) -> None:
        for leg in session.legs:
            if leg.port and leg.rtp.sender is None:
                raise Damaged("a port without sockets")
        self._registry.adopt(session)
        for call in self._adopted:
            call(session)

    def _abandon(self, session: Session) -> None:
        for leg in session.legs:
            self._plane.close(leg)
        for call in self._abandoned:
            call(session)
