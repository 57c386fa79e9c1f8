"""What a relay and its media processes tell each other: messages, and memory that both see. Pure.

Messages go over a socket pair that keeps their boundaries. The memory has a slot for each flow,
which the process that carries it writes and the relay reads at any time:

=========  =====================================================================================
PACKETS    relayed so far, and next their octets, and when the last one came (seconds, a double);
           written a few times a second, and when the relay asks
STEADY     0, or one more than the time stamps grow by: all packets since what is published below
           followed each other one by one
VERSION    odd while what follows is being written
published  how many packets had been relayed then, the other counters, the RTP statistics
=========  =====================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import NamedTuple

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.media.kernel.path import RtpState

SLOT_SIZE = 512
WORDS = SLOT_SIZE // 8
PACKETS, OCTETS, LAST, STEADY, VERSION = range(5)
PUBLISHED_AT = 64
TRAFFIC = Struct("QQd")
"""The first three words, written and read in one go."""

TAIL_SIZE = 64
"""Behind the slots; its last word is when the process last looked after its flows (seconds)."""

READY, ADD, DROP, TELL, DONE, STRANGER, GIVEN_UP = range(1, 8)
"""Kinds of messages. READY: a process begins. ADD: carry a flow. DROP: carry some no more; TELL:
write down what is known of some; both to be answered by DONE. STRANGER: a datagram of another
source than the believed one. GIVEN_UP: a flow that cannot be carried."""

LONGEST = 66_000
"""Octets of a message: the longest datagram and what is said about it."""

RECENT = 10
"""Time stamps remembered."""

WINDOW = (1 << 64) - 1

_NONE = -1

_PUBLISHED = Struct(f"<QdQQQ 10qQ 3d5q {RECENT}qq")
_ADD = Struct("<BQIIIBBHH")
_HEAD = Struct("<BQ")
_STRANGER = Struct("<BQH")

RTP_FLAG, CONNECT_FLAG = 1, 2
FRESH_IN, FRESH_OUT = 4, 8
"""The descriptor of the port where the flow arrives, or leaves, comes with the message."""


class Lane(NamedTuple):
    """What a media process is told of a flow. Ports are named by numbers of the relay's."""

    id: int
    slot: int
    port: int
    out: int
    flags: int
    source: Address
    to: Address
    rtp: RtpState


class Published(NamedTuple):
    """The rarely written part of a slot; ``gap`` is seconds."""

    packets: int = 0
    gap: float = 0.0
    foreign: int = 0
    refused: int = 0
    failed: int = 0
    rtp: RtpState = RtpState()


def pack_published(told: Published) -> bytes:
    """For the memory."""
    rtp = told.rtp
    recent = rtp.recent[-RECENT:]
    return _PUBLISHED.pack(
        *told[:5],
        rtp.received,
        rtp.duplicates,
        rtp.errors,
        _NONE if rtp.ssrc is None else rtp.ssrc,
        rtp.ssrc_changes,
        _NONE if rtp.payload_type is None else rtp.payload_type,
        rtp.earlier,
        rtp.offset,
        rtp.lowest,
        rtp.highest,
        rtp.seen & WINDOW,
        *rtp[11:19],
        *recent,
        *(0,) * (RECENT - len(recent)),
        len(recent),
    )


def unpack_published(octets: bytes | memoryview) -> Published:
    """What :func:`pack_published` made, from the beginning of ``octets``."""
    words = _PUBLISHED.unpack_from(octets)
    values = list(words[5:24])
    for index in (3, 5):
        if values[index] == _NONE:
            values[index] = None
    count = words[24 + RECENT]
    rtp = RtpState._make((*values, words[24 : 24 + count]))
    return Published._make((*words[:5], rtp))


def pack_add(lane: Lane) -> bytes:
    """The message that has ``lane`` carried."""
    source, to = lane.source[0].encode(), lane.to[0].encode()
    return b"".join(
        (
            _ADD.pack(
                ADD,
                lane.id,
                lane.slot,
                lane.port,
                lane.out,
                lane.flags,
                len(source),
                lane.source[1],
                lane.to[1],
            ),
            pack_published(Published(rtp=lane.rtp)),
            source,
            to,
        )
    )


def unpack_add(message: bytes) -> Lane:
    """What :func:`pack_add` made."""
    _, id, slot, port, out, flags, length, source_port, to_port = _ADD.unpack_from(message)
    rest = _ADD.size + _PUBLISHED.size
    source, to = message[rest : rest + length].decode(), message[rest + length :].decode()
    rtp = unpack_published(message[_ADD.size :]).rtp
    return Lane(id, slot, port, out, flags, (source, source_port), (to, to_port), rtp)


def pack_ids(kind: int, ids: Iterable[int]) -> bytes:
    """DROP or TELL of these flows."""
    each = tuple(ids)
    return Struct(f"<B{len(each)}Q").pack(kind, *each)


def unpack_ids(message: bytes) -> tuple[int, ...]:
    """What :func:`pack_ids` made."""
    return Struct(f"<{len(message) // 8}Q").unpack_from(message, 1)


def pack_word(kind: int, id: int = 0) -> bytes:
    """READY, DONE, or GIVEN_UP of a flow."""
    return _HEAD.pack(kind, id)


def unpack_word(message: bytes) -> int:
    """The flow that a GIVEN_UP is about."""
    id: int = _HEAD.unpack_from(message)[1]
    return id


def pack_stranger(id: int, source: Address, datagram: bytes | memoryview) -> bytes:
    """``datagram`` came from ``source`` where the flow ``id`` arrives."""
    host = source[0].encode()
    return b"".join((_STRANGER.pack(STRANGER, id, source[1]), bytes((len(host),)), host, datagram))


def unpack_stranger(message: bytes) -> tuple[int, Address, bytes]:
    """Flow, source and datagram."""
    _, id, port = _STRANGER.unpack_from(message)
    begin = _STRANGER.size + 1
    end = begin + message[begin - 1]
    return id, (message[begin:end].decode(), port), message[end:]


def advanced(rtp: RtpState, count: int, step: int) -> RtpState:
    """``rtp`` after ``count`` more packets in order, each stamped ``step`` later; old jitter."""
    if not count:
        return rtp
    seen = WINDOW if count >= 64 else (rtp.seen << count | (1 << count) - 1) & WINDOW
    return rtp._replace(
        received=rtp.received + count,
        highest=rtp.highest + count,
        seen=seen,
        timestamp=rtp.timestamp + step * count,
    )
