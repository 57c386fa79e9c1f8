"""Datagrams as parties send them, for tests."""

from __future__ import annotations

import struct

RECEIVER_REPORT = b"\x80\xc9\x00\x01" + struct.pack("!I", 0xABCD)
"""RTCP with nothing to report (RFC 3550 section 6.4.2), 8 octets."""

SENDER_REPORT = b"\x80\xc8\x00\x06" + bytes(range(24))
STUN = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"transaction1"
ZRTP = b"\x10\x00\x00\x01ZRTP" + b"\x00" * 20
DTLS = b"\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10" + b"\x01" * 16
FAX = b"\x00\x07\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
"""T.38 over UDPTL, 16 octets: a sequence number and no header that could be recognised."""


def rtp(
    sequence: int = 0,
    ssrc: int = 0x1234,
    *,
    payload_type: int = 0,
    marker: bool = False,
    payload: bytes = b"\xd5" * 160,
) -> bytes:
    """An RTP packet; its timestamp counts 160 a packet."""
    return (
        struct.pack(
            "!BBHII",
            0x80,
            marker << 7 | payload_type,
            sequence & 0xFFFF,
            sequence * 160 & 0xFFFFFFFF,
            ssrc,
        )
        + payload
    )
