"""What this relay leaves to the one after a crash: the wiring of the testament to everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import MultiService

from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.continuity.heirlooms import KERNEL
from rtpproxy_tw.continuity.inheritance import LISTENER
from rtpproxy_tw.continuity.safe import Safe, is_name
from rtpproxy_tw.continuity.testament import TICK, Testament
from rtpproxy_tw.control.replies import ReplyCache
from rtpproxy_tw.control_succession import REPLY
from rtpproxy_tw.interfaces import IFastPath
from rtpproxy_tw.media.fastpath import Offloader
from rtpproxy_tw.session import Leg, Session, Stream
from rtpproxy_tw.snapshot.kinds import COUNT, TIME, Damaged, either, row
from rtpproxy_tw.timers import every


class Lapse:
    """The time from the writing of a record to its reading is nobody's silence."""

    name = "written"

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part; whoever writes adds it."""

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part."""
        lost = max(0.0, self._now() - TIME.unpack(value, shift))
        session.touched += lost
        for leg in session.legs:
            leg.last_active += lost if leg.last_active else 0.0


class KeptPart:
    """Under which names the sockets of a session are kept."""

    name = "kept"

    def __init__(self, testament: Testament) -> None:
        self._testament = testament

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part."""
        return {side.value: name for side, name in self._testament.names(session).items()} or None

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part."""
        if type(value) is not dict:
            raise Damaged("no object")
        for leg in session.legs:
            name = value.get(leg.side.value)
            if name is not None:
                if type(name) is not str or not is_name(name):
                    raise Damaged(f"{name!r:.80} is no name")
                self._testament.claim(leg, name)


class KeptNames:
    """All names in use, so that a new process takes others, and forgets what nobody claims."""

    name = "kept names"

    def __init__(self, safe: Safe) -> None:
        self._safe = safe

    def pack(self, luggage: Luggage) -> Any:
        """See Whole."""
        return sorted(self._safe.names)

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""
        if type(value) is not list:
            raise Damaged("no list")
        self._safe.expect(name for name in value if type(name) is str and is_name(name))


class FreshReplies:
    """What was answered since it was last asked."""

    def __init__(self, caches: Callable[[], Mapping[str, ReplyCache]]) -> None:
        self._caches = caches

    def __call__(self) -> dict[str, list[Any]]:
        """By control socket, as :class:`~rtpproxy_tw.succession.Replies` reads it."""
        found = {}
        for name, cache in self._caches().items():
            fresh, cache.fresh = cache.fresh, []
            if fresh and REPLY.pack is not None:
                found[name] = [REPLY.pack(entry) for entry in fresh]
        return found


class Bequest(MultiService):
    """Writes the testament while the relay runs."""

    def __init__(self, testament: Testament, reactor: Any) -> None:
        super().__init__()
        self._testament = testament
        every(TICK, reactor, testament.tick).setServiceParent(self)

    def startService(self) -> None:
        """Begin to write."""
        self._testament.start()
        super().startService()

    def stopService(self) -> object:
        """An end in order leaves nothing."""
        self._testament.stop()
        return super().stopService()


class FlowPart:
    """How much of what the kernel carries of a session was in its counters before a crash.

    A relay that hands over says it exactly (:mod:`rtpproxy_tw.flow_succession`), and nothing here
    (``writing`` False).
    """

    name = "flows"

    def __init__(self, path: IFastPath, *, writing: bool) -> None:
        self._path = path
        self._writing = writing

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part."""
        if not self._writing or not isinstance(self._path, Offloader):
            return None
        return [[self._told(stream) for stream in leg.streams] for leg in session.legs]

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part."""
        rows = FLOWS.unpack(value, shift)
        if not isinstance(self._path, Offloader):
            return
        told = {
            stream: (*counted, 0)
            for leg, counts in zip(session.legs, rows, strict=True)
            for stream, counted in zip(leg.streams, counts, strict=True)
            if counted is not None
        }
        self._path.resume(session, told)

    def _told(self, stream: Stream) -> list[int] | None:
        told = self._path.told(stream) if isinstance(self._path, Offloader) else None
        # Copies that were missed before the crash are not told of again.
        return None if told is None else told[:4]


FLOW = either(row(COUNT, COUNT, COUNT, COUNT))
FLOWS = row(row(FLOW, FLOW), row(FLOW, FLOW))
"""Packets, octets, refused and failed; of the caller's RTP and RTCP, then the callee's."""


class Shape:
    """What is in the kernel, so that a later process knows whether it is of its kind."""

    name = "shape"

    def __init__(self, shape: Callable[[], Mapping[str, object]]) -> None:
        self._shape = shape

    def pack(self, luggage: Luggage) -> Any:
        """See Whole."""
        return dict(self._shape())

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole; it was needed earlier."""


def deposits(
    listening: Callable[[], Mapping[str, int]], kernel: Callable[[], Mapping[str, int]]
) -> Callable[[], dict[str, int]]:
    """What is kept, by what it is for."""
    return lambda: {
        **{LISTENER + name: descriptor for name, descriptor in listening().items()},
        **{KERNEL + name: descriptor for name, descriptor in kernel().items()},
    }


def sockets_of(plane: Any) -> Callable[[Leg], tuple[int, int] | None]:
    """How to ask ``plane`` for the descriptors of a leg."""

    def find(leg: Leg) -> tuple[int, int] | None:
        found = plane.sockets(leg)
        return None if found is None else (found[0].fileno(), found[1].fileno())

    return find
