"""The port of a stream in the epoll plane, and the three ways in which it receives.

careful     source and datagram go through :meth:`Relay.received`, which judges, counts and sends
quick       the stream is settled, and nobody wants its packets but the other party. What the latch
            would say is known by comparing the source; the ordinary next packet is noted, and sent
            on out of the buffer it was received into, by the loop of :class:`MediaSet` and without
            a call of anything here. What is not ordinary, what comes from elsewhere, and one
            packet every ``LOOK_EVERY`` seconds goes the careful way
connected   quick, and the kernel compares the source: neither receiving nor sending handles an
            address. Packets from elsewhere do not even reach the port, so it is disconnected when
            the party has been silent: one that a NAT moved must be heard again; and for a while
            when a pause in its stream was none, so that whoever else sends can be told of
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.media.connecting import HOLE, MISSED, SILENCE, TRY_AGAIN, disconnect
from rtpproxy_tw.media.mediaset import BEGINNINGS, BUFFER, FIXED, USUAL, WHOLE, MediaSet
from rtpproxy_tw.media.mediasocket import MediaSocket
from rtpproxy_tw.media.relay import Relay
from rtpproxy_tw.media.shortcut import HEADER, Shortcut
from rtpproxy_tw.session import Component, Stream
from rtpproxy_tw.statistics import Totals

LOOK_EVERY = 0.85
"""Seconds between two packets that latch and monitors see: less than what these go by
(``latch.trail.SAMPLE_EVERY``, and a monitor's second)."""

LOOKS_APART = 0.02
"""Seconds between the looks at two ports that are not looked at together."""

LOOKS_KEPT = 100
"""More of them than are still to come."""

SOON = 0.1
"""Seconds until a port that has just been connected is relied on: what was on its way to it has
arrived by then. Short, as a party that pauses with every sentence is disconnected each time, and
saves that expense with the next dozen of packets."""

LATE = 0.1
"""Seconds; a look that comes so much later than it was due comes after a silence."""

SPREAD = 0.618
"""Of a look's distance, for each descriptor: streams that begin together are looked at apart."""

DRAINED = 16
"""Datagrams read in a row to find the end of what came before a port was connected."""

NOBODY: Address = ("", 0)


class Circle:
    """What all ports of a plane share.

    ``now`` gives monotonic seconds. ``quickening`` and ``connecting`` tell whether ports may be
    quick and connected at all; ``quick`` are those that are, connected or not, oldest first.
    """

    def __init__(
        self,
        *,
        media: MediaSet,
        relay: Relay,
        totals: Totals,
        now: Callable[[], float],
        quickening: bool = True,
        connecting: bool = False,
    ) -> None:
        self.media = media
        self.received = relay.received
        self.totals = totals
        self.now = now
        self.quickening = quickening
        self.connecting = connecting
        self.quick: dict[StreamSocket, None] = {}
        self._looks: dict[int, float] = {}

    def next_look(self, now: float, after: float) -> float:
        """When to look again at what is looked at ``now``: ``after`` seconds later, or a bit more.

        The same number for many ports, so that it stays in the processor's cache.
        """
        slot = int((now + after) / LOOKS_APART) + 1
        if len(self._looks) > LOOKS_KEPT:
            self._looks.clear()
        return self._looks.setdefault(slot, slot * LOOKS_APART)


class StreamSocket(MediaSocket):
    """Receives for ``stream``, and sends what its peer receives."""

    __slots__ = (
        "_circle",
        "_now",
        "_received",
        "_shortcut",
        "_source",
        "_stream",
        "_suspended",
        "_totals",
        "_trusted",
        "_try_at",
        "connected",
    )

    def __init__(self, circle: Circle, sock: socket.socket, stream: Stream) -> None:
        super().__init__(circle.media, sock)
        self._circle = circle
        self._stream = stream
        self._received = circle.received
        self._now = circle.now
        self._totals = circle.totals
        self._shortcut: Shortcut | None = None
        self.connected = False
        """Whether the kernel lets nobody in but the party. Set here alone."""
        self._trusted = False
        """Whether nothing is in the queue that came before the port was connected."""
        self._source = NOBODY
        self._suspended = False
        """Whether another process reads for us."""
        # RTCP is so rare that it would never stay connected.
        rtp = stream.component is Component.RTP
        self._try_at = 0.0 if rtp and circle.quickening else float("inf")

    @property
    def transmit(self) -> Callable[[bytes | memoryview], object]:
        """Sends to the party, where the port is connected to it; raises OSError."""
        return self.socket.send

    @property
    def quick(self) -> bool:
        """Whether ordinary packets pass without being judged one by one."""
        return self._shortcut is not None

    def stopListening(self) -> None:
        """See MediaSocket."""
        if self._shortcut is not None:
            self.fold()
            self._circle.quick.pop(self, None)
        super().stopListening()
        # A port and the one opposite must not keep each other alive.
        self._shortcut = None
        if self.connected:
            self._set_connected(False)

    def fold(self) -> None:
        """Bring the counters of the stream up to date. Idempotent."""
        if self._shortcut is not None:
            self._shortcut.fold(self._stream)

    # Being left to another process.

    def suspend(self) -> None:
        """Read nothing until :meth:`resume`: a media process does."""
        self.slow_down()
        self._suspended = True
        self._media.pause(self._fd)

    def resume(self) -> None:
        """Read again, from everybody. Idempotent; does nothing to a port that was closed."""
        if self._suspended and self._fd >= 0:
            self._suspended = False
            self._media.resume(self._fd)

    def stray(self, datagram: bytes, source: Address) -> None:
        """``datagram`` from ``source`` was read by a process. Nothing happens to a closed port."""
        if self._fd >= 0:
            self._received(self._stream, datagram, source)

    # Receiving.

    def _take(self) -> bool:
        if self._suspended:
            return False
        try:
            size, source = self.socket.recvfrom_into(BUFFER)
        except OSError:
            return False
        if self._shortcut is not None:
            self._sort(self._shortcut, size, source[:2], self._now())
        else:
            self._received(self._stream, bytes(WHOLE[:size]), source[:2])
        return True

    def read(self) -> None:
        """See MediaSocket: the careful way."""
        try:
            size, source = self.socket.recvfrom_into(BUFFER)
        except OSError:
            return  # nothing there after all
        stream = self._stream
        self._received(stream, bytes(WHOLE[:size]), source[:2])
        if stream.latch.settled:
            self._hasten(stream)

    def unheard(self, error: OSError) -> None:
        """The kernel gave an error in place of a datagram; the port is quick."""
        if isinstance(error, ConnectionError):
            self._unreachable()

    def unusual(self, shortcut: Shortcut, size: int, source: Address | None, now: float) -> None:
        """A datagram that is not what the shortcut expects is at the start of the buffer.

        ``source`` is None where it can only be the party.
        """
        if source is not None:
            self._sort(shortcut, size, source[:2], now)
        else:
            self._pass_on(shortcut, size, now)

    def _sort(self, shortcut: Shortcut, size: int, source: Address, now: float) -> None:
        if source == self._source:
            self._pass_on(shortcut, size, now)
            return
        stream = self._stream
        self.fold()
        _bring_up_to_date(stream)
        self._received(stream, bytes(WHOLE[:size]), source)
        if not self._fit(stream):
            self.slow_down()

    def _pass_on(self, shortcut: Shortcut, size: int, now: float) -> None:
        """The same, of the believed party."""
        stream = self._stream
        shortcut.fold(stream)
        analyzer = stream.analyzer
        paused = self.connected and now - stream.last_heard >= HOLE
        lost = analyzer.lost if paused and analyzer is not None else 0
        if (
            size < HEADER
            or analyzer is None
            or now >= shortcut.look_at
            or stream.offloaded
            or not analyzer.follows(BUFFER, now)
        ):
            self._look(shortcut, size, now)
        else:
            self._count(stream, size, now)
        analyzer = stream.analyzer
        if size >= HEADER and analyzer is not None and self._shortcut is shortcut:
            shortcut.expect(int.from_bytes(FIXED, "big"), size, analyzer)
        if paused and analyzer is not None and analyzer.lost - lost >= MISSED:
            self.loosen()
            self._try_at = now + TRY_AGAIN

    def _count(self, stream: Stream, size: int, now: float) -> None:
        # As Relay.received does it, but for what is known not to apply.
        gap = now - stream.last_heard
        if gap > stream.longest_gap:
            stream.longest_gap = gap
        stream.last_heard = stream.leg.last_active = now
        stream.accepted += 1
        stream.octets += size
        totals = self._totals
        totals.npkts_rcvd += 1
        out = stream.peer.sender
        if isinstance(out, StreamSocket) and out.send_on(
            BEGINNINGS[size] if size < USUAL else WHOLE[:size]
        ):
            stream.relayed += 1
            totals.npkts_relayed += 1
        else:
            stream.dropped += 1
            stream.nowhere += stream.peer.latch.remote is None
            stream.withheld += size
            totals.npkts_discard += 1

    def _look(self, shortcut: Shortcut, size: int, now: float) -> None:
        """A packet for all who want to see some now and then, or one that is not ordinary."""
        stream = self._stream
        due = now >= shortcut.look_at
        if due:
            late = now >= shortcut.look_at + LATE
            after = self._look_apart() if late else LOOK_EVERY
            shortcut.look_at = self._circle.next_look(now, after)
        self._received(stream, bytes(WHOLE[:size]), self._source)
        if self._shortcut is not shortcut:
            return
        if not self._fit(stream):
            self.slow_down()
        elif due:
            self._tighten(shortcut, stream, now)

    def send(self, datagram: bytes | memoryview, to: Address) -> bool:
        """See MediaSocket; a connected port need not look up the way again."""
        if self.connected and to == self._source:
            return self.send_on(datagram)
        return super().send(datagram, to)

    def send_on(self, datagram: bytes | memoryview) -> bool:
        """Send to this stream's own party what came from the other one."""
        if self.connected:
            try:
                self.socket.send(datagram)
            except OSError as error:
                return self.send_again(datagram, error)
            return True
        to = self._stream.latch.remote
        return to is not None and super().send(datagram, to)

    @property
    def homeless(self) -> bool:
        """Whether it is not known where this stream's own party is."""
        return self._stream.latch.remote is None

    def send_again(self, datagram: bytes | memoryview, error: OSError) -> bool:
        """The connected port gave ``error`` in place of sending."""
        if isinstance(error, ConnectionError):
            self._unreachable()
        return self._send_again(datagram, self._source)

    def _unreachable(self) -> None:
        # Only a connected port is told: the party's host says that nobody listens there (ICMP).
        self._stream.unreachable += 1
        self._stream.unreachable_at = self._now()

    # From one way of receiving to another.

    def _hasten(self, stream: Stream) -> None:
        """The stream is settled: be quick, if nothing else stands against it."""
        out = stream.peer.sender
        self._source = stream.latch.source or NOBODY
        if stream.analyzer is None or self._fd < 0 or not self._fit(stream):
            return
        if self._try_at == float("inf") or not isinstance(out, StreamSocket):
            return
        self._shortcut = Shortcut(
            self,
            out,
            self._source,
            self.socket.recvfrom_into,
            self._circle.next_look(self._now(), SOON),
        )
        self._shortcut.transmit = out.transmit if out.connected else None
        self._circle.quick[self] = None
        self._media.shorten(self._fd, self._shortcut)

    def _fit(self, stream: Stream) -> bool:
        """Whether ordinary packets may pass unjudged, and still come from the same source."""
        latch = stream.latch
        return (
            latch.settled and latch.source is self._source and stream.plain and not stream.offloaded
        )

    def slow_down(self) -> None:
        """Be careful again, as something has changed or is about to. Idempotent."""
        if self._shortcut is None:
            return
        self.fold()
        _bring_up_to_date(self._stream)
        self.loosen()
        self._circle.quick.pop(self, None)
        self._shortcut = None
        self._media.lengthen(self._fd)

    def _tighten(self, shortcut: Shortcut, stream: Stream, now: float) -> None:
        """Connect the port; the next time, begin to rely on it."""
        if self.connected:
            if not self._trusted:
                self._drain(shortcut, now)
            return
        if now >= self._try_at and self._may_connect(stream):
            try:
                self.socket.connect(self._source)
            except OSError:
                self._try_at = now + TRY_AGAIN
                return
            self._set_connected(True)
            shortcut.look_at = self._circle.next_look(now, SOON)

    def _may_connect(self, stream: Stream) -> bool:
        local = stream.leg.local
        return (
            self._circle.connecting
            # Connecting would choose one of the host's addresses, and others would hear nothing.
            and local is not None
            and not local.wildcard
            # Linux has an IPv6 socket refuse all other hosts even when disconnected again.
            and local.family == socket.AF_INET
            and stream.latch.remote == self._source
        )

    def _drain(self, shortcut: Shortcut, now: float) -> None:
        # What others sent before the port was connected may still be in its queue.
        for _ in range(DRAINED):
            try:
                size, source = self.socket.recvfrom_into(BUFFER)
            except BlockingIOError:
                self._trusted = True
                shortcut.source, shortcut.receive = None, self.socket.recv_into
                shortcut.look_at = self._circle.next_look(now, self._look_apart())
                return
            except OSError:
                continue
            self._sort(shortcut, size, source[:2], now)
            if not self.connected:
                return

    def _look_apart(self) -> float:
        """Seconds until the next look, for each port others: a thousand looks at once are heard."""
        return LOOK_EVERY * (self._fd * SPREAD % 1.0)

    def loosen(self) -> None:
        """Take from everybody again. Idempotent."""
        if not self.connected:
            return
        self.fold()
        _bring_up_to_date(self._stream)
        self._trusted = False
        self._set_connected(False)
        if self._shortcut is not None:
            self._shortcut.source = self._source
            self._shortcut.receive = self.socket.recvfrom_into
        try:
            disconnect(self.socket)
        except OSError as error:
            self._log.error("a port cannot be disconnected: {error}", error=error)

    def _set_connected(self, connected: bool) -> None:
        self.connected = connected
        feeder = self._stream.peer.sender
        if isinstance(feeder, StreamSocket) and feeder._shortcut is not None:
            feeder._shortcut.transmit = self.transmit if connected else None

    def watch(self, now: float) -> None:
        """To be called now and then while quick: a party that fell silent may have moved."""
        shortcut = self._shortcut
        if shortcut is not None and now >= shortcut.look_at:
            self.fold()
            if now - self._stream.last_heard >= SILENCE:
                self.loosen()


def _bring_up_to_date(stream: Stream) -> None:
    """The latch must know how long its source has really been silent."""
    latch = stream.latch
    latch.last_heard = max(latch.last_heard, stream.last_heard)
