"""Recordings read back: the ad-hoc format and pcap, ours, the original's and other programs'.

Reading is total: whatever the octets are, the packets before the first damage are given, and what
the damage is and where it begins is told. A recording that a crash cut short is damaged only in
its last record.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from rtpproxy_tw.addresses import Address

LONGEST_FRAME = 262_144
"""Octets of a captured frame that are believed; the largest snapshot length programs use."""

LATEST = 1e11
"""Seconds since the epoch that are believed: some three thousand years."""

_MAGICS = {
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
}
"""First octets of a pcap file: its byte order and the unit of its fractions of a second."""

_FILE_HEADER = 24
_ADHOC_HEADER = 30

_V4, _V6 = (2,), (10, 28, 30)
"""Address families as Linux, FreeBSD and macOS number them."""

_NULL, _ETHERNET, _RAW, _COOKED = 0, 1, 101, 113
"""Link types of pcap files."""

_VLAN = (0x8100, 0x88A8)
_IPV4, _IPV6, _UDP = 0x0800, 0x86DD, 17
_PORTS = Struct("!HHHH")
_WORD = Struct("!H")


class Packet(NamedTuple):
    """A datagram that came ``when`` (seconds since the epoch); the ad-hoc format has no ``to``."""

    when: float
    source: Address
    to: Address | None
    datagram: bytes


class Reading:
    """One file being read; iterate once for its packets, then the attributes are right."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.is_pcap = octets[:4] in _MAGICS
        self.whole = 0
        """Where the last record that is whole ends; what follows is damage."""
        self.records = 0
        """How many records are whole."""
        self.foreign = 0
        """How many of them are no UDP datagrams, or only parts of them."""
        self.damage: str | None = None
        """What is wrong, in words; None: nothing."""

    def __iter__(self) -> Iterator[Packet]:
        return self._pcap() if self.is_pcap else self._adhoc()

    def _adhoc(self) -> Iterator[Packet]:
        octets, at = self._octets, 0
        order = "<" if octets[1:2] == b"\0" else ">"
        family_of, arrival_of = Struct(order + "H"), Struct(order + "dH")
        while at + _ADHOC_HEADER <= len(octets):
            (family,) = family_of.unpack_from(octets, at)
            when, length = arrival_of.unpack_from(octets, at + 20)
            if family not in _V4 + _V6 or not 0 <= when < LATEST:
                self._damaged("is no record")
                return
            end = at + _ADHOC_HEADER + length
            if end > len(octets):
                break
            host = _host(octets[at + 4 : at + (8 if family in _V4 else 20)])
            port = int.from_bytes(octets[at + 2 : at + 4], "big")
            self._took(end)
            yield Packet(when, (host, port), None, octets[at + _ADHOC_HEADER : end])
            at = end
        self._ended()

    def _pcap(self) -> Iterator[Packet]:
        octets = self._octets
        order, unit = _MAGICS[octets[:4]]
        if len(octets) < _FILE_HEADER:
            self._damaged("is a part of a file header")
            return
        link = int.from_bytes(octets[20:24], "little" if order == "<" else "big") & 0xFFFF
        record = Struct(order + "IIII")
        self.whole = at = _FILE_HEADER
        if link not in (_NULL, _ETHERNET, _RAW, _COOKED):
            self._damaged(f"has link type {link}, which is not known here")
            return
        while at + record.size <= len(octets):
            seconds, fraction, kept, length = record.unpack_from(octets, at)
            start = at + record.size
            if kept > LONGEST_FRAME or fraction * unit >= 1:
                self._damaged("is no record")
                return
            if start + kept > len(octets):
                break
            at = start + kept
            self._took(at)
            found = _datagram(octets[start:at], link) if kept == length else None
            if found is None:
                self.foreign += 1
            else:
                yield Packet(seconds + fraction * unit, *found)
        self._ended()

    def _took(self, end: int) -> None:
        self.whole = end
        self.records += 1

    def _ended(self) -> None:
        if self.whole < len(self._octets):
            self._damaged("is a part of a record")

    def _damaged(self, what: str) -> None:
        self.damage = f"what follows octet {self.whole} {what}"


def _host(octets: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(octets) == 4 else socket.AF_INET6, octets)


def _datagram(frame: bytes, link: int) -> tuple[Address, Address, bytes] | None:
    """Whence, whither and what, if the frame holds a whole UDP datagram."""
    packet = _network(frame, link)
    if not packet:
        return None
    version = packet[0] >> 4
    if version == 4 and len(packet) >= 20:
        start = (packet[0] & 15) * 4
        # Of a fragmented datagram no part is of use.
        fragmented = _WORD.unpack_from(packet, 6)[0] & 0x3FFF
        if packet[9] != _UDP or fragmented or start < 20:
            return None
        sender, receiver = packet[12:16], packet[16:20]
    elif version == 6 and len(packet) >= 40 and packet[6] == _UDP:
        start, sender, receiver = 40, packet[8:24], packet[24:40]
    else:
        return None
    if start + 8 > len(packet):
        return None
    source, to, length, _ = _PORTS.unpack_from(packet, start)
    datagram = packet[start + 8 : start + length]
    if length < 8 or len(datagram) != length - 8:
        return None
    return (_host(sender), source), (_host(receiver), to), datagram


def _network(frame: bytes, link: int) -> bytes:
    """The IP packet in a frame; empty where there is none."""
    if link == _RAW:
        return frame
    if link == _NULL:
        return frame[4:]
    if link == _COOKED:
        return frame[16:]
    at = 12
    while len(frame) >= at + 2:
        (kind,) = _WORD.unpack_from(frame, at)
        if kind in (_IPV4, _IPV6):
            return frame[at + 2 :]
        if kind not in _VLAN:
            break
        at += 4
    return b""
