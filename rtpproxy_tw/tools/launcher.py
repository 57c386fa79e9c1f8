"""The program ``rtpproxy-tw``: the original's command line, and the life of its process.

A start has this order: options, fork, limits, log, control sockets, pid file, privileges, root
directory, standard descriptors; only then the waiting parent is told, so that whoever started
the program may send commands as soon as it returns.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtpproxy_tw.configuration.configure import Configured
from rtpproxy_tw.configuration.options import Message, interpret
from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.configuration.switches import CommandLineError, spelled
from rtpproxy_tw.continuity.channel import HandoverError
from rtpproxy_tw.continuity.inheritance import Inheritance, passed
from rtpproxy_tw.continuity.safe import Safe
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.supervision import KEEPER, Notified, Starter, Supervisor, supervisor_of
from rtpproxy_tw.tools import keeper
from rtpproxy_tw.tools.daemon import (
    Parent,
    Terminal,
    apply_limits,
    complain,
    daemonize,
    hold_standard_descriptors,
    leave_terminal,
)
from rtpproxy_tw.tools.logs import start_logging
from rtpproxy_tw.tools.paths import PidFile
from rtpproxy_tw.tools.privileges import confine, drop_privileges
from rtpproxy_tw.tools.successor import Successor, successor_in
from rtpproxy_tw.tools.upgrade import (
    Upgrade,
    command_line,
    end_quietly,
    hand_signals_on,
    leave,
    start,
)

PROGRAM = "rtpproxy-tw"

STOP = tuple(
    getattr(signal, f"SIG{name}") for name in ("TERM", "INT", "PROF", "VTALRM", "XCPU", "XFSZ")
)
"""Signals that end the process, sessions and all."""

REFUSE = signal.SIGUSR1
"""Asks to take no new sessions, and to go on. Ended the original."""

UPGRADE = signal.SIGUSR2
"""Asks for a new process that goes on with everything. Ended the original, too."""

FATAL = (signal.SIGQUIT, signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS)
"""Signals of which the process is to die, as far as that can be logged before."""


class Relay(Protocol):
    """What is launched."""

    ready: Deferred[None]
    """Fires when every control socket listens, or fails with ConfigError or CannotListenError."""
    drained: Deferred[None]
    """Fires when a relay that takes no new sessions, for whatever reason, has none left."""

    def startService(self) -> object:
        """Open the control sockets."""

    def stopService(self) -> object:
        """End all sessions and close everything; a Deferred fires when that is done."""

    def drain(self) -> object:
        """Take no new sessions from now on."""

    def refuse(self) -> object:
        """Take no new sessions, and go on."""


Build = Callable[[Settings, Any], Relay]
"""Makes a relay, wired to a reactor and not yet started. Raises ConfigError."""


class Process:
    """The relay as a process: its start, its signals, its end."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        relay: Relay,
        settings: Settings,
        starter: Starter,
        supervisor: Supervisor | None = None,
        predecessor: int | None = None,
    ) -> None:
        self._supervisor = supervisor or Supervisor(None)
        self._predecessor = predecessor
        self._upgrading = False
        self.status = 0
        """What the process is to exit with."""
        self._reactor = reactor
        self._relay = relay
        self._settings = settings
        self._starter = starter
        self._pid_file = PidFile(settings.pid_file, named=settings.pid_file_named)
        self._stopping = False
        self._draining = False
        self._settled = False
        self._outcome = "it was ended before it was ready"
        """What whoever waits is told, when all is cleaned up, of a start that failed."""

    def start(self) -> None:
        """Start the relay; to be called when the reactor runs."""
        self._reactor.addSystemEventTrigger("before", "shutdown", self._shut_down)
        self._relay.drained.addCallback(lambda _: self._end())
        if hasattr(self._relay, "hand_over"):
            self._relay.hand_over = self.upgrade
        started: Deferred[object] = maybeDeferred(self._open)
        started.addCallback(lambda _: self._relay.ready)
        started.addCallback(self._settle)
        started.addErrback(self._fail)
        if self._predecessor is not None and not self._settled:
            # A turn of the reactor would read what is still another relay's.
            self._fail(Failure(ConfigError("the control sockets are not open at once")))

    def install_signals(self) -> None:
        """Take over from the reactor's own handlers, which know TERM and INT only."""
        for number in STOP:
            signal.signal(number, self.stop_signal)
        signal.signal(REFUSE, self.refuse_signal)
        for number in FATAL:
            signal.signal(number, self.fatal_signal)
        signal.signal(UPGRADE, self.upgrade_signal)
        signal.signal(signal.SIGHUP, self.hangup_signal)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def stop_signal(self, number: int, frame: FrameType | None) -> None:
        """Stop; when that is under way already, it hangs, and the process ends here."""
        if self._stopping:
            self._pid_file.remove()
            os._exit(128 + number)
        self._stopping = True
        self._reactor.callFromThread(self._stop, signal.Signals(number).name)

    def hangup_signal(self, number: int, frame: FrameType | None) -> None:
        """Take no new sessions, stop when the last one has ended."""
        self._reactor.callFromThread(self._drain)

    def refuse_signal(self, number: int, frame: FrameType | None) -> None:
        """Take no new sessions, and go on."""
        self._reactor.callFromThread(self._relay.refuse)

    def upgrade_signal(self, number: int, frame: FrameType | None) -> None:
        """Start a new process and hand everything over to it."""
        # Why it did not come to that is in the log.
        self._reactor.callFromThread(lambda: self.upgrade().addErrback(lambda failure: None))

    def upgrade(self, options: Sequence[str] | None = None) -> Deferred[int]:
        """Hand over; the result is the new process's id, or fails with HandoverError.

        ``options``: the new process's command line in place of ours.
        """
        succession = getattr(self._relay, "succession", None)
        if succession is None or self._stopping or self._upgrading:
            return fail(HandoverError("the relay is stopping, or being upgraded already"))
        if options is not None and (why := _wrong(options)) is not None:
            return fail(HandoverError(why))
        self._upgrading = True
        self._supervisor.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        command = command_line(options)
        also = partial(start, command=command, others=self._supervisor.descriptors)
        upgrade = Upgrade(self._reactor, succession, also)
        upgrade.done.addCallbacks(self._handed_over, self._not_handed_over)
        upgrade.begin()
        return upgrade.done

    def _handed_over(self, pid: int) -> int:
        self._stopping = True
        # We are there a moment longer; who sends a signal now means the relay.
        hand_signals_on(lambda: [pid])
        self._supervisor.tell(f"MAINPID={pid}", "READY=1")
        leave(self._reactor, end_quietly)
        return pid

    def _not_handed_over(self, failure: Failure) -> Failure:
        self._upgrading = False
        self._supervisor.tell("READY=1", f"STATUS=not upgraded: {failure.getErrorMessage()}")
        return failure

    def fatal_signal(self, number: int, frame: FrameType | None) -> None:
        """Log, and die of it after all."""
        self._log.critical("{signal}: giving up", signal=signal.Signals(number).name)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _open(self) -> None:
        self._pid_file.check()
        self._relay.startService()

    def _settle(self, ready: object) -> None:
        """The rest of the start; raises ConfigError."""
        settings = self._settings
        self._settled = True
        self._pid_file.write(self._predecessor, settings.user)
        drop_privileges(settings.user, settings.group, core_dumps=settings.core_dumps)
        if not settings.foreground:
            if settings.chdir:
                os.chdir("/")
            leave_terminal(redirect=settings.redirect)
        self._log.info("started, process {pid}", pid=os.getpid())
        self._starter.ready()

    def _fail(self, failure: Failure) -> None:
        sentence = sentence_of(failure.value)
        if not isinstance(failure.value, (ConfigError, CannotListenError)):
            self._log.failure("the relay could not be started", failure)
        self._log.critical("not started: {sentence}", sentence=sentence)
        self._outcome = sentence
        self.status = 1
        self._end()

    def _stop(self, name: str) -> None:
        self._log.info("{signal}: stopping", signal=name)
        self._end()

    def _drain(self) -> None:
        if self._draining or self._stopping:
            return
        self._draining = True
        self._log.info("SIGHUP: no new sessions; stopping when the last one has ended")
        self._relay.drain()

    def _end(self) -> None:
        self._stopping = True
        # It may be ending already.
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def _shut_down(self) -> Deferred[object]:
        self._stopping = True
        stopped: Deferred[object] = maybeDeferred(self._relay.stopService)
        stopped.addErrback(lambda failure: self._log.failure("cannot stop in order", failure))
        return stopped.addBoth(self._ended)

    def _ended(self, result: object) -> None:
        self._pid_file.remove()
        self._starter.failed(self._outcome)
        self._log.info("ended")


def _wrong(options: Sequence[str]) -> str | None:
    """What keeps a relay from being started with these options, as far as they tell."""
    try:
        wanted = interpret(options, PROGRAM)
    except (CommandLineError, ConfigError) as error:
        return str(error)
    return "these options start no relay" if isinstance(wanted, Message) else None


def sentence_of(error: BaseException | None) -> str:
    """What to tell the operator of ``error``."""
    match error:
        case CannotListenError(interface=None, port=path, socketError=why):
            return f"cannot listen on {os.fsdecode(path)}: {why}"
        case CannotListenError(interface=host, port=port, socketError=why):
            return f"cannot listen on {host or '*'}, port {port}: {why}"
        case _:
            return str(error) or repr(error)


def refuse_root(settings: Settings) -> str | None:
    """As the original: root takes no commands over UDP. Raises ConfigError.

    Returns a warning where there is something to say to a root who may go on.
    """
    if os.geteuid() or settings.user is not None or settings.allow_root:
        return None
    advice = f"use {spelled('user')} to run as another user, or {spelled('allow_root')}"
    if any(address.kind in ("udp", "udp6") for address in settings.control):
        raise ConfigError(f"running as root with commands taken over UDP is refused; {advice}")
    return f"running as root is not recommended; {advice}"


def launch(configured: Configured, build: Build | None = None) -> int:
    """Run a relay until it is told to end. Returns the process's exit status.

    A daemon's parent does not return from here. Raises ConfigError.
    """
    settings, notes = configured
    warning = refuse_root(settings)
    if settings.pid_file_named:
        # Before anything is made that would have to be taken apart again.
        PidFile(settings.pid_file, named=True).check()
    successor = successor_in(os.environ)
    if warning is not None and successor is None:
        complain(warning)
    # Who takes over is in the background already, if the one before was.
    kept = KEEPER in os.environ
    background = successor is None and not settings.foreground and not kept
    starter: Starter = successor or (daemonize() if background else Terminal())
    named = passed(os.environ, os.getpid())
    if settings.keeper and successor is None and not kept:
        named += _have_a_keeper(settings, starter, background)
    try:
        start_logging(settings)
        apply_limits(settings)
        confine(core_dumps=settings.core_dumps)
        for note in notes:
            Process._log.warn("{note}", note=note)
        return run(settings, starter, build, successor, named)
    except ConfigError as error:
        starter.failed(str(error))
        return 1


def _have_a_keeper(settings: Settings, starter: Starter, background: bool) -> list[tuple[str, int]]:
    """Go on as a child of a process that starts us again after a crash, unless systemd does.

    What that one has kept for us, with names.
    """
    if "NOTIFY_SOCKET" in os.environ or not keeper.available():
        return []
    # Whoever comes after a crash is a copy of the keeper and has it then.
    from rtpproxy_tw import tap  # noqa: F401

    return keeper.under_keeper(
        starter.forget if isinstance(starter, Parent) else lambda: None,
        chdir=background and settings.chdir,
        redirect=background and settings.redirect,
    )


def run(
    settings: Settings,
    starter: Starter,
    build: Build | None = None,
    successor: Successor | None = None,
    named: Sequence[tuple[str, int]] = (),
) -> int:
    """Run the reactor with a relay in it. Raises ConfigError where that cannot be built.

    ``named`` are the descriptors that outlived a process before us.
    """
    # Only here, and after the fork: importing it opens descriptors.
    from twisted.internet import reactor

    supervisor = supervisor_of(os.environ, os.getpid())
    inheritance = Inheritance(named)
    if build is None:
        from rtpproxy_tw import tap

        tap.monotonic(reactor)
        heirlooms = inheritance.heirlooms() if successor is None else successor.heirlooms()
        safe = Safe(supervisor.tell, inheritance.names) if supervisor.present else None
        build = partial(
            tap.build, supervisor=supervisor, heirlooms=heirlooms, confining=True, safe=safe
        )
    relay = build(settings, reactor)
    predecessor = None
    if successor is not None:
        predecessor = successor.predecessor
        successor.take(relay)
    else:
        starter = Notified(starter, supervisor)
        inherit(relay, inheritance)
    process = Process(reactor, relay, settings, starter, supervisor, predecessor)
    reactor.callWhenRunning(process.install_signals)
    reactor.callWhenRunning(process.start)
    reactor.run()
    return process.status


def inherit(relay: object, inheritance: Inheritance) -> None:
    """Have ``relay`` go on where a crash ended the process before, if anything is left of it."""
    succession = getattr(relay, "succession", None)
    if succession is not None and inheritance.names:
        count = succession.inherit(inheritance)
        Process._log.warn("the process before crashed; {count} sessions go on", count=count)


def main(arguments: Sequence[str] | None = None, build: Build | None = None) -> int:
    """The program; returns its exit status."""
    hold_standard_descriptors()
    try:
        wanted = interpret(sys.argv[1:] if arguments is None else arguments, PROGRAM)
        if isinstance(wanted, Message):
            print(wanted.text, flush=True)
            return wanted.status
        return launch(wanted, build)
    except CommandLineError as error:
        complain(f"{error}\nTry: {PROGRAM} --help")
    except (ConfigError, BrokenPipeError) as error:
        complain(str(error))
    return 1


if __name__ == "__main__":
    sys.exit(main())
