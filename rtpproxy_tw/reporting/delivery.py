"""The way to one listener: its backlog, at most one connection, one timer.

=============  ==================================  =============================================
state          timer                               leaves it
=============  ==================================  =============================================
connecting     none (the endpoint has its own)     connected; or refused: pausing
connected      something waits or is unsure: asks  connection ends: pausing, or done when nothing
               what has arrived; else: closes an   waits
               idle connection
pausing        end of the pause                    connecting
done           none                                never
=============  ==================================  =============================================

What is unsure and for how long is the subject of :mod:`rtpproxy_tw.reporting.wire`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtpproxy_tw.reporting.backlog import Backlog
from rtpproxy_tw.reporting.wire import Wire

SETTLE = 2.0
"""Seconds for which a written line is kept. Longer makes more repetitions when a listener is
killed, shorter loses more when it hung before that."""

IDLE = 300.0
"""Seconds without a notice after which a connection is closed. Stateful firewalls forget idle
connections, and the next line would then wait for the kernel to give up, which takes it a
quarter of an hour."""


class Delivery:
    """Carries lines to one listener, whatever happens to that one meanwhile.

    ``name`` is for the log, ``retry`` gives the pause in seconds after so many failures in a
    row, ``done`` is called when there is neither a connection nor a line any more; the object
    must not be used after that.
    """

    log = Logger()

    def __init__(
        self,
        *,
        name: str,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
        backlog: Backlog,
        retry: Callable[[int], float],
        settle: float,
        done: Callable[[Delivery], None],
    ) -> None:
        self._name = name
        self._endpoint = endpoint
        self._clock = clock
        self._backlog = backlog
        self._retry = retry
        self._settle = settle
        self._done = done
        self._wire: Wire | None = None
        self._connecting: Deferred[Any] | None = None
        self._timer: IDelayedCall | None = None
        self._failures = 0
        self._overflowing = False
        self._left: Deferred[None] | None = None

    @property
    def leaving(self) -> bool:
        """Whether the connection is to be closed as soon as everything is written."""
        return self._left is not None

    @property
    def idle(self) -> bool:
        """Whether it only keeps a connection open."""
        return self._backlog.empty

    @property
    def untold(self) -> list[bytes]:
        """The lines that wait, or may not have arrived."""
        return self._backlog.lines

    def send(self, line: bytes) -> None:
        """Queue ``line``, which has its end, and set it going. Never raises."""
        quiet = self._backlog.empty
        if not self._backlog.add(line) and not self._overflowing:
            self._overflowing = True
            self.log.warn(
                "{target} does not take notices, the oldest of {waiting} are being dropped",
                target=self._name,
                waiting=len(self._backlog.waiting),
            )
        if self._wire is not None:
            self._wire.pump()
            if quiet:
                self._watch()
        elif self._connecting is None and self._timer is None:
            self._connect()

    def take(self) -> bytes | None:
        """The wire asks for a line."""
        return self._backlog.take(self._clock.seconds())

    def arrived(self, but_one: bool) -> None:
        """What the wire took has been read, except perhaps the last line."""
        self._settled(self._clock.seconds(), int(but_one))

    def lost(self, reason: Failure) -> None:
        """The wire is gone."""
        self._wire = None
        if not self.leaving:
            given_up = self._backlog.take_back()
            if given_up is not None:
                self.log.warn(
                    "{target} closes whenever it is sent {line!r}, which is given up",
                    target=self._name,
                    line=given_up,
                )
        self._failed(reason)

    def leave(self, grace: float) -> Deferred[None]:
        """Close for good; what can be written within ``grace`` seconds is. Not to be repeated.

        The result fires when the connection is closed. A listener that is not there is not
        waited for, except that a connection under way may still be made.
        """
        left = self._left = Deferred()
        self._backlog.cautious = False
        self._cancel_timer()
        if self._wire is None and self._connecting is None:
            self._finish()
            return left
        self._timer = self._clock.callLater(grace, self._give_up)
        if self._wire is not None:
            self._wire.pump()
        return left

    def _give_up(self) -> None:
        """Leaving has taken long enough."""
        self._timer = None
        if self._wire is not None:
            self._wire.abort()
        elif self._connecting is not None:
            self._connecting.cancel()

    def _connect(self) -> None:
        self._timer = None
        factory = Factory.forProtocol(lambda: Wire(self))
        factory.noisy = False
        # May fail before it returns, as when there is no descriptor left.
        attempt = self._connecting = self._endpoint.connect(factory)
        attempt.addCallbacks(self._connected, self._refused)
        attempt.addErrback(lambda f: self.log.failure("connecting to a listener", f))

    def _connected(self, wire: Wire) -> None:
        self._connecting = None
        self._wire = wire
        if not self.leaving:
            self._watch()

    def _refused(self, reason: Failure) -> None:
        self._connecting = None
        self._failed(reason)

    def _failed(self, reason: Failure) -> None:
        """There is no connection any more: try again later if something waits."""
        self._cancel_timer()
        if self.leaving or self._backlog.empty:
            self._finish()
            return
        self._failures += 1
        if self._failures == 2:  # the first is nothing but a restart
            self.log.warn(
                "{target} cannot be told of timeouts, {waiting} notices wait: {reason}",
                target=self._name,
                waiting=len(self._backlog.waiting),
                reason=reason.getErrorMessage(),
            )
        self._timer = self._clock.callLater(self._retry(self._failures), self._connect)

    def _watch(self) -> None:
        """Set the timer of a connection."""
        self._cancel_timer()
        if self._backlog.empty:
            self._timer = self._clock.callLater(IDLE, self._rest)
        else:
            self._timer = self._clock.callLater(self._settle / 4, self._look)

    def _look(self) -> None:
        """Has something arrived?"""
        self._timer = None
        wire = self._wire
        assert wire is not None
        if wire.drained:
            self._settled(self._clock.seconds() - self._settle)
        wire.pump()
        self._watch()

    def _settled(self, until: float, keep: int = 0) -> None:
        if not self._backlog.settle(until, keep):
            return
        if self._failures >= 2 or self._overflowing:
            self.log.info("{target} takes notices again", target=self._name)
        self._failures = 0
        self._overflowing = False

    def _rest(self) -> None:
        """Close an idle connection; the next line opens another."""
        self._timer = None
        assert self._wire is not None
        self._wire.close()

    def _finish(self) -> None:
        count = self._backlog.abandon()
        if count:
            self.log.warn(
                "{count} notices to {target} were not delivered", count=count, target=self._name
            )
        self._done(self)
        if self._left is not None:
            self._left.callback(None)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
