"""How one relay lets itself be looked at by another: who may ask for packets, which, how many.

The relay that helps, *the outside*, opens a socket for each examination. Whoever examines a network
sends STUN requests there, with the examination's name; the answer says how they were seen, and
brings a proof that what is sent to that address is received there. Only to an address with such a
proof are probes sent, so nobody can be made to suffer by asking. A request without the name of an
examination is not answered, and an answer is never longer than its request.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from rtpproxy_tw import stun
from rtpproxy_tw.addresses import Address

MARK = b"rtwprobe"
"""Probes begin so: neither RTP nor STUN, and found in a capture by eye."""

COOKIE_OCTETS = 16

PROBE = struct.Struct(f"!8s{COOKIE_OCTETS}sH")
"""Mark, cookie, port that it was sent to."""

SHORTEST, LONGEST = PROBE.size, 1472
"""Octets of a probe; with IPv4's and UDP's headers the longest one fills an Ethernet frame."""

PORTS_AT_ONCE = 512
"""In one request for probes."""

MOST_PROBES = 200_000
"""Of one examination: every port twice, and some."""

MOST_OCTETS = 16 << 20
"""The same in octets."""

RATE = 2000
"""Packets a second that the outside sends, answers included: as much as 20 calls."""

LIFETIME = 600.0
"""Seconds after which an examination ends by itself."""

MOST_EXAMINATIONS = 4
"""At a time."""

NONCE_OCTETS = 8


class Wanted(NamedTuple):
    """Probes that were asked for: one to each of ``ports`` of ``host``, ``size`` octets long."""

    host: str
    cookie: bytes
    ports: tuple[int, ...]
    size: int = SHORTEST


def probe(cookie: bytes, port: int, size: int = SHORTEST) -> bytes:
    """A probe for ``port``, filled up with zeros to ``size`` octets."""
    return PROBE.pack(MARK, cookie, port).ljust(size, b"\0")


def read_probe(octets: bytes, cookie: bytes) -> int | None:
    """The port that a probe was sent to; None where it is none, or another examination's."""
    if len(octets) < PROBE.size:
        return None
    mark, told, port = PROBE.unpack_from(octets)
    return int(port) if mark == MARK and hmac.compare_digest(told, cookie) else None


class Refused(ValueError):
    """Probes that are not sent; the text says why."""


@dataclass(slots=True)
class Examination:
    """One examination, as the outside keeps it.

    ``name`` is what requests must bring, ``secret`` makes the proofs; both are random.
    """

    name: str
    secret: bytes
    ends: float
    probes: int = MOST_PROBES
    octets: int = MOST_OCTETS

    def answer(self, datagram: bytes, source: Address) -> bytes | None:
        """The answer to what came from ``source``; None: there is none."""
        try:
            kind, transaction, attributes = stun.parse(datagram)
        except stun.NotStun:
            return None
        told = attributes.get(stun.USERNAME, b"")
        if kind != stun.REQUEST or not hmac.compare_digest(told, self.name.encode()):
            return None
        answer = stun.response(transaction, source, {stun.NONCE: self.proof(source[0])})
        return answer if len(answer) <= len(datagram) else None

    def proof(self, host: str) -> bytes:
        """What only somebody at ``host`` gets to know."""
        return hmac.digest(self.secret, host.encode(), hashlib.sha256)[:NONCE_OCTETS]

    def admit(self, wanted: Wanted, proof: bytes) -> None:
        """Count the probes that are ``wanted``. Raises Refused, having counted nothing."""
        if not hmac.compare_digest(self.proof(wanted.host), proof):
            raise Refused(f"nothing has proved that packets to {wanted.host} are welcome there")
        if not 0 < len(wanted.ports) <= PORTS_AT_ONCE:
            raise Refused(f"from one to {PORTS_AT_ONCE} ports at a time")
        if not all(1024 <= port <= 65535 for port in wanted.ports):
            raise Refused("ports are from 1024 to 65535")
        if not SHORTEST <= wanted.size <= LONGEST:
            raise Refused(f"a probe has {SHORTEST} to {LONGEST} octets")
        if len(wanted.cookie) != COOKIE_OCTETS:
            raise Refused(f"a cookie has {COOKIE_OCTETS} octets")
        count = len(wanted.ports)
        if count > self.probes or count * wanted.size > self.octets:
            raise Refused("this examination has had all its packets")
        self.probes -= count
        self.octets -= count * wanted.size


class Pace:
    """No more than ``rate`` packets a second, over any half second."""

    def __init__(self, now: Callable[[], float], rate: int = RATE) -> None:
        self._now = now
        self._rate = rate
        self._left = rate / 2
        self._at = now()

    def take(self) -> bool:
        """Whether one more may be sent now."""
        now = self._now()
        self._left = min(self._rate / 2, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
