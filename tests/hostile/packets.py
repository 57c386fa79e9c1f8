"""Datagrams that no honest phone sends."""

from __future__ import annotations

import socket
import struct

from tests.hostile.world import Address, rtp

HELLO = b"\x16\xfe\xff" + bytes(8) + b"\x00\x50\x01" + bytes(60)
"""DTLS."""
STUN = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
ZRTP = b"\x10\x00\x00\x01ZRTP" + bytes(20)

OTHER_PROTOCOLS = (HELLO, STUN, ZRTP, b"\x00" * 40, b"\x40" * 40, b"\xc0" * 40)

MALFORMED = (
    b"\x8f\x00" + bytes(20),  # fifteen sources, and no room for them
    b"\x90\x00" + bytes(10) + b"\xbe\xde\xff\xff",  # an extension of 65535 words
    b"\xa0\x00" + bytes(10) + b"\x7f" * 8 + b"\xff",  # more padding than payload
    b"\xa0\x00" + bytes(10) + b"\x7f" * 8 + b"\x00",  # padding of nothing
    b"\xbf\xff" + b"\xff" * 40,
)

SHORT = (b"", b"\x80", b"\x80\x00\x00", b"\x80" + bytes(10))


def _report(kind: int, count: int, words: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, words) + body


BAD_RTCP = (
    _report(200, 0, 0xFFFF, bytes(24)),
    _report(200, 31, 6, bytes(24)),
    _report(201, 1, 0, b""),
    _report(207, 0, 2, b"\x00\x00\x00\x07\x04\x00\x00\x00"),  # a block of no words
    _report(207, 0, 2, b"\x00\x00\x00\x07\x07\x00\xff\xff"),
    _report(203, 1, 2, b"\x00\x00\x00\x07\xff123"),  # a reason beyond the end
    _report(202, 1, 2, b"\x00\x00\x00\x07\x01\xff12"),  # a description without end
    _report(201, 0, 1, b"\x00\x00\x00\x07") * 100,
    _report(202, 31, 1, b"\x00\x00\x00\x07"),
    b"\x81\xc9",
)


def receiver_report(
    ssrc: int,
    about: int,
    lost: int = 255,
    jitter: int = 0xFFFFFFFF,
    last: int = 0xFFFFFFFF,
    delay: int = 1,
) -> bytes:
    """RTCP with figures that cannot be."""
    block = struct.pack("!IB3sIIII", about, lost, b"\x80\x00\x00", 1, jitter, last, delay)
    return struct.pack("!BBHI", 0x81, 201, 7, ssrc) + block


def forged(source: Address, to: Address, payload: bytes, ttl: int = 64, tos: int = 0) -> bytes:
    """An IPv4 packet of that source, for a raw socket."""
    body = struct.pack("!HHHH", source[1], to[1], 8 + len(payload), 0) + payload
    return _ip(source[0], to[0], 17, body, ttl, tos)


def icmp(source: str, to: str, kind: int, code: int, rest: int, about: bytes) -> bytes:
    """An ICMP message concerning a packet."""
    body = struct.pack("!BBHI", kind, code, 0, rest) + about[:64]
    body = body[:2] + struct.pack("!H", _checksum(body)) + body[4:]
    return _ip(source, to, 1, body)


def _ip(source: str, to: str, protocol: int, body: bytes, ttl: int = 64, tos: int = 0) -> bytes:
    places = socket.inet_aton(source) + socket.inet_aton(to)
    length = 20 + len(body)
    head = struct.pack("!BBHHHBBH", 0x45, tos, length, 1, 0, ttl, protocol, 0) + places
    head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
    return head + body


def _checksum(octets: bytes) -> int:
    if len(octets) % 2:
        octets += b"\0"
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def press(number: int, ssrc: int, key: int, end: bool, duration: int) -> bytes:
    """A packet of a telephone event (RFC 4733)."""
    return rtp(number, ssrc, kind=101)[:4] + struct.pack(
        "!IIBBH", 160, ssrc, key, 0x80 * end | 10, duration
    )
