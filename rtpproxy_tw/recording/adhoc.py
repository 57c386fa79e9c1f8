"""The original's own recording format: a 30-byte header before each datagram.

======  =======  =======================================================================
offset  octets   content
======  =======  =======================================================================
0       2        address family of the sender, host order
2       2        its port, network order
4       4 or 16  its address, network order; zeros up to offset 20
20      8        arrival, IEEE 754 double in host order, seconds since the epoch
28      2        length of the datagram, host order
======  =======  =======================================================================
"""

from __future__ import annotations

import struct
from functools import lru_cache

from rtpproxy_tw.addresses import Address, family_of
from rtpproxy_tw.recording.packed import packed

_FAMILY = struct.Struct("=H")
_PORT = struct.Struct("!H")
_ARRIVAL = struct.Struct("=dH")


def header() -> bytes:
    """What a file begins with: nothing."""
    return b""


def record(datagram: bytes, source: Address, when: float) -> bytes:
    """One datagram from ``source`` that arrived ``when`` (seconds since the epoch)."""
    return _sender(source) + _ARRIVAL.pack(when, len(datagram)) + datagram


@lru_cache(maxsize=4096)
def _sender(source: Address) -> bytes:
    """What all records of a sender begin with."""
    host, port = source
    return _FAMILY.pack(family_of(host)) + _PORT.pack(port) + packed(host).ljust(16, b"\0")
