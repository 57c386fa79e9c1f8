"""The old relay's side of a hand-over: starts the new one, gives it everything, and goes.

Until the new relay says that it serves, the old one has given away nothing but copies; whatever
goes wrong before, it ends the new one and goes on.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NoReturn, Protocol

from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.continuity.channel import Channel, HandoverError
from rtpproxy_tw.continuity.giving import Giver
from rtpproxy_tw.continuity.heirlooms import pass_on
from rtpproxy_tw.reporting.metrics import Metrics
from rtpproxy_tw.succession import Succession
from rtpproxy_tw.web.slices import Slices

VARIABLE = "RTPPROXY_TW_TAKE_OVER"
"""The environment variable that names the descriptor over which a relay takes over."""

START = 60.0
"""Seconds the new relay has until it can take over."""

FAREWELL = 0.3
"""Seconds for whoever asked for the upgrade to be told."""

LONGEST_FAREWELL = 10.0
"""The same where others do not read what they are being answered."""

FOLDER = os.getcwd()
"""Where this process was started: paths in its command line start there."""


class Child(Protocol):
    """The new relay's process."""

    pid: int

    def kill(self) -> None:
        """End it."""

    def wait(self) -> int:
        """Wait for its end; its status."""


Start = Callable[[int], Child]
"""Starts the new relay with a descriptor. Raises OSError."""


def command_line(options: Sequence[str] | None = None) -> list[str]:
    """How this process was started, interpreter and all; ``options``: in place of its own."""
    if options is None:
        return [sys.executable, *sys.orig_argv[1:]]
    program = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    return [sys.executable, *program, *options]


def start(
    descriptor: int, command: Sequence[str] | None = None, others: Sequence[int] = ()
) -> Child:
    """Start the same program once more; it has ``others`` as well. Raises OSError."""
    environment = {**os.environ, VARIABLE: str(descriptor)}
    # These were for the one that systemd started.
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"):
        environment.pop(name, None)
    folder = FOLDER if os.path.isdir(FOLDER) else None
    return subprocess.Popen(
        command or command_line(), pass_fds=[descriptor, *others], env=environment, cwd=folder
    )


@implementer(IReadDescriptor)
class Upgrade:
    """One hand-over. ``done`` fires with the new process's id, or fails with HandoverError."""

    _log = Logger()

    def __init__(
        self, reactor: Any, succession: Succession, start: Start = start, limit: float = START
    ) -> None:
        self._reactor = reactor
        self._succession = succession
        self._start = start
        self._limit = limit
        self._child: Child | None = None
        self._channel: Channel | None = None
        self._giver: Giver | None = None
        self._begun = False
        """Whether the new relay has said something."""
        self._timer: Any = None
        self.done: Deferred[int] = Deferred()

    def begin(self) -> None:
        """Start the new relay; the rest follows when it is ready to take over."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel = Channel(ours)
        try:
            with theirs:
                succession = self._succession
                pass_on(self._channel, succession.descriptors(), dict(succession.shape()))
                self._child = self._start(theirs.fileno())
        except (OSError, HandoverError) as error:
            self._failed(f"no new process: {error}")
            return
        self._log.info("handing over to process {pid}", pid=self._child.pid)
        self._reactor.addReader(self)
        self._timer = self._reactor.callLater(self._limit, self._failed, "it does not start")
        self._giver = self._succession.giver(self._channel)
        self._reactor.callLater(0, self._prepare)

    def _prepare(self) -> None:
        """While it starts, which takes it some tenths of a second."""
        if self._channel is None or self._begun or self._giver is None:
            return
        try:
            if self._giver.prepare():
                self._reactor.callLater(0, self._prepare)
        except Exception as error:
            self._fault(error)

    # IReadDescriptor: the new relay has something to say.

    def fileno(self) -> int:
        """The channel's."""
        return -1 if self._channel is None else self._channel.fileno()

    def logPrefix(self) -> str:
        """Whom the reactor's messages are about."""
        return "upgrade"

    def connectionLost(self, reason: object = None) -> None:
        """The reactor is shutting down."""
        self._end()

    def doRead(self) -> None:
        """It is ready, has taken something that went ahead, or is gone."""
        try:
            if not self._is_all_ahead():
                return
            self._reactor.removeReader(self)
            began = self._reactor.seconds()
            # From here on nothing else is done until it serves.
            assert self._giver is not None, "there since the beginning"
            self._succession.give(self._giver)
        except HandoverError as error:
            self._failed(str(error))
            return
        except Exception as error:
            self._fault(error)
            return
        self._given(self._reactor.seconds() - began)

    def _is_all_ahead(self) -> bool:
        assert self._giver is not None, "nothing is read before there is one"
        if not self._begun:
            self._begun = True
            self._giver.begin()
            self._timer.reset(self._limit)
        else:
            self._giver.acknowledged()
        return not self._giver.ahead()

    def _given(self, seconds: float) -> None:
        self._end()
        self._leave()
        assert self._child is not None
        self._log.info(
            "process {pid} goes on with all of it; that took {milliseconds:.0f} ms",
            pid=self._child.pid,
            milliseconds=1000 * seconds,
        )
        self.done.callback(self._child.pid)

    def _leave(self) -> None:
        try:
            self._succession.leave()
        except Exception:
            self._log.failure("something of this process could not be finished")

    def _fault(self, error: Exception) -> None:
        """To be called while ``error`` is handled."""
        self._log.failure("a fault in the hand-over")
        self._failed(f"a fault of the relay itself: {error!r}")

    def _failed(self, why: str) -> None:
        if self._channel is not None:
            self._channel.refuse(why)
        self._end()
        if self._child is not None:
            # Only when it is certainly gone nobody but us reads from the sockets.
            self._child.kill()
            self._child.wait()
        self._log.error("not handed over, everything goes on here: {why}", why=why)
        self.done.errback(HandoverError(why))

    def _end(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._reactor.removeReader(self)
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()


def leave(reactor: Any, done: Callable[[], None]) -> None:
    """Hear nothing any more, but finish what is being answered over HTTP; then call ``done``."""
    for each in reactor.getReaders():
        if each is not getattr(reactor, "waker", None):
            reactor.removeReader(each)
    for each in reactor.getWriters():
        if not _is_answering(each):
            reactor.removeWriter(each)
    for call in reactor.getDelayedCalls():
        if not _goes_on_answering(call):
            call.cancel()
    end = reactor.seconds() + LONGEST_FAREWELL

    def end_or_wait() -> None:
        answers = [*map(_is_answering, reactor.getWriters())]
        answers += map(_goes_on_answering, reactor.getDelayedCalls())
        if any(answers) and reactor.seconds() < end:
            reactor.callLater(FAREWELL, end_or_wait)
        else:
            done()

    reactor.callLater(FAREWELL, end_or_wait)


def _goes_on_answering(call: Any) -> bool:
    return isinstance(getattr(call.func, "__self__", None), (Slices, Metrics))


def _is_answering(connection: Any) -> bool:
    """Whether something is being answered over it, over TLS or not.

    To whom nothing is, another process says what is still to be said.
    """
    if not isinstance(connection, tcp.Server):
        return False
    protocol: Any = connection.protocol
    channel: Any = getattr(getattr(protocol, "wrappedProtocol", protocol), "_channel", None)
    return getattr(channel, "whole", False) and bool(channel.requests or not channel.persistent)


def end_quietly() -> NoReturn:
    """End the process without touching what is another's now: sockets, files, paths.

    The first process of a container stays, as its end would be that of all.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(stay_as_parent() if os.getpid() == 1 else 0)


def hand_signals_on(to: Callable[[], Iterable[int]]) -> None:
    """From now on those who send us signals mean the processes that ``to`` gives."""

    def forward(number: int, frame: object) -> None:
        for pid in to():
            with suppress(OSError):
                os.kill(pid, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, forward)


def stay_as_parent() -> int:
    """Wait for all children, hand signals on to them; the status of the last one."""
    # Nothing is to be kept open that the new relay closes one day.
    os.closerange(3, 1 << 20)

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    hand_signals_on(_children)
    status = 0
    while True:
        try:
            _, raw = os.wait()
        except ChildProcessError:
            return status
        code = os.waitstatus_to_exitcode(raw)
        status = code if code >= 0 else 128 - code


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except (OSError, ValueError):
        return []
