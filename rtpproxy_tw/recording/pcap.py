"""Recordings as classic pcap files, with made-up Ethernet, IP and UDP headers.

The headers are those of the original: MAC addresses derived from the IP addresses, IPv4 with
TTL 127 and a running identification (RFC 791), IPv6 with hop limit 64 (RFC 8200), valid
checksums (RFC 768, RFC 1071).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.recording.packed import packed_pair

SNAPLEN = 65535
"""Octets of a frame that are kept; only a datagram near the limit of UDP is longer."""

_MAGIC = 0xA1B2C3D4
_ETHERNET = 1
_TYPE_IPV4 = b"\x08\x00"
_TYPE_IPV6 = b"\x86\xdd"
_UDP = 17
_TTL = 127
_HOP_LIMIT = 64

_FILE = struct.Struct("=IHHiIII")
_RECORD = struct.Struct("=IIII")
_OVER_IPV4 = struct.Struct("!14sHHHHBBH8sHHHH")
_OVER_IPV6 = struct.Struct("!14sIHBB32sHHHH")
"""Ethernet, IP and UDP headers in one."""


def header() -> bytes:
    """What a file begins with: version 2.4, host order, microseconds, Ethernet."""
    return _FILE.pack(_MAGIC, 2, 4, 0, 0, SNAPLEN, _ETHERNET)


def record(
    datagram: bytes, source: Address, local: Address, when: float, identification: int
) -> bytes:
    """One datagram that went from ``source`` to ``local``.

    ``when`` is seconds since the epoch, ``identification`` a running number, of which IPv4
    carries 16 bits. ``local`` is written as it is, so it had better not be a wildcard address.
    """
    flow = _flow(source[0], local[0])
    length = 8 + len(datagram)
    # A sum of 0 is sent as 65535, its equal: 0 says that there is no checksum (RFC 768).
    words = int.from_bytes(datagram + b"\0" if length & 1 else datagram, "big")
    total = -(flow.pseudo + 2 * length + source[1] + local[1] + words) % 0xFFFF or 0xFFFF
    ports = (source[1], local[1], length, total)
    identification &= 0xFFFF
    if flow.is_v4:
        whole = 20 + length
        header_sum = -(flow.network + whole + identification) % 0xFFFF
        head = _OVER_IPV4.pack(
            *(flow.frame, 0x4500, whole, identification, 0, _TTL, _UDP, header_sum),
            *(flow.addresses, *ports),
        )
    else:
        head = _OVER_IPV6.pack(
            flow.frame, 6 << 28, length, _UDP, _HOP_LIMIT, flow.addresses, *ports
        )
    frame = head + datagram
    seconds, micros = divmod(round(when * 1_000_000), 1_000_000)
    kept = frame[:SNAPLEN]
    return _RECORD.pack(seconds & 0xFFFFFFFF, micros, len(kept), len(frame)) + kept


class _Flow(NamedTuple):
    """What all packets from one host to another have in common, and sums of that (RFC 1071)."""

    is_v4: bool
    frame: bytes
    """Both MAC addresses and the type."""
    addresses: bytes
    network: int
    """Of the IPv4 header, but for length and identification."""
    pseudo: int
    """Of the pseudo-header (RFC 768, RFC 8200 section 8.1), but for the length."""


@lru_cache(maxsize=4096)
def _flow(source: str, local: str) -> _Flow:
    """Raises OSError where a host is no numeric address."""
    sender, receiver = packed_pair(source, local)
    is_v4 = len(sender) == 4
    frame = _mac(receiver) + _mac(sender) + (_TYPE_IPV4 if is_v4 else _TYPE_IPV6)
    words = int.from_bytes(sender + receiver, "big")
    network = words + 0x4500 + (_TTL << 8 | _UDP)
    return _Flow(is_v4, frame, sender + receiver, network % 0xFFFF, (words + _UDP) % 0xFFFF)


def _mac(host: bytes) -> bytes:
    """A MAC address made of an IP address: padded if IPv4, folded by XOR if IPv6."""
    if len(host) == 4:
        return b"\0\0" + host
    mac = bytearray(6)
    for index, octet in enumerate(host):
        mac[index % 6] ^= octet
    return bytes(mac)
