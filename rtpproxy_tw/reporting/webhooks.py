"""Records posted to a URL, until they have been taken.

A record is written to the spool before it is posted and removed when the receiver has answered
with 2xx; whatever is there at the start is posted then. So none is lost by an outage of the
receiver or a restart of the relay, and one may come twice, under the same Idempotency-Key.

=====================  ==========================================================================
answer                 what follows
=====================  ==========================================================================
2xx                    the record is removed
400, 413, 415, 422     the receiver will never take this one: kept aside in ``refused``
anything else, none    all wait, twice as long each time, then it is tried again
=====================  ==========================================================================
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtpproxy_tw.errors import ConfigError

MOST_WAITING = 50_000
"""Records in the spool; beyond, new ones are lost and counted."""

AT_ONCE = 8
"""Requests under way at a time: a slow receiver must not be a bottleneck."""

TIMEOUT = 10.0
"""Seconds for one request."""

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
"""Seconds to wait after a failure."""

NEVER = frozenset((400, 413, 415, 422))
"""Statuses about the record itself, not about the receiver's state."""

MAX_ANSWER = 65536
"""Octets of an answer that are read, to use the connection again."""

_Result = TypeVar("_Result")

Post = Callable[[str, bytes], "Deferred[int]"]
"""(name, record) -> the status of the answer; fails where there is none."""


class Spool(Protocol):
    """Where records wait."""

    def names(self) -> list[str]:
        """Those that wait, oldest first."""

    def write(self, name: str, record: bytes) -> None:
        """Keep one."""

    def read(self, name: str) -> bytes:
        """One again."""

    def remove(self, name: str) -> None:
        """One has been taken."""

    def refuse(self, name: str) -> None:
        """One never will be."""


class Run(Protocol):
    """Calls a function where it may block."""

    def __call__(self, function: Callable[..., _Result], *arguments: Any) -> Deferred[_Result]:
        """Fires with what it returns; calls are made one after the other."""


class Webhook:
    """A sink that posts records."""

    _log = Logger()

    def __init__(self, *, spool: Spool, post: Post, run: Run, clock: IReactorTime) -> None:
        self._spool = spool
        self._post = post
        self._run = run
        self._clock = clock
        self._waiting: deque[str] = deque()
        self._under_way: dict[str, Deferred[Any]] = {}
        self._pause = 0.0
        self._timer: IDelayedCall | None = None
        self._writing = 0
        self._stopped = False
        self.delivered = 0
        self.refused = 0
        self.lost = 0
        """Records there was no room for, or that could not be written."""

    def start(self) -> None:
        """Go on with what an earlier run has left."""
        self._run(self._spool.names).addCallbacks(self._found, self._broken)

    def put(self, name: str, record: bytes) -> None:
        """Keep a record and post it."""
        if len(self) >= MOST_WAITING:
            self._lose("the spool is full")
            return
        self._writing += 1
        self._run(self._spool.write, name, record).addCallbacks(
            lambda _: self._written(name), self._unwritten
        )

    def stop(self) -> None:
        """Post no more; what has not been taken stays in the spool."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for request in [*self._under_way.values()]:
            request.cancel()

    def __len__(self) -> int:
        """How many records wait."""
        return self._writing + len(self._waiting) + len(self._under_way)

    def _found(self, names: list[str]) -> None:
        self._waiting.extendleft(reversed(names))
        self._go_on()

    def _broken(self, failure: Failure) -> None:
        self._log.error("the spool cannot be read: {why}", why=failure.getErrorMessage())

    def _written(self, name: str) -> None:
        self._writing -= 1
        self._waiting.append(name)
        self._go_on()

    def _unwritten(self, failure: Failure) -> None:
        self._writing -= 1
        self._lose(failure.getErrorMessage())

    def _lose(self, why: str) -> None:
        self.lost += 1
        self._log.error("a record is lost to the web hook: {why}", why=why)

    def _go_on(self) -> None:
        while (
            self._waiting
            and self._timer is None
            and not self._stopped
            # After a failure one request finds out whether the receiver is back.
            and len(self._under_way) < (1 if self._pause else AT_ONCE)
        ):
            self._begin(self._waiting.popleft())

    def _begin(self, name: str) -> None:
        request: Deferred[Any] = self._run(self._spool.read, name)
        self._under_way[name] = request
        request.addCallback(lambda record: self._post(name, record))
        request.addCallback(self._answered, name)
        request.addErrback(self._failed, name)
        request.addBoth(lambda _: self._go_on())

    def _answered(self, status: int, name: str) -> Deferred[None] | None:
        if 200 <= status < 300:
            self.delivered += 1
            return self._taken(name, self._spool.remove)
        if status in NEVER:
            self.refused += 1
            self._log.error(
                "the receiver refuses record {name} with {status}; it is kept aside",
                name=name,
                status=status,
            )
            return self._taken(name, self._spool.refuse)
        self._again(name, f"the answer was {status}")
        return None

    def _taken(self, name: str, then: Callable[[str], None]) -> Deferred[None]:
        if self._pause:
            self._log.info("the web hook takes records again; {count} wait", count=len(self))
        self._pause = 0.0
        del self._under_way[name]
        return self._run(then, name)

    def _failed(self, failure: Failure, name: str) -> None:
        if isinstance(failure.value, FileNotFoundError):
            self._under_way.pop(name, None)  # somebody has cleared the spool
        elif name in self._under_way:
            self._again(name, failure.getErrorMessage() or repr(failure.value))
        else:
            # It was taken and cannot be removed, so it will come twice.
            self._log.error("{name} stays: {why}", name=name, why=failure.getErrorMessage())

    def _again(self, name: str, why: str) -> None:
        del self._under_way[name]
        self._waiting.appendleft(name)
        if self._stopped or self._timer is not None:
            return
        if not self._pause:
            self._log.warn("the web hook takes no records: {why}; they wait", why=why)
        self._pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, 2 * self._pause))
        self._timer = self._clock.callLater(self._pause, self._resume)

    def _resume(self) -> None:
        self._timer = None
        self._go_on()


def treq_post(url: str, reactor: Any, agent: str) -> Post:
    """How to post to ``url``; ``agent`` names us. Raises ConfigError without treq."""
    try:
        from treq.client import HTTPClient
    except ImportError as error:
        raise ConfigError("web hooks need treq: pip install 'rtpproxy-tw[webhooks]'") from error
    from twisted.web.client import Agent, HTTPConnectionPool

    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = AT_ONCE
    client = HTTPClient(Agent(reactor, connectTimeout=TIMEOUT, pool=pool))

    def post(name: str, record: bytes) -> Deferred[int]:
        headers: dict[bytes | str, bytes | str] = {
            "Content-Type": "application/json",
            "Idempotency-Key": name,
            "User-Agent": agent,
        }
        answer: Deferred[Any] = client.post(
            url,
            data=record,
            headers=headers,
            timeout=TIMEOUT,
            reactor=reactor,
            # It would be another receiver than the one that was configured.
            allow_redirects=False,
            unbuffered=True,
        )
        return answer.addCallback(_status)

    return post


def _status(answer: Any) -> Deferred[int]:
    """The status, once the body is read, which nobody wants."""
    from twisted.internet.protocol import Protocol as TwistedProtocol

    finished: Deferred[int] = Deferred()

    class Drain(TwistedProtocol):
        octets = 0

        def dataReceived(self, data: bytes) -> None:
            self.octets += len(data)
            if self.octets > MAX_ANSWER and self.transport is not None:
                self.transport.loseConnection()

        def connectionLost(self, reason: Failure | None = None) -> None:
            if not finished.called:
                finished.callback(answer.code)

    answer.deliverBody(Drain())
    return finished
