"""The relay as a Twisted service, and the small services it is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtpproxy_tw.control.listeners import Listener, Stdio
from rtpproxy_tw.control.negotiation import Negotiator
from rtpproxy_tw.errors import RelayError
from rtpproxy_tw.media.player import Players
from rtpproxy_tw.media.prompts import ThreadReader
from rtpproxy_tw.recording.spool import Writer
from rtpproxy_tw.registry import SessionRegistry
from rtpproxy_tw.session import Ending
from rtpproxy_tw.statistics import Totals
from rtpproxy_tw.succession import Succession
from rtpproxy_tw.supervision import State


class RelayService(MultiService):
    """The whole relay.

    ``ready`` fires when every control socket listens, or fails with what kept one from it.
    ``drained`` fires when a relay that was told to take no new sessions has none left.
    """

    log = Logger()

    def __init__(
        self, registry: SessionRegistry, negotiator: Negotiator, listeners: list[Listener | Stdio]
    ) -> None:
        super().__init__()
        self.registry = registry
        self._negotiator = negotiator
        self.listeners = listeners
        self.ready: Deferred[None] = Deferred()
        self.drained: Deferred[None] = Deferred()
        self.listening = False
        """Whether the control sockets are open."""
        self.succession: Succession | None = None
        """Hands the relay over and takes one over."""
        self.hand_over: Callable[[Sequence[str] | None], Deferred[int]] = nobody
        """Has a new process go on with everything, with these options in place of the present ones;
        set by whoever runs this one."""
        self.ending = False
        """Whether the process is to end with the last session."""
        self.clock: IReactorTime | None = None
        """Tells when the time to drain is up; set by whoever wires the relay."""
        self.bequeath: Callable[[], Deferred[Any]] = lambda: succeed(None)
        """Leaves to other nodes what they would go on with."""
        self._limit: IDelayedCall | None = None
        self._to_end = 0

    def startService(self) -> None:
        """Start everything; the control sockets last."""
        super().startService()
        waiting = [listener.listening for listener in self.listeners]
        DeferredList(waiting, fireOnOneErrback=True, consumeErrors=True).addCallbacks(
            self._is_ready,
            lambda failure: self.ready.errback(failure.value.subFailure),
        )

    def drain(self) -> Deferred[None]:
        """Take no new sessions from now on; the result is ``drained``. Idempotent."""
        if not self.ending:
            self.ending = True
            self.refuse()
            self.registry.when_empty = self._empty
            if not len(self.registry):
                self._empty()
        return self.drained

    @property
    def draining(self) -> bool:
        """Whether new sessions are refused."""
        return self._negotiator.draining

    def state(self) -> State:
        """How the relay is, in few words."""
        return State(
            len(self.registry), self.draining, self.ending, self._to_end, self.seconds_left
        )

    def refuse(self) -> None:
        """Take no new sessions, and go on without. Idempotent."""
        if not self._negotiator.draining:
            self._negotiator.draining = True
            self._to_end = len(self.registry)
            self.log.info("no new sessions from now on; {count} are left", count=len(self.registry))

    def limit(self, seconds: float) -> None:
        """In so many seconds what still lives is left to other nodes, or ended and told of."""
        assert self.clock is not None, "wired"
        self._unlimit()
        self._limit = self.clock.callLater(seconds, self._time_is_up)
        self.log.info("sessions have {seconds:g} s to end by themselves", seconds=seconds)

    @property
    def seconds_left(self) -> float | None:
        """Until the sessions that still live are ended; None where they may take their time."""
        if self._limit is None or self.clock is None:
            return None
        return max(0.0, self._limit.getTime() - self.clock.seconds())

    @property
    def to_end(self) -> int:
        """How many sessions there were when new ones were refused."""
        return self._to_end

    def _time_is_up(self) -> None:
        self._limit = None
        self.bequeath().addErrback(self._not_left).addBoth(self._end_stragglers)

    def _not_left(self, failure: Failure) -> None:
        self.log.error("no sessions are left to others: {why}", why=failure.getErrorMessage())

    def _end_stragglers(self, result: object) -> None:
        if len(self.registry):
            self.log.warn("time is up: {count} sessions are ended", count=len(self.registry))
            self.registry.end_all(Ending.DRAINED)

    def _unlimit(self) -> None:
        limit, self._limit = self._limit, None
        if limit is not None and limit.active():
            limit.cancel()

    def stopService(self) -> Any:
        """Stop everything, in the reverse order."""
        self._unlimit()
        return super().stopService()

    def resume(self) -> None:
        """Take new sessions again, unless the process is to end. Idempotent."""
        if self._negotiator.draining and not self.ending:
            self._unlimit()
            self._negotiator.draining = False
            self.log.info("new sessions are taken again")

    def ignored_signal(self, name: str) -> None:
        """A signal that has no meaning yet came."""
        self.log.info("{name} is kept for later use and ignored", name=name)

    def _is_ready(self, results: object) -> None:
        self.listening = True
        self.ready.callback(None)

    def _empty(self) -> None:
        if not self.drained.called:
            self.drained.callback(None)


def nobody(options: Sequence[str] | None) -> Deferred[int]:
    """There is nobody to hand over to."""
    return fail(RelayError("only rtpproxy-tw itself can be restarted so, not under twistd"))


class Sessions(Service):
    """Ends what is left when the relay stops."""

    def __init__(self, registry: SessionRegistry) -> None:
        self._registry = registry

    def stopService(self) -> None:
        """End every session."""
        super().stopService()
        self._registry.end_all(Ending.SHUTDOWN)


class Recordings(Service):
    """Finishes the recordings when the relay stops."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def stopService(self) -> None:
        """Write what is still to be written."""
        super().stopService()
        self._writer.stop()


class Playing(Service):
    """Plays and reads prompts while the relay runs."""

    def __init__(self, players: Players, reader: ThreadReader) -> None:
        self._players = players
        self._reader = reader

    def stopService(self) -> None:
        """Stop all players, and the thread that reads for them."""
        super().stopService()
        self._players.stop_all()
        self._reader.stop()


class RateMeter:
    """Packets received in the last second, for the counter pps_in."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._before = 0

    def tick(self) -> None:
        """A second has passed."""
        now = self._totals.npkts_rcvd
        self._totals.pps_in = float(now - self._before)
        self._before = now
