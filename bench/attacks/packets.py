"""Packets that tell, wherever they turn up, whose they are.

Each ends with a mark: which row of the matrix it belongs to, who sent it, and its number.
"""

from __future__ import annotations

from enum import Enum
from struct import Struct
from typing import NamedTuple

_MARK = Struct("!4s1sBHI")
_MAGIC = b"mark"
_RTP = Struct("!BBHII")
_RTCP = Struct("!BBHI4s")
_APP = 204
"""RTCP that carries anything (RFC 3550 section 6.7)."""

CLIENT_HELLO = b"\x16\xfe\xff" + bytes(8) + b"\x00\x50" + b"\x01" + bytes(60)
"""The beginning of a DTLS handshake (RFC 6347 section 4.2.2), as far as a relay looks."""

SILENCE = b"\xff" * 148
"""Of PCMU; with the mark the usual 160 octets."""


class Kind(Enum):
    """Who sent a packet."""

    CALLER = b"a"
    CALLEE = b"b"
    FORGED = b"f"
    """An attacker."""
    LATE = b"l"
    """A party of a call that has ended."""
    CROSSED = b"x"
    """A party, on the port of the other component."""


class Mark(NamedTuple):
    """Who sent a packet."""

    kind: Kind
    row: int
    number: int

    def __bytes__(self) -> bytes:
        return _MARK.pack(_MAGIC, self.kind.value, 0, self.row, self.number)


def mark_of(datagram: bytes) -> Mark | None:
    """The mark at the end of ``datagram``, None where it has none."""
    if len(datagram) < _MARK.size:
        return None
    magic, kind, _, row, number = _MARK.unpack(datagram[-_MARK.size :])
    return Mark(Kind(kind), row, number) if magic == _MAGIC else None


def rtp(sequence: int, ssrc: int, mark: Mark) -> bytes:
    """A packet of PCMU."""
    stamp = sequence * 160 & 0xFFFFFFFF
    return _RTP.pack(0x80, 0, sequence & 0xFFFF, stamp, ssrc) + SILENCE + bytes(mark)


def rtcp(ssrc: int, mark: Mark) -> bytes:
    """An RTCP packet."""
    return _RTCP.pack(0x80, _APP, 5, ssrc, b"mark") + bytes(mark)


def hello(mark: Mark) -> bytes:
    """A DTLS ClientHello."""
    return CLIENT_HELLO + bytes(mark)


def bad_tag(sequence: int, ssrc: int, mark: Mark) -> bytes:
    """An SRTP packet whose authentication tag cannot be right, being the end of the mark."""
    return rtp(sequence, ssrc, mark)
