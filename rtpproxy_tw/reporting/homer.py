"""Reports to a collector such as Homer, by HEP3 over UDP: RTCP as it comes, figures every while.

Nothing waits for the collector. What the socket does not take at once waits in a short queue, of
which the oldest is dropped and counted.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.interfaces import IPatientTap, ISessionObserver
from rtpproxy_tw.quality.report import report
from rtpproxy_tw.quality.verdict import code_of, final_code
from rtpproxy_tw.reporting import hep
from rtpproxy_tw.rtcp import parse
from rtpproxy_tw.session import Ending, Leg, Session, Stream

MOST_QUEUED = 1000
"""Datagrams: a second or so of a thousand calls."""

EVERY = 10.0
"""Seconds between two reports on a call."""

RESOLVE_EVERY = 300.0
"""Seconds after which the collector's name is looked up again."""

PER_TICK = 64
"""Sessions reported on at a time, so that their number never holds up packets."""

Resolve = Callable[[str, int], "Deferred[list[Any]]"]
"""(host, port) -> what getaddrinfo tells; it may take a while."""


class Collector:
    """Sends datagrams to ``host`` and ``port``, whatever state the network is in."""

    _log = Logger()

    def __init__(self, host: str, port: int, resolve: Resolve) -> None:
        self._host = host
        self._port = port
        self._resolve = resolve
        self._socket: socket.socket | None = None
        self._address: Any = None
        self._queue: deque[bytes] = deque()
        self._next_lookup = 0.0
        self._looking = False
        self._failing = False
        self.sent = 0
        self.dropped = 0

    def send(self, datagram: bytes) -> None:
        """Send now, or as soon as it can be."""
        if self._queue or not self._try(datagram):
            if len(self._queue) >= MOST_QUEUED:
                self._queue.popleft()
                self.dropped += 1
            self._queue.append(datagram)

    def tick(self, now: float) -> None:
        """To be called every now and then: sends what waits."""
        if now >= self._next_lookup and not self._looking:
            self._looking = True
            self._resolve(self._host, self._port).addCallbacks(
                self._resolved, self._unknown, callbackArgs=(now,), errbackArgs=(now,)
            )
        while self._queue and self._try(self._queue[0]):
            self._queue.popleft()

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _resolved(self, found: list[Any], now: float) -> None:
        self._looking = False
        self._next_lookup = now + RESOLVE_EVERY
        family, _, _, _, address = found[0]
        if address == self._address and self._socket is not None:
            return
        self.close()
        made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket, self._address = made, address

    def _unknown(self, failure: Failure, now: float) -> None:
        self._looking = False
        self._next_lookup = now + EVERY
        self._complain(failure.getErrorMessage())

    def _try(self, datagram: bytes) -> bool:
        """Send; True where it need not be tried again."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto(datagram, self._address)
        except BlockingIOError:
            return False
        except OSError as error:
            self.dropped += 1
            self._complain(error.strerror or str(error))
            return True
        self.sent += 1
        self._failing = False
        return True

    def _complain(self, why: str) -> None:
        if not self._failing:
            self._failing = True
            self._log.warn("cannot report to {host}: {why}", host=self._host, why=why)


@implementer(IPatientTap)
class RtcpTap:
    """Hands the RTCP of one stream on."""

    __slots__ = ("_homer",)

    def __init__(self, homer: Homer) -> None:
        self._homer = homer

    def heard(self, stream: Stream, datagram: bytes, source: Address) -> None:
        """See ITap."""
        self._homer.rtcp(stream, datagram, source)

    def missed(self, stream: Stream, count: int) -> None:
        """See IPatientTap. A report more or less."""


@implementer(ISessionObserver)
class Homer:
    """Watches sessions for a collector. ``capture_id`` is the number it knows us by.

    ``now`` and ``wall`` give monotonic seconds and those since the epoch.
    """

    def __init__(
        self,
        *,
        collector: Collector,
        capture_id: int,
        now: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._collector = collector
        self._capture_id = capture_id
        self._now = now
        self._wall = wall
        self._due: deque[tuple[float, Session]] = deque()
        self._tap = RtcpTap(self)

    def created(self, session: Session) -> None:
        """Listen to its RTCP."""
        for leg in session.legs:
            leg.rtcp.taps += (self._tap,)
        self._due.append((self._now() + EVERY, session))

    def completed(self, session: Session) -> None:
        """Nothing."""

    def ended(self, session: Session, why: Ending) -> None:
        """Tell how it was."""
        self._report(session, final=True)

    def tick(self) -> None:
        """To be called several times a second: reports on calls that are due."""
        now = self._now()
        for _ in range(PER_TICK):
            if not self._due or self._due[0][0] > now:
                break
            _, session = self._due.popleft()
            if session.ended is None:
                self._report(session, final=False)
                self._due.append((now + EVERY, session))
        self._collector.tick(now)

    def rtcp(self, stream: Stream, datagram: bytes, source: Address) -> None:
        """``datagram`` came on ``stream``. Raises nothing, whatever the bytes."""
        for found in parse(datagram):
            payload = hep.rtcp_json(found)
            if payload is not None:
                self._send(stream, payload, hep.RTCP_JSON, source)

    def _report(self, session: Session, *, final: bool) -> None:
        if not session.complete:
            return
        now = self._now()
        for leg, quality in zip(session.legs, report(session, now), strict=True):
            source = leg.rtp.latch.source or leg.rtp.latch.remote
            if source is None:
                continue
            payload = hep.report_json(
                session.key.call_id,
                leg.side.value,
                quality,
                verdict=_verdict(leg, now, final=final),
                source=source,
                destination=_local(leg.rtp),
                when=self._wall(),
                final=final,
            )
            self._send(leg.rtp, payload, hep.RTP_REPORT, source)

    def _send(self, stream: Stream, payload: bytes, kind: int, source: Address) -> None:
        self._collector.send(
            hep.packet(
                payload,
                kind=kind,
                source=source,
                destination=_local(stream),
                when=self._wall(),
                capture_id=self._capture_id,
                correlation=stream.leg.session.key.call_id,
            )
        )


def _verdict(leg: Leg, now: float, *, final: bool) -> str:
    """The verdict on what the party sends; that of the last second will do, but at the end."""
    if final:
        return final_code(leg, now)
    monitor = leg.monitor
    return monitor.code if monitor is not None and monitor.code else code_of(leg, now)


def _local(stream: Stream) -> Address:
    """Where it listens, or did; the unspecified address where that is all we know."""
    leg = stream.leg
    port = leg.port or leg.former_port
    host = "0.0.0.0" if leg.local is None else leg.local.host
    return host, port + stream.component - 1 if port else 0
