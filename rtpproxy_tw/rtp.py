"""What the first bytes of a datagram tell: the RTP fixed header, and what else shares the port.

Validity is decided here and nowhere else (RFC 3550 section 5.1). A second byte of 200 to 213 is
an RTCP packet type (RFC 5761 section 4), so such a datagram is not RTP.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

FIXED_HEADER = Struct("!BBHII")
"""First byte, marker and payload type, sequence number, timestamp, SSRC."""

PLAIN = 0x80
"""First byte of nearly every packet: version 2, no padding, extension or CSRC."""

_unpack = FIXED_HEADER.unpack_from
_make = tuple.__new__


class Header(NamedTuple):
    """The fixed header of an RTP packet; ``datagram[start:end]`` is its payload."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    marker: bool
    start: int
    end: int


def peek(datagram: bytes) -> Header | None:
    """The header of ``datagram``, or None where it is not a valid RTP packet.

    Valid is: version 2; not the type of an RTCP packet; CSRCs, extension and padding fit; a
    padding count is at least 1. Raises nothing, whatever the bytes.
    """
    end = len(datagram)
    if end < 12:
        return None
    first, second, sequence, timestamp, ssrc = _unpack(datagram)
    if 200 <= second <= 213:
        return None
    start = 12
    if first != PLAIN:
        if first >> 6 != 2:
            return None
        start += (first & 0x0F) * 4
        if first & 0x10:
            # The words an extension has are counted without its own first one.
            start += 4
            if start > end:
                return None
            start += int.from_bytes(datagram[start - 2 : start], "big") * 4
        if first & 0x20:
            padding = datagram[-1]
            if not padding:
                return None
            end -= padding
        if start > end:
            return None
    return _make(Header, (second & 0x7F, sequence, timestamp, ssrc, second > 127, start, end))


def is_handshake(datagram: bytes) -> bool:
    """Whether it is STUN, ZRTP or DTLS, which share a port with media (RFC 7983 section 7).

    Only what carries its protocol's mark is recognised: the magic cookies of STUN (RFC 8489
    section 5) and ZRTP (RFC 6189 section 5), the version of a DTLS record (RFC 6347 section
    4.1). The first byte alone would also hit T.38, which starts with a sequence number.
    """
    mark = datagram[4:8]
    if mark == b"\x21\x12\xa4\x42":
        return datagram[0] < 4
    if mark == b"ZRTP":
        return datagram[0] >> 4 == 1
    return datagram[1:2] == b"\xfe" and 20 <= datagram[0] <= 25
