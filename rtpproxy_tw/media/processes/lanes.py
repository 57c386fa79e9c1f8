"""What a media process does with packets: the loop, without Twisted, of one who only relays.

A *lane* is a flow at work. The ordinary packet is known beforehand (``media/shortcut.py``), so that
it is compared, noted and sent on; counters and statistics are worked out for many at once. Whoever
is not the believed source is not relayed but told to the relay, up to a budget.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.media.connecting import HOLE, MISSED, SILENCE, TRY_AGAIN, disconnect
from rtpproxy_tw.media.kernel.path import RtpState
from rtpproxy_tw.media.processes import layout
from rtpproxy_tw.media.processes.layout import Published
from rtpproxy_tw.media.shortcut import HEADER, NOTHING, Prediction
from rtpproxy_tw.quality.analyzer import Analyzer

BUDGET = 100
"""Datagrams of strangers per flow and second that the relay hears of, as from the kernel."""

DRAINED = 16
"""Datagrams read in a row to find the end of what came before a port was connected."""

PUBLISH_EVERY = 0.85
"""Seconds between two times that the statistics of an undisturbed flow are worked out."""

LONGEST = 65_536

BUFFER = bytearray(LONGEST)
WHOLE = memoryview(BUFFER)
FIXED = WHOLE[:HEADER]
USUAL = 1600
BEGINNINGS = [WHOLE[:size] for size in range(USUAL)]
"""Of datagrams so long and shorter, made once for all."""


_write = layout.TRAFFIC.pack_into


class Port:
    """A socket of the relay's, of which there is a descriptor here."""

    __slots__ = (
        "connected",
        "fd",
        "lane",
        "name",
        "sendto",
        "socket",
        "transmit",
        "try_at",
        "users",
    )

    def __init__(self, name: int, sock: socket.socket) -> None:
        self.name = name
        self.socket = sock
        self.fd = sock.fileno()
        self.users = 0
        """How many lanes arrive or leave here."""
        self.lane: Lane | None = None
        """The one that arrives here."""
        self.connected = False
        self.try_at = 0.0
        self.transmit = sock.send
        self.sendto = sock.sendto

    def loosen(self) -> None:
        """Take from everybody again. Idempotent."""
        if not self.connected:
            return
        self.connected = False
        if self.lane is not None:
            self.lane.trust_nobody()
        with suppress(OSError):
            disconnect(self.socket)


class Lane(Prediction):
    """One flow at work.

    ``source`` is None where the kernel lets nobody else in.
    """

    __slots__ = (
        "analyzer",
        "arrivals",
        "base",
        "begun",
        "dirty",
        "extra",
        "failed",
        "foreign",
        "gap",
        "id",
        "last",
        "may_connect",
        "octets",
        "out",
        "packets",
        "port",
        "publish_at",
        "receive",
        "refused",
        "second",
        "source",
        "spent",
        "start",
        "steady",
        "to",
    )

    def __init__(self, told: layout.Lane, port: Port, out: Port) -> None:
        super().__init__()
        self.id = told.id
        self.port, self.out = port, out
        self.base = told.slot * layout.WORDS
        self.start = told.slot * layout.SLOT_SIZE + layout.PUBLISHED_AT
        self.begun = told.source
        """The believed source."""
        self.source: Address | None = told.source
        self.to = told.to
        self.receive: Callable[..., Any] = port.socket.recvfrom_into
        self.may_connect = bool(told.flags & layout.CONNECT_FLAG)
        self.arrivals: list[float] = []
        self.packets = self.octets = self.extra = 0
        """Relayed, without what is in ``arrivals``; and by how much that is longer than ``size``
        each."""
        self.steady = False
        """Whether the memory says that all packets follow each other."""
        self.dirty = False
        """Whether what is published is about to be published again."""
        self.last = self.gap = 0.0
        self.foreign = self.refused = self.failed = 0
        self.second, self.spent = 0.0, 0
        self.publish_at = 0.0
        self.analyzer: Analyzer | None = None
        if told.flags & layout.RTP_FLAG:
            self.analyzer = Analyzer()
            self.analyzer.resume(dict(zip(RtpState._fields, told.rtp, strict=True)))

    def fold(self) -> None:
        """Work out what ordinary packets have told."""
        arrivals = self.arrivals
        if not arrivals:
            return
        self.packets += len(arrivals)
        self.octets += len(arrivals) * self.size + self.extra
        self.extra = 0
        before, longest = self.last or arrivals[0], self.gap
        for now in arrivals:
            if now - before > longest:
                longest = now - before
            before = now
        self.gap, self.last = longest, before
        if self.analyzer is not None:
            self.analyzer.paced(arrivals, self.stamp_step)
        self.settle()
        arrivals.clear()

    def count(self, size: int, now: float) -> None:
        """A packet that is not ordinary is in the buffer."""
        self.fold()
        gap = now - self.last if self.last else 0.0
        if gap > self.gap:
            self.gap = gap
        self.last = now
        self.packets += 1
        self.octets += size
        analyzer = self.analyzer
        if analyzer is None:
            return
        if size < HEADER:
            analyzer.heard(bytes(WHOLE[:size]), now)
            return
        lost = analyzer.lost
        if not analyzer.follows(BUFFER, now):
            analyzer.heard(bytes(WHOLE[:size]), now)
        self.expect(int.from_bytes(FIXED, "big"), size, analyzer)
        if gap >= HOLE and self.port.connected and analyzer.lost - lost >= MISSED:
            self.port.loosen()
            self.port.try_at = now + TRY_AGAIN

    def not_sent(self, size: int) -> None:
        """What is counted as relayed, by then or later, was not."""
        self.packets -= 1
        self.octets -= size
        self.failed += 1

    @property
    def latest(self) -> float:
        """When the last packet came, 0 before any."""
        return self.arrivals[-1] if self.arrivals else self.last

    def admits(self, now: float) -> bool:
        """Whether the relay is to hear of one more stranger; counts."""
        if now - self.second >= 1.0:
            self.second, self.spent = now, 0
        if self.spent >= BUDGET:
            self.refused += 1
            return False
        self.spent += 1
        self.foreign += 1
        return True

    def state(self) -> RtpState:
        """The RTP statistics."""
        return RtpState() if self.analyzer is None else RtpState(**self.analyzer.snapshot())

    # Being connected.

    def trust_nobody(self) -> None:
        """Compare sources here."""
        self.source, self.receive = self.begun, self.port.socket.recvfrom_into

    def watch(self, now: float) -> None:
        """Be connected while packets come, and not when there is silence."""
        port, last = self.port, self.latest
        if port.connected:
            if now - last >= SILENCE:
                port.loosen()
        elif self.may_connect and now >= port.try_at and now - last < SILENCE and self._mutual():
            try:
                port.socket.connect(self.begun)
            except OSError:
                port.try_at = now + TRY_AGAIN
            else:
                port.connected = True

    def _mutual(self) -> bool:
        """Whether all that leaves by our port goes to whom we hear."""
        twin = self.out.lane
        return twin is not None and twin.out is self.port and twin.to == self.begun

    def rely(self) -> None:
        """Nothing is left of what came before the port was connected: the kernel compares now."""
        if self.port.connected and self.source is not None:
            self.source, self.receive = None, self.port.socket.recv_into


class Memory:
    """The shared memory, as the process that writes it sees it."""

    def __init__(self, view: memoryview) -> None:
        self.octets = view.cast("B")
        self.words = self.octets.cast("Q")
        self.times = self.octets.cast("d")

    def count(self, lane: Lane) -> None:
        """Write down what ``lane`` has relayed; cheap."""
        count = len(lane.arrivals)
        _write(
            self.octets,
            lane.base * 8,
            lane.packets + count,
            lane.octets + count * lane.size + lane.extra,
            lane.latest,
        )

    def disturb(self, lane: Lane) -> None:
        """Write down that not all packets of ``lane`` follow each other."""
        lane.steady = False
        self.words[lane.base + layout.STEADY] = 0

    def publish(self, lane: Lane) -> None:
        """Write down all that is known of ``lane``."""
        lane.fold()
        words, base = self.words, lane.base
        told = layout.pack_published(
            Published(
                lane.packets,
                lane.gap,
                lane.foreign,
                lane.refused,
                lane.failed,
                lane.state(),
            )
        )
        words[base + layout.VERSION] += 1
        words[base + layout.STEADY] = 0
        self.octets[lane.start : lane.start + len(told)] = told
        self.count(lane)
        lane.steady = lane.analyzer is not None and lane.expected != NOTHING
        words[base + layout.STEADY] = lane.stamp_step + 1 if lane.steady else 0
        words[base + layout.VERSION] += 1
        lane.dirty = False
