"""Ports that were given back: whose late packets may still come there."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.latch.late import LATEST, Straggler, Stragglers
from rtpproxy_tw.session import Leg

Place = tuple[int, int]
"""Address family, number of the pair."""


@dataclass(slots=True, eq=False)
class _Past:
    """What a leg leaves behind."""

    place: Place
    ended: float
    call_id: str
    ssrc: int | None
    sources: tuple[Address | None, Address | None]
    """Of RTP and of RTCP."""


class Quarantine:
    """Remembers of each pair for ``LATEST`` seconds who sent there in calls that have ended.

    A pair is never refused for it, as a range may have no other left: the new call's latches are
    told whom not to believe there. What is remembered is bounded by the calls of so many seconds.
    """

    def __init__(self) -> None:
        self._pasts: deque[_Past] = deque()
        """The oldest first."""
        self._at: dict[Place, list[_Past]] = {}

    def __len__(self) -> int:
        """How many legs are remembered."""
        return len(self._pasts)

    def leaves(self, leg: Leg, now: float) -> None:
        """``leg`` gives its ports back; its counters are up to date."""
        self._forget(now)
        sources = leg.rtp.latch.source, leg.rtcp.latch.source
        if leg.local is None or sources == (None, None):
            return
        analyzer = leg.rtp.analyzer
        past = _Past(
            place=(leg.local.family, leg.port),
            ended=now,
            call_id=leg.session.key.call_id,
            ssrc=None if analyzer is None else analyzer.ssrc,
            sources=sources,
        )
        self._pasts.append(past)
        self._at.setdefault(past.place, []).append(past)

    def enters(self, leg: Leg, now: float) -> None:
        """``leg`` has been given its ports, perhaps those of other calls before."""
        self._forget(now)
        if leg.local is None or not self._at:
            return
        # A call that comes back under its own name goes on with its own stream.
        call_id = leg.session.key.call_id
        pasts = [
            past
            for past in self._at.get((leg.local.family, leg.port), ())
            if past.call_id != call_id
        ]
        for index, stream in enumerate(leg.streams):
            late = [
                Straggler(source, past.ssrc)
                for past in pasts
                if (source := past.sources[index]) is not None
            ]
            if late:
                stream.latch.shun(Stragglers(late, pasts[-1].ended + LATEST))

    def _forget(self, now: float) -> None:
        pasts = self._pasts
        while pasts and now - pasts[0].ended >= LATEST:
            past = pasts.popleft()
            others = self._at[past.place]
            others.remove(past)
            if not others:
                del self._at[past.place]
