"""The parties' media: RTP both ways in every call, and what became of each packet.

All callers hear at one port and all callees at another; each packet tells which call it is of and
its number among all. That it comes from the address its call was told of is looked at, too.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from bench.cluster.signalling import CALLEE, CALLER, Way
from bench.cluster.world import PHONES, World

RCVBUFFORCE = 33
"""SO_RCVBUFFORCE, socket(7), which Python has no name for."""

PACKET = struct.Struct(">BBHIIII")
"""A header of RTP, whose SSRC is that of the stream; the stream; the number among all packets."""

LATE = 0.5
"""Seconds; a packet that takes longer is of no use to a phone, and counts as lost."""

APART = 0.2
"""Seconds without a loss between two outages."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the phones can say."""

    kept: int
    """Calls in which both still hear each other."""
    sent: int
    lost: int
    outage: float
    """Seconds from the first packet lost, of whatever call, to the last one, of the longest such
    time; or the longest delay where that is more."""
    strays: int
    """Packets that came from elsewhere than the call was told."""


class Media:
    """``ways`` are, for each call, where its caller and where its callee sends to; ``rate`` packets
    a second each way."""

    def __init__(self, world: World, ways: Sequence[tuple[Way, Way]], rate: float) -> None:
        self._rate = rate
        self._targets = [way for both in ways for way in both]
        with world.space("phones"):
            self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for sock, port in zip(self._sockets, (CALLER, CALLEE), strict=True):
            sock.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 1 << 25)
            sock.bind((PHONES, port))
            sock.setblocking(False)
        self._sent = array("d")
        """When each packet was sent."""
        self._heard = array("d")
        """When it came; 0.0: not yet."""
        self._strays = 0
        self._going = True
        self._hearing = True
        self._threads = [threading.Thread(target=each) for each in (self._send, self._hear)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let what is under way arrive, and stop. Idempotent."""
        if self._going:
            self._going = False
            self._threads[0].join()
            time.sleep(LATE + 0.1)
            self._hearing = False
            self._threads[1].join()
            for sock in self._sockets:
                sock.close()

    def _send(self) -> None:
        targets, spacing = self._targets, 1 / (self._rate * len(self._targets))
        turn, due = 0, time.monotonic()
        while self._going:
            for stream, target in enumerate(targets):
                number = len(self._sent)
                head = PACKET.pack(
                    0x80, 0, turn & 0xFFFF, 160 * turn & 0xFFFFFFFF, stream + 1, stream, number
                )
                self._heard.append(0.0)
                self._sent.append(time.monotonic())
                with suppress(OSError):
                    self._sockets[stream % 2].sendto(head + bytes(152), target)
                due += spacing
                ahead = due - time.monotonic()
                if ahead > 0.002:
                    time.sleep(ahead)
            turn += 1

    def _hear(self) -> None:
        while self._hearing:
            ready, _, _ = select.select(self._sockets, (), (), 0.1)
            for sock in ready:
                with suppress(BlockingIOError):
                    for _ in range(64):
                        self._note(*sock.recvfrom(2048))

    def _note(self, packet: bytes, source: Way) -> None:
        if len(packet) < PACKET.size:
            return
        *_, stream, number = PACKET.unpack_from(packet)
        if number < len(self._heard):
            self._heard[number] = time.monotonic()
            # What one party sends to comes to the other from where that one sends to.
            self._strays += source != self._targets[stream ^ 1]

    def told(self, began: float, ended: float) -> Heard:
        """What was heard; outages are those since ``began``, and a call was kept whose parties
        heard each other just before ``ended``, both of time.monotonic()."""
        well = [
            0.0 < came - sent <= LATE for sent, came in zip(self._sent, self._heard, strict=True)
        ]
        gone = [sent for sent, good in zip(self._sent, well, strict=True) if not good]
        streams = len(self._targets)
        last = [0.0] * streams
        for number, good in enumerate(well):
            if good:
                last[number % streams] = self._sent[number]
        alive = [at >= ended - 3 / self._rate for at in last]
        delays = (
            came - sent
            for sent, came, good in zip(self._sent, self._heard, well, strict=True)
            if good and sent >= began - LATE
        )
        gap = max(max(delays, default=0.0), longest(at for at in gone if at >= began - LATE))
        return Heard(
            kept=sum(both == (True, True) for both in zip(alive[::2], alive[1::2], strict=True)),
            sent=len(self._sent),
            lost=len(gone),
            outage=gap,
            strays=self._strays,
        )


def longest(times: Iterable[float]) -> float:
    """From the first to the last of the longest series of ``times``, in order, without a pause."""
    found, first, last = 0.0, 0.0, float("-inf")
    for at in times:
        if at - last > APART:
            first = at
        last = at
        found = max(found, last - first)
    return found
