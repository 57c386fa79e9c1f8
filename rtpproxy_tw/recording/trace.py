"""The last seconds of every session's packets, first octets only, to be looked at afterwards.

A ring of fixed size per session is written while packets pass, and is read only when somebody
asks for it, which may be after the trouble or after the call. What a packet leaves is ``SLOT``
octets; older ones are overwritten. Times are monotonic until a file is made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from struct import Struct
from typing import NamedTuple

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
    """Where a stream's packets arrive."""

    stream: Stream
    host: str | None
    port: int


class Ring:
    """The packets of one session."""

    __slots__ = ("_at", "_octets", "_places", "_sources", "_wrapped")

    def __init__(self, packets: int) -> None:
        self._octets = bytearray(packets * SLOT)
        self._sources: list[Address | None] = [None] * packets
        self._places: list[Place] = []
        self._at = 0
        self._wrapped = False

    def place(self, stream: Stream) -> int:
        """The number by which packets of ``stream`` are known, given where it listens now."""
        leg = stream.leg
        new = Place(stream, None if leg.local is None else leg.local.host, stream.port)
        for number, known in enumerate(self._places):
            if known == new:
                return number
        if len(self._places) == 256:  # a stream that moves at every packet
            return 255
        self._places.append(new)
        return len(self._places) - 1

    def put(self, place: int, datagram: bytes, source: Address, now: float) -> None:
        """Keep one packet."""
        at = self._at
        length = len(datagram)
        _pack_into(self._octets, at * SLOT, now, place, length, datagram)
        self._sources[at] = source
        at += 1
        if at == len(self._sources):
            at = 0
            self._wrapped = True
        self._at = at

    def packets(self) -> Iterator[tuple[float, Place, Address, bytes, int]]:
        """Oldest first: when, where, from whom, the first octets, the whole length."""
        count = len(self._sources)
        order = range(self._at, self._at + count) if self._wrapped else range(self._at)
        for index in order:
            source = self._sources[index % count]
            when, place, length, octets = _SLOT.unpack_from(self._octets, index % count * SLOT)
            if source is not None:
                yield when, self._places[place], source, octets[: min(length, KEPT_OCTETS)], length


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
        return self._file(rings) if rings else None

    def _file(self, rings: list[Ring]) -> Iterator[bytes]:
        yield pcap.header()
        epoch = self._wall() - self._now()
        packets = [packet for ring in rings for packet in ring.packets()]
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
