"""The port of a stream in the epoll plane, and the three ways in which it receives.

careful     source and datagram go through :meth:`Relay.received`, which judges, counts and sends
quick       the stream is settled, and nobody wants its packets but the other party. What the latch
            would say is known by comparing the source; the ordinary next packet is counted, and
            sent on out of the buffer it was received into. What is not ordinary, what comes from
            elsewhere, and one packet every ``LOOK_EVERY`` seconds goes the careful way
connected   quick, and the kernel compares the source: neither receiving nor sending handles an
            address. Packets from elsewhere do not even reach the port, so it is disconnected when
            the party has been silent: one that a NAT moved must be heard again
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.media.mediaset import MediaSet
from rtpproxy_tw.media.mediasocket import BUFFER, MediaSocket, disconnect
from rtpproxy_tw.media.relay import Relay
from rtpproxy_tw.session import Component, Stream
from rtpproxy_tw.statistics import Totals

LOOK_EVERY = 0.5
"""Seconds between two packets that latch and monitors see: half of what these need
(``latch.trail.SAMPLE_EVERY``, and a monitor's second)."""

SILENCE = 1.0
"""Seconds after which a connected party may have moved (``latch.strict.REBIND_SILENCE``)."""

AFTER_SILENCE = 10.0
"""Seconds a port then stays unconnected: who pauses once, as with silence suppression, will pause
again."""

DRAINED = 16
"""Datagrams read in a row to find the end of what came before a port was connected."""

HEADER = 12
"""Octets of the RTP fixed header (RFC 3550 section 5.1)."""

USUAL = 1600
"""Octets; the beginnings of the buffer up to that length are made once for all."""

NOBODY: Address = ("", 0)

_WHOLE = memoryview(BUFFER)
_BEGINNINGS = [_WHOLE[:size] for size in range(USUAL)]


class Circle:
    """What all ports of a plane share.

    ``now`` gives monotonic seconds. ``quickening`` and ``connecting`` tell whether ports may be
    quick and connected at all; ``connected`` are those that are, oldest first.
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
        self.connected: dict[StreamSocket, None] = {}


class StreamSocket(MediaSocket):
    """Receives for ``stream``, and sends what its peer receives."""

    __slots__ = (
        "_circle",
        "_connected",
        "_follows",
        "_look_at",
        "_now",
        "_out",
        "_quick",
        "_receive",
        "_received",
        "_source",
        "_stream",
        "_totals",
        "_transmit",
        "_trusted",
        "_try_at",
    )

    _out: StreamSocket
    """The port opposite, as long as this one is quick; and how its analyzer counts."""
    _follows: Callable[[bytearray, float], bool]

    def __init__(self, circle: Circle, sock: socket.socket, stream: Stream) -> None:
        super().__init__(circle.media, sock)
        self._circle = circle
        self._stream = stream
        self._received = circle.received
        self._now = circle.now
        self._totals = circle.totals
        self._quick = False
        self._connected = False
        self._trusted = False
        """Whether nothing is in the queue that came before the port was connected."""
        self._source = NOBODY
        self._look_at = 0.0
        # RTCP is so rare that it would never stay connected.
        rtp = stream.component is Component.RTP
        self._try_at = 0.0 if rtp and circle.quickening else float("inf")

    @property
    def connected(self) -> bool:
        """Whether the kernel lets nobody in but the party."""
        return self._connected

    @property
    def quick(self) -> bool:
        """Whether ordinary packets pass without being judged one by one."""
        return self._quick

    def stopListening(self) -> None:
        """See MediaSocket."""
        self._circle.connected.pop(self, None)
        super().stopListening()
        if self._quick:
            # A port and the one opposite must not keep each other alive.
            self._quick = self._connected = False
            del self._out

    # Receiving.

    def _take(self) -> bool:
        try:
            size, source = self.socket.recvfrom_into(BUFFER)
        except OSError:
            return False
        if self._quick:
            self._sort(size, source[:2])
        else:
            self._received(self._stream, bytes(_WHOLE[:size]), source[:2])
        return True

    def _read(self) -> None:
        try:
            size, source = self.socket.recvfrom_into(BUFFER)
        except OSError:
            return  # nothing there after all
        self._received(self._stream, bytes(_WHOLE[:size]), source[:2])
        if self._stream.latch.settled:
            self._hasten(self._stream)

    def _read_quick(self) -> None:
        try:
            size, source = self.socket.recvfrom_into(BUFFER)
        except OSError:
            return
        self._sort(size, source[:2])

    def _read_connected(self) -> None:
        try:
            size = self._receive(BUFFER)
        except ConnectionError:
            self._unreachable()
            return
        except OSError:
            return  # nothing there after all
        self._pass_on(size)

    def _sort(self, size: int, source: Address) -> None:
        """A datagram of ``source`` is at the start of the buffer."""
        if source == self._source:
            self._pass_on(size)
            return
        stream = self._stream
        _bring_up_to_date(stream)
        self._received(stream, bytes(_WHOLE[:size]), source)
        if not self._fit(stream):
            self.slow_down()

    def _pass_on(self, size: int) -> None:
        """The same, of the believed party."""
        stream = self._stream
        now = self._now()
        if (
            size < HEADER
            or now >= self._look_at
            or stream.offloaded
            or not self._follows(BUFFER, now)
        ):
            self._look(stream, size, now)
            return
        # As Relay.received does it, but for what is known not to apply.
        gap = now - stream.last_heard
        if gap > stream.longest_gap:
            stream.longest_gap = gap
        stream.last_heard = stream.leg.last_active = now
        stream.accepted += 1
        stream.octets += size
        totals = self._totals
        totals.npkts_rcvd += 1
        if self._out.send_on(_BEGINNINGS[size] if size < USUAL else _WHOLE[:size]):
            stream.relayed += 1
            totals.npkts_relayed += 1
        else:
            stream.dropped += 1
            stream.withheld += size
            totals.npkts_discard += 1

    def _look(self, stream: Stream, size: int, now: float) -> None:
        """A packet for all who want to see some now and then, or one that is not ordinary."""
        due = now >= self._look_at
        if due:
            self._look_at = now + LOOK_EVERY
        self._received(stream, bytes(_WHOLE[:size]), self._source)
        if not self._quick:
            return
        if not self._fit(stream):
            self.slow_down()
        elif due:
            self._tighten(stream, now)

    def send_on(self, datagram: memoryview) -> bool:
        """Send to this stream's own party what came from the other one."""
        if self._connected:
            try:
                self._transmit(datagram)
            except ConnectionError:
                self._unreachable()
                return self._send_again(datagram, self._source)
            except OSError:
                return self._send_again(datagram, self._source)
            return True
        to = self._stream.latch.remote
        return to is not None and self.send(datagram, to)

    def _unreachable(self) -> None:
        # Only a connected port is told: the party's host says that nobody listens there (ICMP).
        self._stream.unreachable += 1
        self._stream.unreachable_at = self._now()

    # From one way of receiving to another.

    def _hasten(self, stream: Stream) -> None:
        """The stream is settled: be quick, if nothing else stands against it."""
        out, analyzer = stream.peer.sender, stream.analyzer
        self._source = stream.latch.source or NOBODY
        if analyzer is None or self._fd < 0 or not self._fit(stream):
            return
        if self._try_at == float("inf") or not isinstance(out, StreamSocket):
            return
        self._out = out
        self._follows = analyzer.follows
        self._look_at = self._now() + LOOK_EVERY
        self._quick = True
        self._media.change(self._fd, self._read_quick)

    def _fit(self, stream: Stream) -> bool:
        """Whether ordinary packets may pass unjudged, and still come from the same source."""
        latch = stream.latch
        return (
            latch.settled and latch.source is self._source and stream.plain and not stream.offloaded
        )

    def slow_down(self) -> None:
        """Be careful again, as something has changed or is about to. Idempotent."""
        if self._quick:
            _bring_up_to_date(self._stream)
            self.loosen()
            self._quick = False
            del self._out
            self._media.change(self._fd, self._read)

    def _tighten(self, stream: Stream, now: float) -> None:
        """Connect the port; the next time, begin to rely on it."""
        if self._connected:
            if not self._trusted:
                self._drain()
            return
        if now >= self._try_at and self._may_connect(stream):
            try:
                self.socket.connect(self._source)
            except OSError:
                self._try_at = now + AFTER_SILENCE
                return
            self._receive, self._transmit = self.socket.recv_into, self.socket.send
            self._connected = True
            self._circle.connected[self] = None

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

    def _drain(self) -> None:
        # What others sent before the port was connected may still be in its queue.
        for _ in range(DRAINED):
            try:
                size, source = self.socket.recvfrom_into(BUFFER)
            except BlockingIOError:
                self._trusted = True
                self._media.change(self._fd, self._read_connected)
                return
            except OSError:
                continue
            self._sort(size, source[:2])
            if not self._connected:
                return

    def loosen(self, again_at: float = 0.0) -> None:
        """Take from everybody again, until ``again_at`` at least. Idempotent."""
        if not self._connected:
            return
        _bring_up_to_date(self._stream)
        self._try_at = again_at
        self._connected = self._trusted = False
        self._circle.connected.pop(self, None)
        self._media.change(self._fd, self._read_quick)
        try:
            disconnect(self.socket)
        except OSError as error:
            self._log.error("a port cannot be disconnected: {error}", error=error)

    def loosen_if_silent(self, now: float) -> None:
        """The party may have moved: take from everybody again."""
        if now - self._stream.last_heard >= SILENCE:
            self.loosen(now + AFTER_SILENCE)


def _bring_up_to_date(stream: Stream) -> None:
    """The latch must know how long its source has really been silent."""
    latch = stream.latch
    latch.last_heard = max(latch.last_heard, stream.last_heard)
