"""What was heard from sources that are not believed yet: a bounded notebook of evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.rtp import Header, is_handshake, peek

MOST_CANDIDATES = 16
"""Per stream; a real party needs one, the rest is for strangers."""

IDLE = 2.0
"""Seconds of silence after which what was noted of a source no longer protects it."""

BURST = 0.005
"""Seconds; packets closer than this tell no more than one, as anybody can send a burst blindly."""

STRIDE = 50
"""How far RTP sequence numbers may step from one packet to the next, and back by reordering."""

SHORTEST = 12
"""Octets; what is shorter than an RTP header tells nothing of a foreign source."""

ENOUGH = 5
"""Packets, bursts counted as one, that make a foreign source believable ..."""

LONG_ENOUGH = 0.06
"""... if they span so many seconds."""


@dataclass(slots=True, eq=False)
class Candidate:
    """The evidence for one source."""

    source: Address
    since: float
    heard: float
    """Its last datagram, whatever it was."""
    run: int = 0
    """Consistent datagrams in a row: the same SSRC going forward, or simply not RTP."""
    spaced: int = 0
    """The same with bursts counted as one, and without what is too short."""
    first: float = 0.0
    last: float = -inf
    """When the first and the last of ``spaced`` came."""
    ssrc: int | None = None
    sequence: int = 0
    offered: bool = False
    """Whether it ever sent a payload type that the party offered."""

    @property
    def eligible(self) -> bool:
        """Whether it sent enough, for long enough, to be believed without being signalled."""
        return self.spaced >= ENOUGH and self.last - self.first >= LONG_ENOUGH

    def hear(self, datagram: bytes, now: float, offered: tuple[int, ...]) -> None:
        """Take one datagram into account; ``offered`` are the payload types to be expected."""
        self.heard = now
        header = peek(datagram)
        if header is not None:
            if not self._follows(header):
                return
            self.offered = self.offered or header.payload_type in offered
        elif is_handshake(datagram):
            return
        self.run += 1
        if len(datagram) >= SHORTEST and now - self.last >= BURST:
            if not self.spaced:
                self.first = now
            self.spaced += 1
            self.last = now

    def _follows(self, header: Header) -> bool:
        """False for what is late or repeated; what does not fit at all starts a new run."""
        if header.ssrc == self.ssrc:
            step = (header.sequence - self.sequence) & 0xFFFF
            if step == 0 or step >= 0x10000 - STRIDE:
                return False
            consistent = step <= STRIDE
        else:
            consistent = self.ssrc is None
        if not consistent:
            self.run = self.spaced = 0
            self.last = -inf
        self.ssrc, self.sequence = header.ssrc, header.sequence
        return True


class Candidates:
    """The candidates of one stream, at most ``MOST_CANDIDATES``."""

    __slots__ = ("_noted",)

    def __init__(self) -> None:
        self._noted: dict[Address, Candidate] = {}

    def __len__(self) -> int:
        return len(self._noted)

    def __contains__(self, source: Address) -> bool:
        return source in self._noted

    def note(self, source: Address, now: float, keep: Address | None) -> Candidate | None:
        """The page for ``source``; None where there is no room for another one.

        ``keep`` is the believed source, which never has to make room.
        """
        found = self._noted.get(source)
        if found is not None:
            return found
        if len(self._noted) >= MOST_CANDIDATES and not self._make_room(source, now, keep):
            return None
        made = self._noted[source] = Candidate(source, now, now)
        return made

    def alive(self, now: float, within: float) -> Iterator[Candidate]:
        """Those heard in the last ``within`` seconds."""
        return (each for each in self._noted.values() if now - each.heard < within)

    def latest_of(self, host: str) -> Candidate | None:
        """The candidate at ``host`` that was heard last."""
        there = [each for each in self._noted.values() if each.source[0] == host]
        return max(there, key=lambda each: each.heard, default=None)

    def _make_room(self, newcomer: Address, now: float, keep: Address | None) -> bool:
        """Drop one that has proved least. False where all have proved more than a newcomer.

        A spray comes from many ports of few hosts, so of equals the hosts with most entries
        lose. Which one of those is left to the hash: dropping the oldest would let a fast enough
        spray push out the party, which has sent one packet so far, before its second one.
        """
        crowd = Counter(host for host, _ in self._noted)
        others = [each for each in self._noted.values() if each.source != keep]
        least = min(_worth(each, now) for each in others)
        if least > 1:
            others = [each for each in others if crowd[each.source[0]] > 1]
            if not others:
                return False
            least = min(_worth(each, now) for each in others)
        others = [each for each in others if _worth(each, now) == least]
        most = max(crowd[each.source[0]] for each in others)
        others = [each for each in others if crowd[each.source[0]] == most]
        del self._noted[others[hash(newcomer) % len(others)].source]
        return True


def _worth(candidate: Candidate, now: float) -> int:
    return candidate.run if now - candidate.heard < IDLE else 0
