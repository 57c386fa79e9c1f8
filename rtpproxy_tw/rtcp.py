"""Reading RTCP (RFC 3550 section 6, RFC 3611): what one datagram reports, if it can be believed.

A datagram is read whole or not at all. Every packet of a compound must be of version 2 and of a
known type, its length must end where the next one begins, the last one must end with the
datagram, and what a packet counts must fit into it. That is stricter than a receiver need be; it
keeps out damaged packets, and SRTCP too (RFC 3711 section 3.4): its trailer leaves octets over
that form no packet, and the ciphertext fits no length.

Whether the figures themselves can be true is for whoever knows the stream to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TypeAlias

MOST_PACKETS = 16
"""In one compound; real ones have two to five, and reading more would be a stranger's choice."""

MOST_OCTETS = 2048
"""Longer datagrams are not read: RTCP goes by the MTU."""

NTP_EPOCH = 2_208_988_800
"""Seconds from NTP's epoch, 1900, to that of Unix, 1970."""

_SR, _RR, _SDES, _BYE, _APP, _RTPFB, _PSFB, _XR = range(200, 208)

_WORD = Struct("!I")
_SENDER = Struct("!IIIIII")
_BLOCK = Struct("!IIIIII")
_XR_HEADER = Struct("!BBH")
_VOIP = Struct("!IBBBBHHHHBBBBBBBBBBHHH")

_VOIP_METRICS = 7
_REFERENCE_TIME = 4


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says of one source (RFC 3550 section 6.4.1)."""

    ssrc: int
    """The source."""
    fraction_lost: float
    """Share lost since its last report, 0 to 1."""
    lost: int
    """All lost so far, less the duplicates; may be negative."""
    highest: int
    """The extended highest sequence number received."""
    jitter: int
    """Interarrival jitter in timestamp ticks."""
    lsr: int
    """The middle 32 bits of the NTP time of the last sender report heard, 0 for none."""
    dlsr: int
    """How long ago that was, in 1/65536 s."""


@dataclass(frozen=True, slots=True)
class SenderReport:
    """SR (RFC 3550 section 6.4.1)."""

    ssrc: int
    ntp_seconds: int
    """Since 1900; see ``NTP_EPOCH``."""
    ntp_fraction: int
    """In 2**-32 s."""
    timestamp: int
    """The same moment on the RTP clock."""
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...]

    @property
    def middle(self) -> int:
        """The middle 32 bits of the NTP time, which report blocks refer to as LSR."""
        return (self.ntp_seconds & 0xFFFF) << 16 | self.ntp_fraction >> 16


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """RR (RFC 3550 section 6.4.2)."""

    ssrc: int
    blocks: tuple[ReportBlock, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """SDES (RFC 3550 section 6.5): of each source its items, (type, text), CNAME being 1."""

    chunks: tuple[tuple[int, tuple[tuple[int, bytes], ...]], ...]


@dataclass(frozen=True, slots=True)
class Goodbye:
    """BYE (RFC 3550 section 6.6)."""

    ssrcs: tuple[int, ...]
    reason: bytes = b""


@dataclass(frozen=True, slots=True)
class VoipMetrics:
    """The VoIP metrics block (RFC 3611 section 4.7); None where the sender has no figure."""

    ssrc: int
    loss_ratio: float
    discard_ratio: float
    burst_density: float
    gap_density: float
    burst_ms: int
    gap_ms: int
    round_trip_ms: int
    end_system_ms: int
    r_factor: int | None
    mos_listening: float | None
    mos_conversational: float | None
    gmin: int


@dataclass(frozen=True, slots=True)
class ExtendedReport:
    """XR (RFC 3611): the types of all its blocks, and those that are read."""

    ssrc: int
    types: tuple[int, ...]
    voip: VoipMetrics | None = None
    reference: tuple[int, int] | None = None
    """NTP seconds and fraction of a receiver reference time block (section 4.4)."""


@dataclass(frozen=True, slots=True)
class Other:
    """APP, feedback (RFC 4585): known to be RTCP, not read further."""

    packet_type: int
    ssrc: int


Packet: TypeAlias = SenderReport | ReceiverReport | Description | Goodbye | ExtendedReport | Other


class _Broken(Exception):
    """It is no RTCP after all."""


def looks_like_rtcp(datagram: bytes) -> bool:
    """Whether the first octets are those of RTCP (RFC 5761 section 4), encrypted or not."""
    return len(datagram) >= 8 and datagram[0] >> 6 == 2 and 200 <= datagram[1] <= 207


def parse(datagram: bytes) -> tuple[Packet, ...]:
    """The packets of one compound; empty where ``datagram`` cannot be believed to be RTCP.

    Raises nothing, whatever the bytes, and takes time by their number at most.
    """
    size = len(datagram)
    if not 8 <= size <= MOST_OCTETS or size % 4:
        return ()
    packets: list[Packet] = []
    offset = 0
    try:
        while offset < size:
            if len(packets) == MOST_PACKETS:
                return ()
            first, kind = datagram[offset], datagram[offset + 1]
            end = offset + 4 + 4 * int.from_bytes(datagram[offset + 2 : offset + 4], "big")
            if first >> 6 != 2 or end > size:
                return ()
            body = datagram[offset + 4 : end]
            if first & 0x20:
                # Only the last packet of a compound may be padded (RFC 3550 section 6.4.1).
                if end != size:
                    return ()
                body = _unpadded(body)
            packets.append(_packet(kind, first & 0x1F, body))
            offset = end
    except _Broken:
        return ()
    return tuple(packets)


def _unpadded(body: bytes) -> bytes:
    padding = body[-1] if body else 0
    if not padding or padding % 4 or padding > len(body):
        raise _Broken
    return body[:-padding]


def _packet(kind: int, count: int, body: bytes) -> Packet:
    if kind == _BYE:
        return _goodbye(count, body)
    if kind == _SDES:
        return _description(count, body)
    if len(body) < 4:
        raise _Broken
    ssrc = int.from_bytes(body[:4], "big")
    if kind == _SR:
        if len(body) < _SENDER.size:
            raise _Broken
        _, seconds, fraction, timestamp, packets, octets = _SENDER.unpack_from(body)
        blocks = _blocks(count, body, _SENDER.size)
        return SenderReport(ssrc, seconds, fraction, timestamp, packets, octets, blocks)
    if kind == _RR:
        return ReceiverReport(ssrc, _blocks(count, body, 4))
    if kind == _XR:
        return _extended(ssrc, body)
    if kind in (_APP, _RTPFB, _PSFB):
        return Other(kind, ssrc)
    raise _Broken


def _blocks(count: int, body: bytes, start: int) -> tuple[ReportBlock, ...]:
    # What follows the blocks is a profile's extension, which may be anything.
    if start + count * _BLOCK.size > len(body):
        raise _Broken
    found = []
    for index in range(count):
        ssrc, losses, highest, jitter, lsr, dlsr = _BLOCK.unpack_from(
            body, start + index * _BLOCK.size
        )
        lost = losses & 0xFFFFFF
        if lost >= 0x800000:
            lost -= 0x1000000
        found.append(ReportBlock(ssrc, (losses >> 24) / 256, lost, highest, jitter, lsr, dlsr))
    return tuple(found)


def _description(count: int, body: bytes) -> Description:
    chunks = []
    offset = 0
    for _ in range(count):
        if offset + 4 > len(body):
            raise _Broken
        ssrc = int.from_bytes(body[offset : offset + 4], "big")
        items, offset = _items(body, offset + 4)
        chunks.append((ssrc, items))
    return Description(tuple(chunks))


def _items(body: bytes, offset: int) -> tuple[tuple[tuple[int, bytes], ...], int]:
    """The items of a chunk that starts at ``offset``, and where the next chunk does."""
    items: list[tuple[int, bytes]] = []
    while offset < len(body):
        kind = body[offset]
        if not kind:
            return tuple(items), (offset // 4 + 1) * 4
        end = offset + 2 + (body[offset + 1] if offset + 1 < len(body) else len(body))
        if end > len(body):
            raise _Broken
        items.append((kind, body[offset + 2 : end]))
        offset = end
    raise _Broken  # a chunk ends with at least one zero


def _goodbye(count: int, body: bytes) -> Goodbye:
    end = 4 * count
    if end > len(body):
        raise _Broken
    ssrcs = tuple(int.from_bytes(body[at : at + 4], "big") for at in range(0, end, 4))
    if end == len(body):
        return Goodbye(ssrcs)
    length = body[end]
    if end + 1 + length > len(body):
        raise _Broken
    return Goodbye(ssrcs, body[end + 1 : end + 1 + length])


def _extended(ssrc: int, body: bytes) -> ExtendedReport:
    types = []
    voip: VoipMetrics | None = None
    reference: tuple[int, int] | None = None
    offset = 4
    while offset < len(body):
        kind, _, words = _XR_HEADER.unpack_from(body, offset)
        start, offset = offset + 4, offset + 4 + 4 * words
        if offset > len(body):
            raise _Broken
        types.append(kind)
        if kind == _VOIP_METRICS and offset - start == _VOIP.size:
            voip = _voip(body, start)
        elif kind == _REFERENCE_TIME and words == 2:
            reference = (
                _WORD.unpack_from(body, start)[0],
                _WORD.unpack_from(body, start + 4)[0],
            )
    return ExtendedReport(ssrc, tuple(types), voip, reference)


def _voip(body: bytes, start: int) -> VoipMetrics:
    ssrc, loss, discard, burst, gap, burst_ms, gap_ms, trip, system, *rest = _VOIP.unpack_from(
        body, start
    )
    _, _, _, gmin, r_factor, _, listening, conversational, *_ = rest
    return VoipMetrics(
        ssrc=ssrc,
        loss_ratio=loss / 256,
        discard_ratio=discard / 256,
        burst_density=burst / 256,
        gap_density=gap / 256,
        burst_ms=burst_ms,
        gap_ms=gap_ms,
        round_trip_ms=trip,
        end_system_ms=system,
        # 127 stands for "not available"; beyond 100 and outside 1.0 to 5.0 nothing is valid.
        r_factor=r_factor if r_factor <= 100 else None,
        mos_listening=listening / 10 if 10 <= listening <= 50 else None,
        mos_conversational=conversational / 10 if 10 <= conversational <= 50 else None,
        gmin=gmin,
    )
