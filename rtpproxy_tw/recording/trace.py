"""The last seconds of every session's packets, first octets only, to be looked at afterwards.

A ring of fixed size per session is written while packets pass, and is read only when somebody
asks for it, which may be after the trouble or after the call. What a packet leaves is ``SLOT``
octets; older ones are overwritten. Times are monotonic until a file is made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple, Protocol

from zope.interface import implementer

from rtpproxy_tw.addresses import Address, LocalAddress
from rtpproxy_tw.interfaces import IPatientTap, ISessionObserver
from rtpproxy_tw.recording import pcap
from rtpproxy_tw.session import Ending, Session, Stream

KEPT_OCTETS = 64
"""Of a datagram: any RTP header, and most of an RTCP report."""

PACKETS_PER_SECOND = 104
"""What a ring is made for: two directions of audio in packets of 20 ms, and their RTCP."""

ENDED_KEPT = 32
"""Sessions whose rings outlive them: trouble is mostly noticed when the call is over."""

_RECORD = Struct("=IIII")
"""Head of a pcap record: seconds, microseconds, octets kept, octets there were."""

_SLOT = Struct(f"=dBxH4x{KEPT_OCTETS}s")
SLOT = _SLOT.size

_pack_into = _SLOT.pack_into


class Place(NamedTuple):
    """Where a stream's packets arrive, or arrived at a relay before us."""

    stream: Stream | None
    host: str | None
    port: int


Packet = tuple[float, Place, Address, bytes, int]
"""When, where, from whom, the first octets, the whole length."""


def packets_of(
    octets: bytes | bytearray,
    sources: Sequence[Address | None],
    places: Sequence[Place],
    order: Iterable[int],
) -> Iterator[Packet]:
    """What is in those slots, which are counted round."""
    count = len(sources)
    for index in order:
        source = sources[index % count]
        when, place, length, kept = _SLOT.unpack_from(octets, index % count * SLOT)
        if source is not None:
            yield when, places[place], source, kept[: min(length, KEPT_OCTETS)], length


class Former(Protocol):
    """What a relay before us has heard."""

    def packets(self, call_id: str) -> Iterator[list[Packet]]:
        """Of each session of that call, oldest first."""


class Ring:
    """The packets of one session: slots in ``octets``, of which the next one is written ``at``."""

    __slots__ = ("at", "octets", "places", "sources", "wrapped")

    def __init__(self, packets: int) -> None:
        self.octets = bytearray(packets * SLOT)
        self.sources: list[Address | None] = [None] * packets
        self.places: list[Place] = []
        self.at = 0
        self.wrapped = False

    def place(self, stream: Stream) -> int:
        """The number by which packets of ``stream`` are known, given where it listens now."""
        leg = stream.leg
        new = Place(stream, None if leg.local is None else leg.local.host, stream.port)
        for number, known in enumerate(self.places):
            if known == new:
                return number
        if len(self.places) == 256:  # a stream that moves at every packet
            return 255
        self.places.append(new)
        return len(self.places) - 1

    def put(self, place: int, datagram: bytes, source: Address, now: float) -> None:
        """Keep one packet."""
        at = self.at
        length = len(datagram)
        _pack_into(self.octets, at * SLOT, now, place, length, datagram)
        self.sources[at] = source
        at += 1
        if at == len(self.sources):
            at = 0
            self.wrapped = True
        self.at = at

    def packets(self) -> Iterator[Packet]:
        """Oldest first."""
        count = len(self.sources)
        order = range(self.at, self.at + count) if self.wrapped else range(self.at)
        return packets_of(self.octets, self.sources, self.places, order)


@implementer(IPatientTap)
class HeaderTap:
    """Puts the packets of one stream into its session's ring."""

    __slots__ = ("_now", "_number", "_port", "_ring")

    def __init__(self, ring: Ring, now: Callable[[], float]) -> None:
        self._ring = ring
        self._now = now
        self._port = -1
        self._number = 0

    def heard(self, stream: Stream, datagram: bytes, source: Address) -> None:
        """See ITap."""
        port = stream.leg.port
        if port != self._port:  # a command may have moved it
            self._port = port
            self._number = self._ring.place(stream)
        self._ring.put(self._number, datagram, source, self._now())

    def missed(self, stream: Stream, count: int) -> None:
        """See IPatientTap. Nothing says that it has every packet."""


@implementer(ISessionObserver)
class HeaderRings:
    """The rings of all sessions. ``seconds`` is how far back they reach; 0: there are none.

    ``now`` gives monotonic seconds, ``wall`` those since the epoch; ``local_host`` is the local
    address that routes to a remote host, for sockets bound to all addresses, and may raise
    OSError. ``arrival`` gives monotonic seconds too: when the packet came that a tap hears.
    """

    def __init__(
        self,
        *,
        seconds: float,
        now: Callable[[], float],
        wall: Callable[[], float],
        local_host: Callable[[str], str],
        arrival: Callable[[], float] | None = None,
    ) -> None:
        self.seconds = seconds
        self._now = now
        self._arrival = now if arrival is None else arrival
        self._wall = wall
        self._local_host = local_host
        self._rings: dict[Session, Ring] = {}
        self._ended: deque[Session] = deque()
        self.former: Former | None = None

    def created(self, session: Session) -> None:
        """Begin a ring."""
        if not self.seconds:
            return
        ring = self._rings[session] = Ring(max(8, round(self.seconds * PACKETS_PER_SECOND)))
        for leg in session.legs:
            for stream in leg.streams:
                tap = HeaderTap(ring, self._arrival)
                stream.taps += (tap,)
                stream.stranger = tap  # they may be what the trouble is about

    def completed(self, session: Session) -> None:
        """Nothing."""

    def ended(self, session: Session, why: Ending) -> None:
        """Keep the ring for a while."""
        if session not in self._rings:
            return
        self._ended.append(session)
        if len(self._ended) > ENDED_KEPT:
            del self._rings[self._ended.popleft()]

    def pcap(self, call_id: str) -> Iterator[bytes] | None:
        """A capture file of a call, in pieces; None where there is no such call."""
        rings = [ring for session, ring in self._rings.items() if session.key.call_id == call_id]
        earlier = list(self.former.packets(call_id)) if self.former is not None else []
        return self._file(rings, earlier) if rings or earlier else None

    def all(self) -> Iterator[tuple[str, Ring]]:
        """The rings there are, and the calls they belong to."""
        return ((session.key.call_id, ring) for session, ring in self._rings.items())

    def _file(self, rings: list[Ring], earlier: list[list[Packet]]) -> Iterator[bytes]:
        yield pcap.header()
        epoch = self._wall() - self._now()
        packets = [packet for each in earlier for packet in each]
        packets += [packet for ring in rings for packet in ring.packets()]
        packets.sort(key=lambda packet: packet[0])
        for number, (when, place, source, octets, length) in enumerate(packets):
            local = (self._local(place, source[0]), place.port)
            yield _record(octets, length, source, local, epoch + when, number)

    def _local(self, place: Place, remote: str) -> str:
        host = place.host or ("::" if ":" in remote else "0.0.0.0")
        if not LocalAddress(host).wildcard:
            return host
        try:
            return self._local_host(remote)
        except OSError:
            return host


def _record(
    octets: bytes, length: int, source: Address, local: Address, when: float, number: int
) -> bytes:
    """A record of a pcap file that says how long the packet was and holds its beginning."""
    missing = length - len(octets)
    whole = pcap.record(octets + bytes(missing), source, local, when, number)
    if not missing:
        return whole
    seconds, micros, kept, original = _RECORD.unpack_from(whole)
    kept -= min(missing, kept)
    return _RECORD.pack(seconds, micros, kept, original) + whole[_RECORD.size : _RECORD.size + kept]
