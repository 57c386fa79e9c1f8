"""Recordings of encrypted media made plain: SRTP (RFC 3711) with keys from the SDP (RFC 4568).

A relay passes SRTP on as it is and knows no keys; whoever has a call's SDP has them. Every packet
is authenticated before it is decrypted. A recording may begin in the middle of a call, when
sequence numbers have wrapped around nobody knows how often, so the roll-over counter is searched
for when the expected one does not fit: the authentication tag tells which one it is.
"""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from rtpproxy_tw.recording.readback import Packet
from rtpproxy_tw.rtp import Header, peek

SUITES = {"AES_CM_128_HMAC_SHA1_80": 10, "AES_CM_128_HMAC_SHA1_32": 4}
"""By the names of RFC 4568 section 6.2: octets of the authentication tag."""

KEY, SALT, AUTH = 16, 14, 20
"""Octets of a master key and of session keys of both suites."""

_PADDED = 0x20
"""The bit of the first octet that tells of padding (RFC 3550 section 5.1)."""

MOST_ROLLOVERS = 256
"""Counters tried: four days of a call with 50 packets a second."""

MOST_SEARCHES = 50
"""Searches for one source that may fail; with a wrong key every packet would begin one."""


class KeyProblem(Exception):
    """A key that cannot be one, or no library to use it with; the text says why."""


class MasterKey(NamedTuple):
    """What an ``a=crypto`` line of an SDP says."""

    key: bytes
    salt: bytes
    tag: int
    """Octets of the authentication tag."""


def master_key(text: str) -> MasterKey:
    """``SUITE:KEY``, the key in base64, after ``inline:`` or not. Raises KeyProblem."""
    name, colon, rest = text.partition(":")
    tag = SUITES.get(name.upper())
    if not colon:
        raise KeyProblem(f"{text}: must be SUITE:KEY, the key in base64")
    if tag is None:
        raise KeyProblem(f"{name}: suites known here are {', '.join(SUITES)}")
    encoded, _, more = rest.removeprefix("inline:").partition("|")
    if ":" in more:
        raise KeyProblem("keys with an MKI are not known here")
    try:
        octets = b64decode(encoded, validate=True)
    except ValueError as error:
        raise KeyProblem(f"the key is not base64: {error}") from error
    if len(octets) != KEY + SALT:
        raise KeyProblem(f"a key has {KEY + SALT} octets, not {len(octets)}")
    return MasterKey(octets[:KEY], octets[KEY:], tag)


def keystream(key: bytes, counter: int, octets: int) -> bytes:
    """AES in counter mode (RFC 3711 section 4.1.1). Raises KeyProblem without the library."""
    return _cipher(key, counter, bytes(octets))


def _cipher(key: bytes, counter: int, data: bytes) -> bytes:
    ciphers = _library()
    mode = ciphers.modes.CTR(counter.to_bytes(16, "big"))
    found: bytes = ciphers.Cipher(ciphers.algorithms.AES(key), mode).encryptor().update(data)
    return found


def _library() -> Any:
    try:
        return import_module("cryptography.hazmat.primitives.ciphers")
    except ImportError as error:
        raise KeyProblem(
            "SRTP is decrypted by the library cryptography: pip install rtpproxy-tw[srtp]"
        ) from error


def session_key(master: MasterKey, label: int, octets: int) -> bytes:
    """Derive a key that is never renewed (RFC 3711 section 4.3). Raises KeyProblem."""
    salted = int.from_bytes(master.salt, "big") ^ label << 48
    return keystream(master.key, salted << 16, octets)


class _Source:
    """What is known of one SSRC: the highest index so far."""

    __slots__ = ("highest", "searches")

    def __init__(self) -> None:
        self.highest: int | None = None
        self.searches = 0

    def likely(self, sequence: int) -> int:
        """The roll-over counter a number most likely has (RFC 3711 section 3.3.1)."""
        if self.highest is None:
            return 0
        rollovers, latest = self.highest >> 16, self.highest & 0xFFFF
        if sequence - latest > 0x8000:
            return max(0, rollovers - 1)
        return rollovers + (latest - sequence > 0x8000)


class Decryption:
    """Decrypts what one party sent. Raises KeyProblem without the library."""

    def __init__(self, master: MasterKey) -> None:
        self._tag = master.tag
        self._key = session_key(master, 0, KEY)
        self._auth = session_key(master, 1, AUTH)
        self._salt = int.from_bytes(session_key(master, 2, SALT), "big") << 16
        self._sources: dict[int, _Source] = {}

    def __call__(self, datagram: bytes) -> bytes | None:
        """The RTP packet; None if it is none, or not authentic."""
        packet, tag = datagram[: -self._tag], datagram[-self._tag :]
        header = _header(packet)
        if header is None:
            return None
        source = self._sources.setdefault(header.ssrc, _Source())
        rollovers = self._rollovers(source, header.sequence, packet, tag)
        if rollovers is None:
            return None
        index = rollovers << 16 | header.sequence
        source.highest = max(index, source.highest or 0)
        counter = self._salt ^ header.ssrc << 64 ^ index << 16
        return packet[: header.start] + _cipher(self._key, counter, packet[header.start :])

    def _rollovers(self, source: _Source, sequence: int, packet: bytes, tag: bytes) -> int | None:
        likely = source.likely(sequence)
        if self._is_authentic(packet, likely, tag):
            return likely
        if source.searches >= MOST_SEARCHES:
            return None
        lowest = 0 if source.highest is None else source.highest >> 16
        for rollovers in range(lowest, lowest + MOST_ROLLOVERS):
            if self._is_authentic(packet, rollovers, tag):
                return rollovers
        source.searches += 1
        return None

    def _is_authentic(self, packet: bytes, rollovers: int, tag: bytes) -> bool:
        digest = hmac.digest(self._auth, packet + rollovers.to_bytes(4, "big"), "sha1")
        return hmac.compare_digest(digest[: self._tag], tag)


def _header(packet: bytes) -> Header | None:
    """That of RTP, whose padding says how long it is only once it is decrypted."""
    if packet and packet[0] & _PADDED:
        packet = bytes([packet[0] & ~_PADDED]) + packet[1:]
    return peek(packet)


def decrypted(packets: Sequence[Packet], master: MasterKey) -> tuple[list[Packet], int]:
    """The RTP packets among them in plain, and how many others looked like RTP and are left out.

    Raises KeyProblem without the library.
    """
    decrypt = Decryption(master)
    found, refused = [], 0
    for packet in packets:
        datagram = decrypt(packet.datagram)
        if datagram is not None:
            found.append(packet._replace(datagram=datagram))
        elif _header(packet.datagram) is not None:
            refused += 1
    return found, refused
