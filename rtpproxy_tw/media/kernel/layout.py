"""The structs that the relay and relay.bpf.c share, as bytes. Pure.

Numbers are little-endian (the object is compiled for such machines), addresses and ports are in
network order. Where one side changes, the other must: the tests that hand packets to the program
see every field.
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

COUNTERS = Struct("<13Q3Q")
DESCRIPTION = Struct("<20s16s16s16s16sIIII2s2s2sHHHBB2xI8x")
RTP = Struct("<4q5QII4QQII10III16x")

SLOT_SIZE = COUNTERS.size + DESCRIPTION.size + RTP.size
DESCRIPTION_AT = COUNTERS.size
RTP_AT = DESCRIPTION_AT + DESCRIPTION.size
SERIAL_AT = DESCRIPTION_AT + 20 + 4 * 16 + 4
FLAGS_AT = DESCRIPTION_AT + 20 + 4 * 16 + 3 * 4
HOP_AT = FLAGS_AT + 4 + 6 + 3 * 2 + 4
"""Of the one word of a description that may be written while packets come."""

TRAFFIC = Struct("16xQQQ")
"""Packets, octets, last_ns. In the machine's own manner, which reads each word in one go."""

GLANCE = Struct(f"16xQQQ40xQ8xQ16xQ{DESCRIPTION.size}xq8xqq8xQ16xQII")
"""What path.Glance has. In the machine's own manner, too."""

# Words of eight octets within the counters.
LIVE, BUSY, PACKETS, OCTETS, LAST_NS, GAP_NS, HELD, PASSED = range(8)
PRINT, HANDED, FAILED, FOREIGN, REFUSED = range(8, 13)
TAP_LOST = 15

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
HOP = Struct("=QQ16x")
"""The neighbour's address and the device's own, both with a mark in the upper 16 bits. The rest is
the program's."""
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
    host, port, family = KEY.unpack_from(slot, DESCRIPTION_AT)
    size = 16 if family == socket.AF_INET6 else 4
    return socket.inet_ntop(family, host[:size]), int.from_bytes(port, "big")


def unpack_serial(slot: bytes) -> int:
    """The serial number of the flow in a whole slot."""
    return int.from_bytes(slot[SERIAL_AT : SERIAL_AT + 4], "little")


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
) -> bytes:
    """The part of a slot that says what is to be done; ``place``: see :mod:`hops`."""
    family_out = family_of(to[0])
    return DESCRIPTION.pack(
        pack_key(local),
        pack_host(source[0]),
        pack_host(hop.host),
        pack_host(to[0]),
        pack_host(hop.via) if hop.via else bytes(16),
        hop.device,
        serial,
        budget,
        flags | (LOCAL_FLAG if hop.local else 0),
        source[1].to_bytes(2, "big"),
        port_out.to_bytes(2, "big"),
        to[1].to_bytes(2, "big"),
        family_out,
        family_of(hop.via) if hop.via else 0,
        longest(family_of(local[0]), family_out, hop.mtu),
        tos,
        hop.ttl,
        place,
    )


def pack_rtp(state: RtpState) -> bytes:
    """Statistics for the program to go on from."""
    recent = state.recent[-RECENT:][::-1]
    return RTP.pack(
        state.earlier,
        state.offset,
        state.lowest,
        state.highest,
        state.seen & WINDOW,
        state.received,
        state.duplicates,
        state.errors,
        state.ssrc_changes,
        # It is only compared, so the program never turns it round.
        int.from_bytes((state.ssrc or 0).to_bytes(4, "big"), "little"),
        NO_PAYLOAD_TYPE if state.payload_type is None else state.payload_type,
        round(state.jitter_last * JITTER_UNIT),
        round(state.jitter_peak * JITTER_UNIT),
        round(state.jitter_total * JITTER_UNIT),
        state.jitter_samples,
        state.ticks,
        state.timestamp,
        state.clock_rate,
        *recent,
        *(0,) * (RECENT - len(recent)),
        len(recent),
        state.source_samples,
    )


def swap(word: int) -> int:
    """From one order of octets to the other, of 32 bits."""
    return int.from_bytes(word.to_bytes(4, "little"), "big")


def unpack_rtp(slot: bytes) -> RtpState:
    """The statistics in a whole slot."""
    words = RTP.unpack_from(slot, RTP_AT)
    earlier, offset, lowest, highest, seen, received, duplicates, errors, ssrc_changes = words[:9]
    ssrc, payload_type, last, peak, total, jitter_samples, ticks, timestamp, rate = words[9:18]
    count, samples = words[28:30]
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
            words[18 : 18 + count][::-1],
        ),
    )


def unpack_sample(slot: bytes) -> Sample:
    """All counters of a whole slot."""
    words = COUNTERS.unpack_from(slot)
    return Sample(
        packets=words[PACKETS],
        octets=words[OCTETS],
        last_ns=words[LAST_NS],
        gap_ns=words[GAP_NS],
        handed_up=words[HANDED],
        foreign=words[FOREIGN],
        refused=words[REFUSED],
        failed=words[FAILED],
        tap_lost=words[TAP_LOST],
        rtp=unpack_rtp(slot),
    )
