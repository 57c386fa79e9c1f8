"""What this relay hands over, and takes over: the wiring of ``continuity`` to everything else."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import Any

from rtpproxy_tw.continuity.belongings import Luggage, Part, Whole
from rtpproxy_tw.continuity.channel import Channel
from rtpproxy_tw.continuity.giving import Giver
from rtpproxy_tw.continuity.inheritance import Inheritance
from rtpproxy_tw.continuity.taking import Taker
from rtpproxy_tw.flow_succession import CarriedPart
from rtpproxy_tw.media.connecting import disconnect
from rtpproxy_tw.media.userspace import UserspacePlane
from rtpproxy_tw.media_succession import MediaPart
from rtpproxy_tw.registry import SessionRegistry
from rtpproxy_tw.session import Session
from rtpproxy_tw.snapshot.kinds import (
    FLAG,
    TIME,
    Damaged,
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
