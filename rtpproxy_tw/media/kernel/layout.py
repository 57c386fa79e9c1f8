"""The structs that the relay and relay.bpf.c share, as bytes. Pure.

Numbers are little-endian (the object is compiled for such machines), addresses and ports are in
network order. Where one side changes, the other must: the tests that hand packets to the program
see every field.

What belongs to a flow is in two tables, at the same place in each: its slot is what every packet
touches, its rest all else. Where functions here take a whole slot, that is the one and the other.
"""

from __future__ import annotations

import socket
from struct import Struct
from typing import NamedTuple

from rtpproxy_tw.addresses import Address, family_of
from rtpproxy_tw.media.kernel.path import RtpState, Sample

NO_PAYLOAD_TYPE = 0xFFFFFFFF
JITTER_UNIT = 4096
"""The kernel has no fractions: jitter in ticks is multiplied by this."""

RECENT = 10
"""Timestamps remembered."""

WINDOW = (1 << 64) - 1

_make = tuple.__new__

KEY = Struct("<16s2sH")
"""Address, port, family."""

# A slot: two words, the description, counters, statistics.
DESCRIPTION_AT = 16
DESCRIPTION = Struct("<I4s4s4s4s2s2s2s2sIHHBBBBB3x")
"""Of addresses the first word: all that IPv4 has."""
RTP_AT = 112
RTP = Struct("<IIQqqQ10I4QQIIII")
SLOT_SIZE = RTP_AT + RTP.size + 8

HOP_AT = DESCRIPTION_AT
"""Of the one word of a description that may be written while packets come."""
FLAGS_AT = DESCRIPTION_AT + 32
HELD_AT = DESCRIPTION_AT + DESCRIPTION.size
"""Of two octets, before two of the program's that are 0 whenever this is written."""

# Words of eight octets within a slot.
LIVE, BUSY = range(2)
PASSED, PACKETS, OCTETS, LAST_NS, GAP_NS, UNUSUAL, SOURCE = range(8, 15)
"""The last one: SSRC and payload type."""
HIGHEST, RECEIVED = 17, 18

COUNTERS = Struct("<72xQQQQ")
"""Packets, octets, last_ns, gap_ns."""

TRAFFIC = Struct("72xQQQ")
"""Packets, octets, last_ns. In the machine's own manner, which reads each word in one go."""

GLANCE = Struct("72xQQQ8xQII16xqQ")
"""What path.Glance has: traffic; how much that is unusual was counted, SSRC, payload type; the
highest number, and how many were received. In the machine's own manner, too."""

BRIEF = Struct("72xQQQ40xqQ40xQQQQ20xI")
"""What path.Brief has, in the machine's own manner."""

# A rest: the rest of the description, of counters, of statistics.
REST_DESCRIPTION = Struct("<12s12s12s12s16sII")
REST_COUNTERS = Struct("<QQQQQ16xQ")
"""Print; handed, failed, foreign, refused; tap_lost."""
REST_RTP_AT = REST_DESCRIPTION.size + REST_COUNTERS.size
REST_RTP = Struct("<qqQQQ")
REST_SIZE = REST_RTP_AT + REST_RTP.size + 16

_rest_rtp = REST_RTP.unpack_from

SERIAL_AT = REST_DESCRIPTION.size - 8
PRINT = REST_DESCRIPTION.size // 8
"""Of a rest's words of eight octets."""


class Halves(NamedTuple):
    """What is written into a flow's slot, and what into its rest."""

    slot: bytes
    rest: bytes


RECORD = Struct("<QII")
"""A tap's record: when, whose, how many octets follow."""

SMALL = 256
"""Octets of the smallest record, head included: most audio fits."""

RTP_FLAG = 1
TAP_FLAG = 2
LOCAL_FLAG = 4
ORDERED_FLAG = 8

HOPS = 4_096
"""Neighbours whose addresses are kept. More than Linux itself has, by its own default, room for
in its tables (``gc_thresh3``); those beyond it are left to the kernel."""
HOP = Struct("=QQ8xQ")
"""The neighbour's address and the device's own; whether packets may go right to the other end of a
pair of devices; all with a mark in the upper 16 bits. The word between is the program's."""
STATE = Struct("=QQ")
"""Until when there is a relay; until when the addresses are vouched for."""

PORTS = 2 * 65_536
PORTS_ROW = 8
"""Octets, of four ports: the least that an entry of a table takes."""
SEVERAL = 0xFFFF
"""In the table of ports: which flow it is depends on the address, too, or its slot has a number
that there is no room for."""


class Hop(NamedTuple):
    """How a destination is reached, as far as the program must know."""

    device: int
    """Interface index."""
    host: str
    """The local address that datagrams leave from."""
    via: str | None
    """The neighbour to hand them to; None: the kernel looks it up (local destinations)."""
    mtu: int
    ttl: int
    local: bool
    """The destination is this host."""


def pack_host(host: str) -> bytes:
    """Sixteen octets: the address in network order, then zeros."""
    return socket.inet_pton(family_of(host), host).ljust(16, b"\0")


def pack_key(local: Address) -> bytes:
    """What the flow table is asked by. An unspecified host gives the key of any address."""
    host, port = local
    return KEY.pack(pack_host(host), port.to_bytes(2, "big"), family_of(host))


def unpack_local(slot: bytes) -> Address:
    """The local address of the flow in a whole slot."""
    words = DESCRIPTION.unpack_from(slot, DESCRIPTION_AT)
    first, port, family = words[1], words[5], words[12]
    others = slot[SLOT_SIZE : SLOT_SIZE + 12] if family == socket.AF_INET6 else b""
    return socket.inet_ntop(family, first + others), int.from_bytes(port, "big")


def unpack_serial(slot: bytes) -> int:
    """The serial number of the flow in a whole slot."""
    start = SLOT_SIZE + SERIAL_AT
    return int.from_bytes(slot[start : start + 4], "little")


def unpack_place(slot: bytes) -> int:
    """Of the neighbour of the flow in a whole slot."""
    return int.from_bytes(slot[HOP_AT : HOP_AT + 4], "little")


def port_place(local: Address) -> int:
    """Where in the table of ports flows with that local address are.

    Even ports before odd ones, IPv6 after IPv4: see relay.bpf.c.
    """
    host, port = local
    return port // 2 + port % 2 * 32_768 + (65_536 if family_of(host) == socket.AF_INET6 else 0)


def print_of(datagram: bytes) -> int:
    """What the program remembers of a datagram that it leaves to the socket; never 0."""
    if len(datagram) < 8:
        return len(datagram) | 1
    return int.from_bytes(datagram[:8], "little") | 1


def longest(family_in: int, family_out: int, mtu: int) -> int:
    """Octets of the longest arriving IP packet that fits ``mtu`` when it leaves."""
    grows = (family_out == socket.AF_INET6) - (family_in == socket.AF_INET6)
    return max(0, min(mtu - 20 * grows, 65_535))


def pack_description(
    local: Address,
    source: Address,
    port_out: int,
    to: Address,
    hop: Hop,
    *,
    tos: int,
    serial: int,
    budget: int,
    flags: int,
    place: int = 0,
) -> Halves:
    """The parts that say what is to be done; ``place``: see :mod:`hops`."""
    family, family_out = family_of(local[0]), family_of(to[0])
    hosts = [pack_host(host) for host in (local[0], source[0], hop.host, to[0])]
    ports = [port.to_bytes(2, "big") for port in (local[1], source[1], port_out, to[1])]
    return Halves(
        DESCRIPTION.pack(
            place,
            *(host[:4] for host in hosts),
            *ports,
            hop.device,
            flags | (LOCAL_FLAG if hop.local else 0),
            longest(family, family_out, hop.mtu),
            family,
            family_out,
            family_of(hop.via) if hop.via else 0,
            tos,
            hop.ttl,
        ),
        REST_DESCRIPTION.pack(
            *(host[4:] for host in hosts),
            pack_host(hop.via) if hop.via else bytes(16),
            serial,
            budget,
        ),
    )


def is_described(slot: bytes, description: Halves) -> bool:
    """Whether that is the description in a whole slot."""
    return slot.startswith(description.slot, DESCRIPTION_AT) and slot.startswith(
        description.rest, SLOT_SIZE
    )


def pack_rtp(state: RtpState) -> Halves:
    """Statistics for the program to go on from."""
    recent = state.recent[-RECENT:][::-1]
    near = RTP.pack(
        # It is only compared, so the program never turns it round.
        int.from_bytes((state.ssrc or 0).to_bytes(4, "big"), "little"),
        NO_PAYLOAD_TYPE if state.payload_type is None else state.payload_type,
        state.seen & WINDOW,
        state.offset,
        state.highest,
        state.received,
        *recent,
        *(0,) * (RECENT - len(recent)),
        round(state.jitter_last * JITTER_UNIT),
        round(state.jitter_peak * JITTER_UNIT),
        round(state.jitter_total * JITTER_UNIT),
        state.jitter_samples,
        state.ticks,
        state.timestamp,
        state.clock_rate,
        len(recent),
        state.source_samples,
    )
    counts = state.duplicates, state.errors, state.ssrc_changes
    return Halves(near, REST_RTP.pack(state.earlier, state.lowest, *counts))


def swap(word: int) -> int:
    """From one order of octets to the other, of 32 bits."""
    return int.from_bytes(word.to_bytes(4, "little"), "big")


def unpack_rtp(slot: bytes) -> RtpState:
    """The statistics in a whole slot."""
    words = RTP.unpack_from(slot, RTP_AT)
    ssrc, payload_type, seen, offset, highest, received = words[:6]
    last, peak, total, jitter_samples, ticks, timestamp, rate, count, samples = words[16:]
    earlier, lowest, duplicates, errors, ssrc_changes = _rest_rtp(slot, SLOT_SIZE + REST_RTP_AT)
    known = payload_type != NO_PAYLOAD_TYPE
    # By place, which takes a third of the time that names do; each call is looked at every second.
    return _make(
        RtpState,
        (
            received,
            duplicates,
            errors,
            swap(ssrc) if known else None,
            ssrc_changes,
            payload_type if known else None,
            earlier,
            offset,
            lowest,
            highest,
            seen,
            last / JITTER_UNIT,
            peak / JITTER_UNIT,
            total / JITTER_UNIT,
            jitter_samples,
            samples,
            rate,
            ticks,
            timestamp,
            words[6 : 6 + count][::-1],
        ),
    )


def unpack_sample(slot: bytes) -> Sample:
    """All counters of a whole slot."""
    packets, octets, last_ns, gap_ns = COUNTERS.unpack_from(slot)
    start = SLOT_SIZE + REST_DESCRIPTION.size
    _, handed, failed, foreign, refused, tap_lost = REST_COUNTERS.unpack_from(slot, start)
    return Sample(
        packets=packets,
        octets=octets,
        last_ns=last_ns,
        gap_ns=gap_ns,
        handed_up=handed,
        foreign=foreign,
        refused=refused,
        failed=failed,
        tap_lost=tap_lost,
        rtp=unpack_rtp(slot),
    )
