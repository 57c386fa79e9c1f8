"""A phone without a person: it says its tone every 20 ms and listens to the other one's.

It has two UDP sockets, RTP on an even port and RTCP on the next one (RFC 3550 section 11), and
no thread: whoever runs the call tells it when to speak and when to listen.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from contextlib import suppress

from rtpproxy_tw.addresses import Address, family_of
from rtpproxy_tw.tools.hearing import Figures, Hearing
from rtpproxy_tw.tools.speech import Speaker

_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("ll")
"""Linux's option to have the kernel date what arrives, and how it does; Python has no name for
it. Without it a phone that gets the processor late would take that for the relay's delay."""

_ATTEMPTS = 200
"""Ports tried until an even one and the next are both free."""


class NoPorts(OSError):
    """No pair of an even port and the next one is free."""


class Phone:
    """One party of a call, at ``host``. Opens its sockets at once; raises OSError.

    ``hertz`` is the pitch of its tone, ``told`` the relay's RTP address it was told: there it
    sends, and from there it expects the other phone's speech.
    """

    def __init__(self, name: str, host: str, hertz: int, told: Address) -> None:
        self.speaker = Speaker(
            name,
            hertz,
            ssrc=secrets.randbits(32),
            sequence=secrets.randbits(16),
            timestamp=secrets.randbits(32),
        )
        self.rtp, self.rtcp = bind_pair(host)
        self.address: Address = self.rtp.getsockname()[:2]
        self.told = told
        self.sent_at: list[float] = []
        self.reports_sent = 0
        self.hearing: Hearing | None = None

    def call(self, other: Phone) -> None:
        """From now on what is heard is ``other``."""
        self.hearing = Hearing(other.speaker, self.told, other.sent_at)

    def speak(self, now: float) -> None:
        """Send the next packet; ``now`` is monotonic seconds."""
        packet = self.speaker.packet(len(self.sent_at))
        self.sent_at.append(now)
        _send(self.rtp, packet, self.told)

    def report(self, wall: float) -> None:
        """Send an RTCP report; ``wall`` is seconds since 1970."""
        self.reports_sent += 1
        report = self.speaker.report(len(self.sent_at), wall)
        _send(self.rtcp, report, (self.told[0], self.told[1] + 1))

    def end(self) -> None:
        """The call is over: whatever is heard from now on should not have come."""
        if self.hearing is not None:
            self.hearing.over = True

    def babble(self, now: float) -> None:
        """Send a packet that nobody may hear, as a phone does that missed the end of a call."""
        _send(self.rtp, self.speaker.packet(len(self.sent_at)), self.told)

    def listen(self, sock: socket.socket) -> None:
        """Take one datagram from ``sock``, one of this phone's, if there is any.

        What has waited for us is dated back to when it came.
        """
        try:
            datagram, ancillary, _, source = sock.recvmsg(65536, 64)
        except OSError:
            return
        if self.hearing is None:
            return
        if sock is self.rtp:
            # In this order, so that a pause between both lengthens a delay: never below zero.
            waited = _waited(ancillary, time.time())
            self.hearing.heard(datagram, source[:2], time.monotonic() - waited)
        else:
            self.hearing.heard_report(datagram, source[:2])

    def close(self) -> None:
        """Close both sockets."""
        self.rtp.close()
        self.rtcp.close()


def heard_by(listener: Phone, talker: Phone, *, final: bool) -> Figures:
    """The direction from ``talker`` to ``listener`` in figures."""
    if listener.hearing is None:
        return Figures()
    return listener.hearing.figures(reports_sent=talker.reports_sent, final=final)


def bind_pair(host: str) -> tuple[socket.socket, socket.socket]:
    """Sockets on a free even port of ``host`` and on the next one. Raises OSError."""
    for _ in range(_ATTEMPTS):
        first = _bound(host, 0)
        port = first.getsockname()[1]
        if port % 2 == 0:
            try:
                return first, _bound(host, port + 1)
            except OSError:
                pass
        first.close()
    raise NoPorts(f"no two adjacent UDP ports are free on {host}")


def host_towards(relay: Address) -> str:
    """The address of this machine from which ``relay`` is reached. Raises OSError."""
    with socket.socket(family_of(relay[0]), socket.SOCK_DGRAM) as sock:
        sock.connect(relay)
        return str(sock.getsockname()[0])


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket(family_of(host), socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.bind((host, port))
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    except OSError:
        sock.close()
        raise
    return sock


def _waited(ancillary: list[tuple[int, int, bytes]], wall: float) -> float:
    """Seconds from a datagram's arrival to ``wall`` (since 1970), 0 where nobody noted it."""
    for level, kind, value in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(value) == _TIMESPEC.size:
            seconds, nanoseconds = map(int, _TIMESPEC.unpack(value))
            return max(0.0, wall - seconds - nanoseconds / 1e9)
    return 0.0


def _send(sock: socket.socket, datagram: bytes, to: Address) -> None:
    try:
        sock.sendto(datagram, to)
    except OSError:
        # A packet that the kernel refuses is a packet that does not arrive; it counts as such.
        return
