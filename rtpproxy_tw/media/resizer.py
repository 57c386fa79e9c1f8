"""Re-packetisation: the same speech in RTP packets of another length.

What arrives waits, ordered by timestamp, until there is enough of it for a packet, or until the
first of it has waited so long that more is not to be expected; packets too long are cut. A hole
or another codec ends a packet. Output carries the timestamps of its first sample and the
sequence numbers that follow from the first packet's; the marker stays with the sample it was set
for, unless that is joined to samples before it.

Packets that cannot be joined or cut (events, comfort noise, unknown codecs) push out what waits
and pass; only their sequence number may change, so that the numbers go on without a gap. What
was lost among *them* stays missing in the numbers, for nobody else would notice. Another SSRC is
another stream, with numbers of its own (RFC 3550 section 5.1).

A packet is *late* when its place has been given out already: it comes behind what was sent, and
its number is behind the highest. It is dropped. A packet that is behind by its timestamp but has
a new number is no late one: its sender began anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from rtpproxy_tw.media.codecs import TICKS_PER_MS, cut, is_closed, packet_ticks, ticks
from rtpproxy_tw.rtp import peek
from rtpproxy_tw.statistics import Totals

LEAST_PATIENCE_MS = 40
"""How long the first waits for more, unless two packets' length is longer."""

LATEST = 16_000
"""Ticks (two seconds); who is further behind than that began anew."""

_HEADER = Struct("!BBHII")
_NO_PADDING = 0xDF


@dataclass(slots=True)
class Piece:
    """Samples of one packet that were not sent yet. ``arrived`` is when it came."""

    timestamp: int
    payload_type: int
    marker: bool
    first_octet: int
    extras: bytes
    """CSRCs and header extension."""
    payload: bytes
    ticks: int
    arrived: float


class Resizer:
    """One direction of a session. ``packet_ms`` is the wanted length, 0: as it comes.

    Times are seconds given by the caller. Counts into ``totals``.
    """

    __slots__ = (
        "_heard",
        "_queue",
        "_sent",
        "_sent_until",
        "_ssrc",
        "_ticks",
        "_totals",
        "packet_ms",
    )

    def __init__(self, packet_ms: int, totals: Totals) -> None:
        self.packet_ms = packet_ms
        self._totals = totals
        self._ssrc: int | None = None
        self._heard = 0
        """The highest sequence number that came."""
        self._sent = 0
        """The last sequence number that went."""
        self._sent_until: int | None = None
        """The timestamp after the last sample sent; None: none was sent."""
        self._queue: list[Piece] = []
        self._ticks = 0
        """How long the queue lasts."""

    @property
    def idle(self) -> bool:
        """Whether packets pass unchanged from now on, so that it can be done without."""
        return not self.packet_ms and not self._queue and self._heard == self._sent

    def take(self, datagram: bytes, now: float) -> list[bytes]:
        """What is to be sent now that ``datagram`` came. Raises nothing, whatever the bytes."""
        header = peek(datagram)
        if header is None:
            return [datagram]
        out = [] if header.ssrc == self._ssrc else self._begin(header.ssrc, header.sequence)
        payload = datagram[header.start : header.end]
        length = None
        if self.packet_ms and packet_ticks(header.payload_type, 1) is not None:
            length = ticks(header.payload_type, payload)
        newer = _ahead(header.sequence, self._heard, 16)
        if length is None:
            return out + self._pass(datagram, header.sequence, newer)
        self._totals.npkts_resizer_in += 1
        piece = Piece(
            header.timestamp,
            header.payload_type,
            header.marker,
            datagram[0] & _NO_PADDING,
            datagram[12 : header.start],
            payload,
            length,
            now,
        )
        if newer > 0:
            self._heard = header.sequence
        if self._behind(piece, newer > 0):
            if newer <= 0 and not self._long_gone(piece):
                self._totals.npkts_resizer_discard += 1
                return out
            out += self._flush()
            self._sent_until = None
            self._heard = header.sequence
        self._insert(piece)
        while self._enough(now):
            out.append(self._emit())
        return out

    def _begin(self, ssrc: int, sequence: int) -> list[bytes]:
        out = self._flush()
        self._ssrc = ssrc
        self._heard = self._sent = sequence - 1 & 0xFFFF
        self._sent_until = None
        return out

    def _pass(self, datagram: bytes, sequence: int, newer: int) -> list[bytes]:
        out = self._flush()
        number = self._sent + newer & 0xFFFF
        if newer > 0:
            self._heard, self._sent = sequence, number
        if number != sequence:
            datagram = datagram[:2] + number.to_bytes(2, "big") + datagram[4:]
        return [*out, datagram]

    def _behind(self, piece: Piece, newer: bool) -> bool:
        """Whether there is no place for it: sent on already, or there already."""
        if self._sent_until is not None and _ahead(piece.timestamp, self._sent_until) < 0:
            return True
        if newer:
            return bool(self._queue) and _ahead(piece.timestamp, _end(self._queue[-1])) < 0
        return any(
            -other.ticks < _ahead(other.timestamp, piece.timestamp) < piece.ticks
            for other in self._queue
        )

    def _long_gone(self, piece: Piece) -> bool:
        ends = _end(self._queue[-1]) if self._queue else self._sent_until
        return ends is not None and _ahead(piece.timestamp, ends) < -LATEST

    def _insert(self, piece: Piece) -> None:
        queue = self._queue
        at = len(queue)
        while at and _ahead(piece.timestamp, queue[at - 1].timestamp) < 0:
            at -= 1
        queue.insert(at, piece)
        self._ticks += piece.ticks

    def _enough(self, now: float) -> bool:
        if not self._queue:
            return False
        head = self._queue[0]
        if self._ticks >= self._wanted(head):
            return True
        patience = max(2 * self._wanted(head) // TICKS_PER_MS, LEAST_PATIENCE_MS)
        return (now - head.arrived) * 1000 >= patience

    def _wanted(self, head: Piece) -> int:
        # A length of 0 stands for a resizer being switched off: what waits goes as it is.
        return packet_ticks(head.payload_type, self.packet_ms or 1) or head.ticks

    def _flush(self) -> list[bytes]:
        out = []
        while self._queue:
            out.append(self._emit())
        return out

    def _emit(self) -> bytes:
        queue = self._queue
        head = queue[0]
        wanted = self._wanted(head) if self.packet_ms else head.ticks
        lasts = 0
        payloads = []
        while queue and lasts < wanted:
            piece = queue[0]
            joins = piece.timestamp == head.timestamp + lasts & 0xFFFFFFFF
            if not joins or piece.payload_type != head.payload_type:
                break
            if piece.ticks <= wanted - lasts:
                payloads.append(piece.payload)
                lasts += piece.ticks
                del queue[0]
                if is_closed(piece.payload_type, piece.payload):
                    break
                continue
            octets = cut(piece.payload_type, piece.payload, wanted - lasts)
            taken = wanted - lasts
            payloads.append(piece.payload[:octets])
            queue[0] = Piece(
                piece.timestamp + taken & 0xFFFFFFFF,
                piece.payload_type,
                False,
                piece.first_octet,
                piece.extras,
                piece.payload[octets:],
                piece.ticks - taken,
                piece.arrived,
            )
            lasts = wanted
        self._ticks -= lasts
        self._sent_until = head.timestamp + lasts & 0xFFFFFFFF
        self._sent = self._sent + 1 & 0xFFFF
        self._totals.npkts_resizer_out += 1
        second = head.payload_type | (0x80 if head.marker else 0)
        start = _HEADER.pack(head.first_octet, second, self._sent, head.timestamp, self._ssrc or 0)
        return b"".join((start, head.extras, *payloads))


def _ahead(one: int, other: int, bits: int = 32) -> int:
    """How far ``one`` is ahead of ``other`` on a circle of so many bits; negative: behind."""
    half = 1 << bits - 1
    return (one - other + half & (1 << bits) - 1) - half


def _end(piece: Piece) -> int:
    return piece.timestamp + piece.ticks & 0xFFFFFFFF
