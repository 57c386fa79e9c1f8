"""Ethernet frames made and taken apart from scratch, with every checksum right."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, replace

from rtpproxy_tw.addresses import Address, family_of

ETHERNET = struct.pack("!6s6s", bytes(6), bytes(6))


def ones(data: bytes) -> int:
    """The Internet checksum of ``data`` (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True)
class Datagram:
    """A UDP datagram in an Ethernet frame."""

    source: Address
    to: Address
    payload: bytes = b""
    tos: int = 0
    ttl: int = 57
    id: int = 0x1234
    fragment: int = 0x4000
    options: bytes = b""
    checksum: bool = True

    def __bytes__(self) -> bytes:
        """The whole frame."""
        source, to = (
            socket.inet_pton(family_of(host), host) for host in (self.source[0], self.to[0])
        )
        length = 8 + len(self.payload)
        pseudo = source + to + struct.pack("!HH", 17, length)
        udp = struct.pack("!HHHH", self.source[1], self.to[1], length, 0) + self.payload
        if self.checksum:
            udp = udp[:6] + struct.pack("!H", ones(pseudo + udp) or 0xFFFF) + udp[8:]
        if family_of(self.to[0]) == socket.AF_INET6:
            head = struct.pack("!IHBB", 6 << 28 | self.tos << 20, length, 17, self.ttl)
            return ETHERNET + b"\x86\xdd" + head + source + to + udp
        words = 5 + len(self.options) // 4
        head = struct.pack(
            "!BBHHHBBH",
            0x40 | words,
            self.tos,
            words * 4 + length,
            self.id,
            self.fragment,
            self.ttl,
            17,
            0,
        )
        head += source + to + self.options
        head = head[:10] + struct.pack("!H", ones(head)) + head[12:]
        return ETHERNET + b"\x08\x00" + head + udp

    def but(self, **changes: object) -> Datagram:
        """The same with differences."""
        return replace(self, **changes)  # type: ignore[arg-type]  # names are the tests' business


def rtp(
    sequence: int, *, timestamp: int | None = None, payload_type: int = 0, octets: int = 20
) -> bytes:
    """An RTP packet."""
    if timestamp is None:
        timestamp = sequence * 160
    return struct.pack("!BBHII", 0x80, payload_type, sequence, timestamp, 0xABCD) + bytes(octets)
