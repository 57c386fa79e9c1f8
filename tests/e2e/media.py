"""Soft endpoints: they speak RTP and remember exactly what they heard, when and whence."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rtpproxy_tw.addresses import Address

FRAME = 0.02
"""Seconds of speech in a packet."""

_SO_TIMESTAMP = 29
"""Linux's option for the time of arrival, which the socket module does not name. Our own clock
would tell when this process was next allowed to run."""

_TURN = 0.004
"""Seconds from one look around to the next."""

_PCMU = 0
_SAMPLES = 160
_RTCP_EVERY = 10
"""Frames between two RTCP reports: far more often than RFC 3550 wants, for short calls."""


class Heard(NamedTuple):
    """One datagram: wall-clock time at which the kernel took it in, source, bytes."""

    when: float
    source: Address
    datagram: bytes


@dataclass(slots=True, eq=False)
class Endpoint:
    """One medium of one party: a pair of sockets on ``host``, RTP on the even ``port``.

    While it has a ``target`` and is not muted it sends a packet of PCMU there every 20 ms, and
    RTCP to the next port.
    """

    host: str
    port: int
    ssrc: int
    target: Address | None = None
    muted: bool = False
    """It does not speak although it could."""
    sent: list[tuple[float, bytes]] = field(default_factory=list)
    sent_rtcp: list[tuple[float, bytes]] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    heard_rtcp: list[Heard] = field(default_factory=list)
    rtp: socket.socket = field(init=False)
    rtcp: socket.socket = field(init=False)
    _due: float = 0.0

    def __post_init__(self) -> None:
        self.rtp, self.rtcp = self._bound(self.port), self._bound(self.port + 1)

    def move(self, port: int) -> None:
        """Go on at another ``port``."""
        if port != self.port:
            self.close()
            self.port = port
            self.rtp, self.rtcp = self._bound(port), self._bound(port + 1)

    def _bound(self, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMP, 1)
        sock.bind((self.host, port))
        return sock

    def close(self) -> None:
        """Close both sockets."""
        self.rtp.close()
        self.rtcp.close()

    def speak(self, now: float) -> None:
        """Send what is due at monotonic time ``now``."""
        if self.target is None or self.muted or now < self._due:
            return
        # After a pause the clock starts anew; a late turn alone does not shift it.
        self._due = self._due + FRAME if now - self._due < 5 * FRAME else now + FRAME
        number = len(self.sent)
        packet = rtp_packet(self.ssrc, number)
        self.sent.append((time.time(), packet))
        self.rtp.sendto(packet, self.target)
        if number % _RTCP_EVERY == 0:
            report = sender_report(self.ssrc, number)
            self.sent_rtcp.append((time.time(), report))
            self.rtcp.sendto(report, (self.target[0], self.target[1] + 1))

    def listen(self) -> None:
        """Take in everything that has arrived."""
        for sock, ear in ((self.rtp, self.heard), (self.rtcp, self.heard_rtcp)):
            while True:
                try:
                    datagram, stamps, _, source = sock.recvmsg(2048, 64)
                except BlockingIOError:
                    break
                seconds, microseconds = struct.unpack("@ll", stamps[0][2])
                ear.append(Heard(seconds + microseconds / 1e6, source, datagram))


def rtp_packet(ssrc: int, number: int) -> bytes:
    """Packet ``number`` of a stream (RFC 3550 section 5.1); its payload is like no other's."""
    marker = 0x80 if number == 0 else 0
    header = struct.pack(
        "!BBHII", 0x80, marker | _PCMU, number & 0xFFFF, number * _SAMPLES & 0xFFFFFFFF, ssrc
    )
    return header + struct.pack("!II", ssrc, number) * (_SAMPLES // 8)


def sender_report(ssrc: int, number: int) -> bytes:
    """A sender report without report blocks (RFC 3550 section 6.4.1)."""
    return struct.pack(
        "!BBHIIIIII", 0x80, 200, 6, ssrc, 0, 0, number * _SAMPLES, number, number * _SAMPLES
    )


def run(
    endpoints: Iterable[Endpoint],
    until: Callable[[], bool],
    timeout: float,
    turn: Callable[[], None] = lambda: None,
) -> None:
    """Let ``endpoints`` speak and listen until ``until()``, calling ``turn`` every few ms.

    AssertionError when that takes more than ``timeout`` seconds.
    """
    endpoints = tuple(endpoints)
    deadline = time.monotonic() + timeout
    while not until():
        now = time.monotonic()
        assert now < deadline, f"not done within {timeout:g} s"
        turn()
        for endpoint in endpoints:
            endpoint.speak(now)
            endpoint.listen()
        time.sleep(_TURN)


def speak_on(endpoints: Sequence[Endpoint], packets: int = 10) -> None:
    """Let ``endpoints`` go on until each that speaks has sent so many packets more."""
    goals = [
        (endpoint, len(endpoint.sent) + packets)
        for endpoint in endpoints
        if endpoint.target is not None and not endpoint.muted
    ]
    run(endpoints, lambda: all(len(one.sent) >= goal for one, goal in goals), 30)


def run_for(endpoints: Iterable[Endpoint], seconds: float) -> None:
    """Let ``endpoints`` speak and listen for so long."""
    end = time.monotonic() + seconds
    run(endpoints, lambda: time.monotonic() >= end, seconds + 10)
