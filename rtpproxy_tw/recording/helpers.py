"""Programs that are run beside the relay: export, recovery, the operator's own commands.

A few at a time, for a limited time, at low priority. They wait in a queue of limited length, so
that a thousand calls ending at once start two processes and not a thousand.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

AT_ONCE = 2
"""Processes; on a small machine one of two processors stays free for a moment at least."""

MOST_WAITING = 10_000
"""Programs in the queue; beyond, new ones are not run and counted."""

MOST_TOLD = 1 << 20
"""Octets of a program's output that are kept."""

GRACE = 10.0
"""Seconds the end of the relay waits for programs."""


class Spawner(Protocol):
    """A reactor that starts processes."""

    def spawnProcess(
        self, process: ProcessProtocol, executable: str, args: Sequence[str], env: Any, path: str
    ) -> Any:
        """See IReactorProcess."""


@dataclass(frozen=True, slots=True)
class Work:
    """A program to run: ``done`` gets its exit status (None: killed) and what it printed."""

    command: Sequence[str]
    done: Callable[[int | None, bytes], None]
    stdin: bytes = b""
    seconds: float = 600.0


class Helpers:
    """Runs programs. ``folder`` is the directory they run in."""

    _log = Logger()

    def __init__(
        self,
        *,
        spawner: Spawner,
        clock: IReactorTime,
        folder: str = "/",
        environment: dict[str, str] | None = None,
    ) -> None:
        self._spawner = spawner
        self._clock = clock
        self._folder = folder
        self._environment = dict(os.environ) | (environment or {})
        self._waiting: deque[Work] = deque()
        self._running: set[_Run] = set()
        self._stopped: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None
        self.lost = 0
        """Programs that were not run for want of room."""

    def run(self, work: Work) -> None:
        """Run it soon. Neither blocks nor raises."""
        if len(self._waiting) >= MOST_WAITING or self._over:
            self.lost += 1
            self._log.error("not run, too much waits: {command}", command=" ".join(work.command))
            return
        self._waiting.append(work)
        self._next()

    def stop(self) -> Deferred[None]:
        """Fires when all is done, or after GRACE seconds, when what is left is killed."""
        self._stopped = Deferred()
        if self._idle:
            self._finish()
        else:
            self._deadline = self._clock.callLater(GRACE, self._give_up)
        return self._stopped

    @property
    def _idle(self) -> bool:
        return not (self._running or self._waiting)

    @property
    def _over(self) -> bool:
        return self._stopped is not None and self._stopped.called

    def _next(self) -> None:
        while self._waiting and len(self._running) < AT_ONCE:
            work = self._waiting.popleft()
            run = _Run(work, self._clock, self._ended)
            self._running.add(run)
            command = list(work.command)
            try:
                self._spawner.spawnProcess(
                    run, command[0], command, self._environment, self._folder
                )
            except OSError as error:
                self._running.discard(run)
                self._log.error("{command} cannot be run: {error}", command=command[0], error=error)
                work.done(None, b"")
        if self._idle and self._stopped is not None:
            self._finish()

    def _ended(self, run: _Run, status: int | None) -> None:
        self._running.discard(run)
        if status != 0:
            self._log.warn(
                "{command} ended with {status}: {told}",
                command=" ".join(run.work.command),
                status="a signal" if status is None else status,
                told=_told(run.errors.decode(errors="replace").strip()),
            )
        run.work.done(status, bytes(run.output))
        self._next()

    def _give_up(self) -> None:
        self._deadline = None
        left = len(self._waiting) + len(self._running)
        self._log.error("{count} programs were not waited for", count=left)
        self._waiting.clear()
        for run in tuple(self._running):
            run.kill()
        self._finish()

    def _finish(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._stopped is not None and not self._stopped.called:
            self._stopped.callback(None)


def _told(errors: str) -> str:
    """What a program said, or why there is none, of which Twisted's child prints a traceback."""
    return errors.rpartition("\n")[2] if ", in _execvpe" in errors else errors


class _Run(ProcessProtocol):
    """One process."""

    def __init__(
        self, work: Work, clock: IReactorTime, ended: Callable[[_Run, int | None], None]
    ) -> None:
        self.work = work
        self.output = bytearray()
        self.errors = b""
        self._clock = clock
        self._ended = ended
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """It runs."""
        self._timer = self._clock.callLater(self.work.seconds, self._late)
        assert self.transport is not None
        if self.work.stdin:
            self.transport.write(self.work.stdin)
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """Keep the beginning of what it prints."""
        self.output += data[: MOST_TOLD - len(self.output)]

    def errReceived(self, data: bytes) -> None:
        """Keep the end of what it complains about."""
        self.errors = (self.errors + data)[-500:]

    def processEnded(self, reason: Failure) -> None:
        """It does not run any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        status = 0 if isinstance(reason.value, ProcessDone) else _status(reason.value)
        self._ended(self, status)

    def kill(self) -> None:
        """End it."""
        if self.transport is not None and self.transport.pid is not None:
            self.transport.signalProcess("KILL")

    def _late(self) -> None:
        self._timer = None
        self.errors += b" (killed: it took too long)"
        self.kill()


def _status(why: object) -> int | None:
    """How a process ended; None: by a signal."""
    status = getattr(why, "exitCode", None)
    return status if isinstance(status, int) else None
