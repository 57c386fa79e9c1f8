"""What the kernel carries goes on being carried while one process follows another.

The new process has the very maps, programs and links of the old one, so nothing has to be done to
the flows: the old one says how much of each is in its counters, and the new one counts the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.media.carrier import Carrier
from rtpproxy_tw.media.fastpath import Offloader
from rtpproxy_tw.session import Session, Stream
from rtpproxy_tw.snapshot.kinds import COUNT, either, row


class CarriedPart:
    """How much of the flows of a session was counted, by a process that leaves them as they are."""

    name = "carried"

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._waiting: list[tuple[Session, dict[Stream, tuple[int, ...]]]] = []

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part; None where nothing of it is carried, or no longer."""
        path = self._carrier.path
        if not isinstance(path, Offloader):
            return None
        rows = [[path.told(stream) for stream in leg.streams] for leg in session.legs]
        return rows if any(told is not None for leg in rows for told in leg) else None

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part. The flows are not touched before :meth:`resume`."""
        rows = CARRIED.unpack(value, shift)
        told = {
            stream: counted
            for leg, counts in zip(session.legs, rows, strict=True)
            for stream, counted in zip(leg.streams, counts, strict=True)
            if counted is not None
        }
        self._waiting.append((session, told))

    # What the two processes agree on.

    def shape(self) -> Mapping[str, object]:
        """Of what is in the kernel; empty where nothing can be gone on with there."""
        return self._carrier.shape()

    def are_left(self, shape: object) -> bool:
        """Whether flows may stay: another process, of that ``shape``, goes on with them."""
        return bool(self.shape()) and dict(self.shape()) == shape

    def leave(self) -> None:
        """Nothing of what the kernel has told is still to be heard, when it is packed."""
        if isinstance(self._carrier.path, Offloader):
            self._carrier.path.drain()

    def resume(self) -> None:
        """All sessions are there: go on with their flows, and take back what else there is."""
        waiting, self._waiting = self._waiting, []
        path = self._carrier.path
        for session, told in waiting:
            if isinstance(path, Offloader) and session.ended is None:
                path.resume(session, told, exactly=True)
        self._carrier.settle()


_FLOW = either(row(COUNT, COUNT, COUNT, COUNT, COUNT))
CARRIED = row(row(_FLOW, _FLOW), row(_FLOW, _FLOW))
"""Packets, octets, refused, failed and copies missed; of the caller's RTP and RTCP, then the
callee's."""
