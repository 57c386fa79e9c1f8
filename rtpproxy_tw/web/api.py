"""What can be asked and done over HTTP, without the HTTP: answers as values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtpproxy_tw.capacity import Capacity
from rtpproxy_tw.errors import ConfigError, RecordingRefused, RelayError
from rtpproxy_tw.interfaces import IRecorders
from rtpproxy_tw.quality.verdict import CODES, assess
from rtpproxy_tw.registry import SessionRegistry
from rtpproxy_tw.session import Ending, Session
from rtpproxy_tw.statistics import Totals
from rtpproxy_tw.views import sessions as views
from rtpproxy_tw.views.text import identifier, shown, to_json
from rtpproxy_tw.web.feed import Feed
from rtpproxy_tw.web.recent import Recent

View = dict[str, Any]


class Draining(Protocol):
    """The relay, as far as it can be told to take no new sessions."""

    @property
    def draining(self) -> bool:
        """Whether new sessions are refused."""

    @property
    def ending(self) -> bool:
        """Whether the process ends with the last session; that cannot be taken back."""

    def refuse(self) -> None:
        """Take no new sessions, and go on. Idempotent."""

    def resume(self) -> None:
        """Take new sessions again. Idempotent."""

    def drain(self) -> object:
        """Take no new sessions, and end with the last one. Idempotent."""

    def limit(self, seconds: float) -> None:
        """In so many seconds end what still lives."""

    @property
    def to_end(self) -> int:
        """How many sessions there were when new ones were refused."""

    @property
    def seconds_left(self) -> float | None:
        """Until they are ended; None where there is no limit."""


class Cluster(Protocol):
    """The relays that share their calls with this one."""

    def fleet(self) -> View:
        """All nodes as far as they are known here."""

    def take_over(self, address: str | None) -> Deferred[Any]:
        """Take ``address``, or all there are, over. Fails with RelayError."""


class Tracing(Protocol):
    """The rings of packet headers."""

    seconds: float
    """How far back they reach; 0: there are none."""

    def pcap(self, call_id: str) -> Iterator[bytes] | None:
        """A capture file of a call, in pieces; None where nothing is known of it."""


class Debugging(Protocol):
    """The calls of which everything is logged."""

    def add(self, call_id: str) -> None:
        """Log everything of that call; the oldest of too many calls is dropped."""

    def discard(self, call_id: str) -> None:
        """No more of it."""

    def __contains__(self, call_id: object) -> bool:
        """Whether everything of it is logged."""


def nobody(options: Sequence[str] | None) -> Deferred[int]:
    """There is nobody to hand over to."""
    return fail(RelayError("this relay cannot be handed over"))


class Refused(Exception):
    """A request that cannot be met: an HTTP status, a stable code and a sentence."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Filter:
    """Which calls of a list are wanted."""

    search: str | None = None
    """Text that the call-id contains."""
    verdict: str | None = None
    state: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("verdict", self.verdict, tuple(CODES)),
            ("state", self.state, views.STATES),
        ):
            if value is not None and value not in known:
                raise Refused(400, "bad-parameter", f"{name} must be one of {', '.join(known)}")

    def admits(self, session: Session, now: float) -> bool:
        """Whether ``session`` makes its call one of those wanted."""
        if self.state is not None and views.state_of(session, now) != self.state:
            return False
        return self.verdict is None or any(
            verdict.code == self.verdict for verdict in assess(session, now)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """Answers and actions. ``wall`` gives seconds since the epoch, ``version`` the package's."""

    registry: SessionRegistry
    recorders: IRecorders
    totals: Totals
    clock: IReactorTime
    wall: Callable[[], float]
    version: str
    capacity: Callable[[], Capacity]
    ports: Callable[[], list[tuple[str, int, int]]]
    """For each address family its name, how many port pairs there are, how many are free."""
    draining: Draining
    tracing: Tracing
    debugging: Debugging
    recent: Recent
    feed: Feed
    listening: Callable[[], bool]
    """Whether the control sockets are open."""
    reload: Callable[[], list[str]] = list
    """Reads again what can be read again, and names it. Raises ConfigError."""
    hand_over: Callable[[Sequence[str] | None], Deferred[int]] = nobody
    """Hands the relay over to a new process; its id, or fails with a RelayError."""
    cluster: Callable[[], Cluster | None] = lambda: None
    """The other relays; None where there is no cluster."""

    _log = Logger()

    # Answers.

    def calls(self, wanted: Filter) -> Iterator[bytes]:
        """A list of calls, in pieces of one call each."""
        yield b'{"calls":['
        count = 0
        for call_id in self.registry.calls():
            if wanted.search is not None and wanted.search not in call_id:
                continue
            now, epoch = self._times()
            found = self.registry.of_call(call_id)
            if not any(wanted.admits(session, now) for session in found):
                yield b""  # so that a search that finds nothing gives way, too
                continue
            view = self._named(call_id)
            view["sessions"] = [views.brief(session, now, epoch) for session in found]
            yield (b"," if count else b"") + to_json(view)
            count += 1
            if count == wanted.limit:
                break
        yield b'],"count":%d}\n' % count

    def call(self, call_id: str) -> View:
        """All of one call, if need be of one that ended lately. Raises Refused."""
        _, epoch = self._times()
        return {
            **self._named(call_id),
            "debug": call_id in self.debugging,
            "sessions": [
                views.whole(session, then, epoch, history=True)
                for session, then in self._known(call_id)
            ],
        }

    def why(self, call_id: str) -> View:
        """The verdicts on a call, if need be on one that ended lately. Raises Refused."""
        return {
            **self._named(call_id),
            "sessions": [views.why(session, then) for session, then in self._known(call_id)],
        }

    def trace(self, call_id: str) -> Iterator[bytes]:
        """Headers of its last packets, as a capture file. Raises Refused."""
        if not self.tracing.seconds:
            self._known(call_id)
            raise Refused(409, "not-tracing", "headers are kept only with --trace SECONDS")
        pieces = self.tracing.pcap(call_id)
        if pieces is None:
            raise Refused(404, "no-such-call", "no packets of such a call are kept")
        return pieces

    def stats(self) -> View:
        """The relay's totals."""
        totals = self.totals
        return {
            "version": self.version,
            "time": round(self.wall(), 3),
            "sessions": len(self.registry),
            "draining": self.draining.draining,
            "totals": {name: getattr(totals, name) for name in Totals.__dataclass_fields__},
        }

    def room(self) -> View:
        """How many calls there can be, and what limits them."""
        found = self.capacity()
        return {
            "calls": found.calls,
            "why": found.why,
            "sessions": len(self.registry),
            "ports": [
                {"family": family, "pairs": pairs, "free": free}
                for family, pairs, free in self.ports()
            ],
        }

    def drain(self) -> View:
        """Whether new sessions are refused."""
        return {
            "draining": self.draining.draining,
            "ending": self.draining.ending,
            "sessions": len(self.registry),
            "of": self.draining.to_end,
            "seconds_left": self.draining.seconds_left,
        }

    def overview(self) -> View:
        """The relay as a whole, for those who listen."""
        stats, room = self.stats(), self.room()
        return {
            **{name: stats[name] for name in ("version", "time", "sessions", "draining", "totals")},
            "ending": self.draining.ending,
            "of": self.draining.to_end,
            "seconds_left": self.draining.seconds_left,
            "fleet": None if (cluster := self.cluster()) is None else cluster.fleet(),
            "capacity": {"calls": room["calls"], "why": room["why"]},
            "ports": room["ports"],
        }

    def ready(self) -> View:
        """Whether new calls can be sent here. Raises Refused with 503."""
        if not self.listening():
            raise Refused(503, "starting", "the control sockets are not open yet")
        if self.draining.draining:
            raise Refused(503, "draining", "no new sessions are taken")
        return {"ready": True}

    # Actions.

    def delete(self, call_id: str) -> View:
        """End all of a call. Raises Refused."""
        found = self._found(call_id)
        self._log.info("call {call_id!r} is deleted over HTTP", call_id=call_id)
        for session in found:
            self.registry.end(session, Ending.DELETED)
        return {**self._named(call_id), "deleted": len(found)}

    def record(self, call_id: str, *, single: bool) -> View:
        """Record both parties of all media. Raises Refused where nothing can be recorded."""
        started, reasons = 0, []
        for session in self._found(call_id):
            self.registry.release(session)
            for leg in session.legs:
                state = leg.recording
                begins = state is None or state.paused or state.failed
                try:
                    self.recorders.record(leg, None, single)
                except RecordingRefused as refusal:
                    reasons.append(str(refusal))
                else:
                    started += 1
                    if begins:
                        self.registry.note(leg, "recording", "recording begins, asked over HTTP")
        if not started:
            raise Refused(409, "not-recorded", shown(reasons[0]))
        self._log.info("call {call_id!r} is recorded, asked for over HTTP", call_id=call_id)
        return {**self._named(call_id), "recorded": started}

    def stop_recording(self, call_id: str) -> View:
        """End its recordings. Raises Refused."""
        stopped = 0
        for session in self._found(call_id):
            for leg in session.legs:
                if self.recorders.stop(leg):
                    stopped += 1
                    self.registry.note(leg, "recording", "recording ends, asked over HTTP")
        self._log.info(
            "call {call_id!r} is not recorded any more, asked for over HTTP", call_id=call_id
        )
        return {**self._named(call_id), "stopped": stopped}

    def debug(self, call_id: str, *, on: bool) -> View:
        """Log everything of a call, or no longer; it need not exist yet."""
        (self.debugging.add if on else self.debugging.discard)(call_id)
        self._log.info(
            "call {call_id!r} is logged in detail: {on}", call_id=call_id, on="yes" if on else "no"
        )
        return {**self._named(call_id), "debug": on}

    def read_again(self) -> View:
        """Read certificates again. Raises Refused where they are of no use; the former stay."""
        try:
            reloaded = self.reload()
        except ConfigError as error:
            raise Refused(409, "not-reloaded", shown(str(error))) from error
        return {"reloaded": reloaded}

    def upgrade(self, options: Sequence[str] | None = None) -> Deferred[bytes]:
        """A new process goes on with everything; comes when it does, or fails with Refused.

        ``options``: its command line in place of the present one.
        """

        def refuse(failure: Failure) -> NoReturn:
            failure.trap(RelayError)
            raise Refused(409, "not-upgraded", shown(failure.getErrorMessage()))

        return self.hand_over(options).addCallbacks(
            lambda pid: to_json({"process": pid}) + b"\n",
            refuse,
        )

    def fleet(self) -> View:
        """All nodes. Raises Refused where this one is alone."""
        return self._cluster().fleet()

    def take_over(self, address: str | None) -> Deferred[bytes]:
        """Take a media address, or all, over; comes when that is done, or fails with Refused."""

        def refuse(failure: Failure) -> NoReturn:
            failure.trap(RelayError)
            raise Refused(409, "not-taken-over", shown(failure.getErrorMessage()))

        cluster = self._cluster()
        return maybeDeferred(cluster.take_over, address).addCallbacks(
            lambda _: to_json(cluster.fleet()) + b"\n", refuse
        )

    def _cluster(self) -> Cluster:
        cluster = self.cluster()
        if cluster is None:
            raise Refused(409, "no-cluster", "this relay shares no calls: start it with --redis")
        return cluster

    def start_draining(self, *, leave: bool = False, limit: float | None = None) -> View:
        """Refuse new sessions.

        With ``leave`` the process ends with the last session; in ``limit`` seconds those that
        still live are left to others, or ended.
        """
        self.draining.refuse()
        if limit is not None:
            self.draining.limit(limit)
        if leave:
            self.draining.drain()
        return self.drain()

    def stop_draining(self) -> View:
        """Take them again. Raises Refused where the process is going to end."""
        if self.draining.ending:
            raise Refused(409, "ending", "the relay ends with its last session; start another")
        self.draining.resume()
        return self.drain()

    # The common parts.

    def _found(self, call_id: str) -> list[Session]:
        found = self.registry.of_call(call_id)
        if not found:
            raise Refused(404, "no-such-call", "there is no such call now")
        return found

    def _known(self, call_id: str) -> list[tuple[Session, float]]:
        """The sessions of a call and the time to look at them: now, or when they ended."""
        now = self.clock.seconds()
        found = [(session, now) for session in self.registry.of_call(call_id)]
        found = found or self.recent.of_call(call_id)
        if not found:
            raise Refused(404, "no-such-call", "there is no such call, nor was there lately")
        return found

    def _named(self, call_id: str) -> View:
        return {"id": identifier(call_id), "call_id": shown(call_id)}

    def _times(self) -> tuple[float, float]:
        now = self.clock.seconds()
        return now, self.wall() - now
