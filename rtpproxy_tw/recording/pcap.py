"""Recordings as classic pcap files, with made-up Ethernet, IP and UDP headers.

The headers are those of the original: MAC addresses derived from the IP addresses, IPv4 with
TTL 127 and a running identification (RFC 791), IPv6 with hop limit 64 (RFC 8200), valid
checksums (RFC 768, RFC 1071).
"""

from __future__ import annotations

import struct

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
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_PORTS = struct.Struct("!HHHH")
_PSEUDO = struct.Struct("!HH")


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
    sender, receiver = packed_pair(source[0], local[0])
    udp = _udp(datagram, sender, receiver, source[1], local[1])
    if len(sender) == 4:
        kind, network = _TYPE_IPV4, _ipv4(sender, receiver, len(udp), identification & 0xFFFF)
    else:
        kind, network = _TYPE_IPV6, _ipv6(sender, receiver, len(udp))
    frame = b"".join((_mac(receiver), _mac(sender), kind, network, udp))
    seconds, micros = divmod(round(when * 1_000_000), 1_000_000)
    kept = frame[:SNAPLEN]
    return _RECORD.pack(seconds & 0xFFFFFFFF, micros, len(kept), len(frame)) + kept


def checksum(octets: bytes) -> int:
    """The complement of the one's complement sum of 16-bit words (RFC 1071), network order.

    That sum is the remainder of the octets, read as one number, divided by 65535, because
    65536 leaves 1; so one division does it. Not for octets that are all zero.
    """
    return -int.from_bytes(octets + bytes(len(octets) & 1), "big") % 0xFFFF


def _mac(host: bytes) -> bytes:
    """A MAC address made of an IP address: padded if IPv4, folded by XOR if IPv6."""
    if len(host) == 4:
        return b"\0\0" + host
    mac = bytearray(6)
    for index, octet in enumerate(host):
        mac[index % 6] ^= octet
    return bytes(mac)


def _ipv4(sender: bytes, receiver: bytes, length: int, identification: int) -> bytes:
    """The header of a packet with ``length`` octets behind it."""

    def built(total: int) -> bytes:
        return _IPV4.pack(
            0x45, 0, 20 + length, identification, 0, _TTL, _UDP, total, sender, receiver
        )

    return built(checksum(built(0)))


def _ipv6(sender: bytes, receiver: bytes, length: int) -> bytes:
    """The header of a packet with ``length`` octets behind it."""
    return _IPV6.pack(6 << 28, length, _UDP, _HOP_LIMIT, sender, receiver)


def _udp(
    datagram: bytes, sender: bytes, receiver: bytes, source_port: int, local_port: int
) -> bytes:
    """UDP header and datagram."""
    length = 8 + len(datagram)
    bare = _PORTS.pack(source_port, local_port, length, 0) + datagram
    pseudo = sender + receiver + _PSEUDO.pack(_UDP, length)
    # A sum of 0 is sent as 65535, its equal: 0 says that there is no checksum (RFC 768).
    total = checksum(pseudo + bare) or 0xFFFF
    return _PORTS.pack(source_port, local_port, length, total) + datagram
