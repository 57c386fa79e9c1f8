"""Timeout notices: one line per timed-out session, sent to the listening sockets of SIP proxies.

A notice is the decoded tag of the command and a newline, over a stream connection that is opened
by the first notice, kept open and shared by all sessions that name the same socket. Nothing is
awaited here, not even a name server: a command learns at once whether its socket is allowed, and
everything else happens when the reactor has time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.internet import backoffPolicy
from twisted.application.service import Service
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.commands import Origin
from rtpproxy_tw.interfaces import INotifier, ISessionObserver
from rtpproxy_tw.reporting.backlog import Backlog, NoticeCounts
from rtpproxy_tw.reporting.delivery import SETTLE, Delivery
from rtpproxy_tw.reporting.targets import Targets
from rtpproxy_tw.session import Ending, NotifySocket, Session

QUEUE_LIMIT = 10_000
"""Lines that wait per listener: as many sessions as one relay can lose together."""

LONGEST_LINE = 1024
"""Bytes of a line with its end. OpenSIPS reads no more than 254, but it is also the one who chose
the tag: a longer one is for somebody who can take it. The limit bounds the queue's memory."""

MAX_SENDERS = 256
"""Listeners reached by way of the wildcard. Each costs a descriptor, and whoever may send
commands chooses their number."""

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a connection to be accepted."""

FLUSH = 1.0
"""Seconds a stopping relay spends on notices that still can be written."""

QUIET = 60.0
"""Seconds between two complaints of the same kind: SIP proxies repeat their mistakes per call."""

ESCAPES = ((b"\r", b"%0D"), (b"\n", b"%0A"), (b"\0", b"%00"))
"""What would end or cut a line stays encoded, so that a notice is always one line."""

Retry = Callable[[int], float]


class Seldom:
    """Lets one complaint pass per :data:`QUIET` seconds."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._next = float("-inf")
        self._held = 0

    def due(self) -> int | None:
        """How many were held back since the last that passed; None: hold this one back too."""
        now = self._clock.seconds()
        if now < self._next:
            self._held += 1
            return None
        self._next = now + QUIET
        held, self._held = self._held, 0
        return held


def endpoint_for(reactor: Any, socket: NotifySocket) -> IStreamClientEndpoint:
    """How to connect to ``socket``; a host name is looked up when connecting, every time."""
    host, port = socket.address, socket.port
    if socket.kind == "unix":
        return UNIXClientEndpoint(reactor, host, timeout=CONNECT_TIMEOUT)
    bind = (socket.bind, 0) if socket.bind else None
    if isIPAddress(host):
        return TCP4ClientEndpoint(reactor, host, port, CONNECT_TIMEOUT, bind)
    if isIPv6Address(host):
        return TCP6ClientEndpoint(reactor, host, port, CONNECT_TIMEOUT, bind)
    return HostnameEndpoint(reactor, host, port, CONNECT_TIMEOUT, bind)


def describe(socket: NotifySocket) -> str:
    """``socket`` as it is written in the configuration."""
    where = f"{socket.address}:{socket.port}" if socket.kind == "tcp" else socket.address
    return f"{socket.kind}:{where}"


@implementer(INotifier)
class Notifier(Service):
    """Sends notices to the sockets in ``allowed``, the texts of the configuration.

    ``reactor`` provides time, TCP and UNIX connections. ``queue_limit`` is in lines per
    listener, ``settle`` in seconds (see :mod:`rtpproxy_tw.reporting.delivery`); ``retry`` gives
    the pause before a new connection after so many failures in a row. Raises ConfigError for an
    allowed text that names no socket.
    """

    log = Logger()

    def __init__(
        self,
        *,
        reactor: Any,
        allowed: Sequence[str],
        queue_limit: int = QUEUE_LIMIT,
        settle: float = SETTLE,
        retry: Retry | None = None,
    ) -> None:
        self._reactor = reactor
        self._targets = Targets(allowed)
        self.enabled = len(self._targets) > 0
        self.counts = NoticeCounts()
        self._queue_limit = queue_limit
        self._settle = settle
        self._retry = retry or backoffPolicy(initialDelay=0.25, maxDelay=30.0, factor=2.0)
        self._deliveries: dict[NotifySocket, Delivery] = {}
        self._leaving: set[Deferred[None]] = set()
        self._stopped = False
        self._unknown = Seldom(reactor)
        self._overlong = Seldom(reactor)
        self._crowded = Seldom(reactor)

    def startService(self) -> None:
        """Notices are taken; connections are opened when there are any."""
        super().startService()
        self._stopped = False

    def stopService(self) -> Deferred[None]:
        """Write what can be written at once, then close; takes :data:`FLUSH` seconds at most."""
        super().stopService()
        self._stopped = True
        for socket in list(self._deliveries):
            self._retire(socket, FLUSH)
        return gatherResults(list(self._leaving)).addCallback(lambda _: None)

    def resolve(self, text: str, origin: Origin) -> NotifySocket | None:
        """See INotifier. An unknown one is logged, once a minute."""
        socket = self._targets.resolve(text, origin)
        if socket is None and (held := self._unknown.due()) is not None:
            self.log.warn(
                "notification socket {text!r} of a command from {peer} is not among those "
                "allowed, its session times out silently ({held} more like it since last time)",
                text=text,
                peer=origin.peer or origin.transport,
                held=held,
            )
        return socket

    def notify(self, socket: NotifySocket, line: bytes) -> None:
        """See INotifier."""
        for raw, escaped in ESCAPES:
            line = line.replace(raw, escaped)
        if self._stopped:
            self.counts.dropped += 1
        elif len(line) >= LONGEST_LINE:
            self._refuse(socket, line)
        else:
            self._delivery(socket).send(line + b"\n")

    def untold(self) -> list[tuple[NotifySocket, list[bytes]]]:
        """The notices that wait, or of which it is not known that they have arrived."""
        found = [(socket, each.untold) for socket, each in self._deliveries.items()]
        return [(socket, lines) for socket, lines in found if lines]

    def go_on(self, socket: NotifySocket, lines: Sequence[bytes]) -> None:
        """Send what another process had :meth:`untold`, if anybody is to be told anything here."""
        for line in lines if self.enabled else ():
            self._delivery(socket).send(line)

    def _refuse(self, socket: NotifySocket, line: bytes) -> None:
        self.counts.dropped += 1
        if self._overlong.due() is not None:
            self.log.warn(
                "notice of {length} bytes to {target} is too long and dropped: {start!r}...",
                length=len(line),
                target=describe(socket),
                start=line[:80],
            )

    def _delivery(self, socket: NotifySocket) -> Delivery:
        """The one for ``socket``, which is thereby the most recently used."""
        found = self._deliveries.pop(socket, None)
        if found is None:
            if not self._targets.is_fixed(socket):
                self._make_room()
            found = Delivery(
                name=describe(socket),
                endpoint=endpoint_for(self._reactor, socket),
                clock=self._reactor,
                backlog=Backlog(self._queue_limit, self.counts),
                retry=self._retry,
                settle=self._settle,
                done=lambda delivery: self._forget(socket, delivery),
            )
        self._deliveries[socket] = found
        return found

    def _make_room(self) -> None:
        """Part with the listener least recently told something, with an idle one if possible."""
        senders = [socket for socket in self._deliveries if not self._targets.is_fixed(socket)]
        if len(senders) < MAX_SENDERS:
            return
        idle = (socket for socket in senders if self._deliveries[socket].idle)
        chosen = next(idle, senders[0])
        if not self._deliveries[chosen].idle and self._crowded.due() is not None:
            self.log.warn(
                "more than {limit} listeners, {target} is given up",
                limit=MAX_SENDERS,
                target=describe(chosen),
            )
        self._retire(chosen, 0.0)

    def _retire(self, socket: NotifySocket, grace: float) -> None:
        """Close the way to ``socket`` for good."""
        gone = self._deliveries.pop(socket).leave(grace)
        self._leaving.add(gone)
        gone.addCallback(lambda _: self._leaving.discard(gone))

    def _forget(self, socket: NotifySocket, delivery: Delivery) -> None:
        if self._deliveries.get(socket) is delivery:
            del self._deliveries[socket]


@implementer(ISessionObserver)
class TimeoutObserver:
    """Sends the notice of a session that ended for want of packets, or of time to end by itself."""

    def __init__(self, notifier: INotifier) -> None:
        self._notifier = notifier

    def created(self, session: Session) -> None:
        """See ISessionObserver."""

    def completed(self, session: Session) -> None:
        """See ISessionObserver."""

    def ended(self, session: Session, why: Ending) -> None:
        """See ISessionObserver."""
        if why in (Ending.TIMEOUT, Ending.DRAINED) and session.notify is not None:
            self._notifier.notify(*session.notify)
