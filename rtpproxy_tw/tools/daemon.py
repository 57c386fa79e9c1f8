"""What a process does to itself to become a daemon, and to tell whoever started it."""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from twisted.logger import Logger

from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.configuration.switches import spelled
from rtpproxy_tw.errors import ConfigError

_READY = b"ready\n"

_log = Logger()


class Terminal:
    """The starter of a process in the foreground: it reads standard error."""

    def __init__(self) -> None:
        self._told = False

    def ready(self) -> None:
        """Nobody waits for that."""
        self._told = True

    def failed(self, sentence: str) -> None:
        """Print the sentence."""
        if not self._told:
            complain(sentence)
        self._told = True


class Parent:
    """The starter of a daemon: the process that was forked from, at the end of a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def ready(self) -> None:
        """Let the parent exit with 0."""
        self._tell(_READY)

    def failed(self, sentence: str) -> None:
        """Let the parent print the sentence and exit with 1."""
        self._tell(" ".join(sentence.split()).encode(errors="backslashreplace") + b"\n")

    def forget(self) -> None:
        """Somebody else tells."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _tell(self, line: bytes) -> None:
        if self._descriptor is None:
            return
        # It may have been ended meanwhile, so that nobody wants to know.
        with suppress(OSError):
            os.write(self._descriptor, line)
        os.close(self._descriptor)
        self._descriptor = None


def complain(sentence: str) -> None:
    """Tell the operator on standard error, as far as there is one."""
    with suppress(OSError, ValueError):
        print(f"rtpproxy-tw: {sentence}", file=sys.stderr, flush=True)


def hold_standard_descriptors() -> None:
    """Open /dev/null for those of descriptors 0 to 2 that are closed.

    Otherwise sockets would get these numbers, and be written to as standard error.
    """
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return


def daemonize() -> Parent:
    """Go on in a child that leads a session of its own. Returns in that child only.

    The parent waits for what the child tells and exits: 0 when it is ready, else 1. Must be
    called before there is a reactor, whose descriptors must not be shared.
    """
    reading, writing = os.pipe()
    starter = os.getpid()
    child = os.fork()
    if child:
        os.close(writing)
        _await(child, reading)
    os.close(reading)
    os.setsid()
    # systemd's sockets are meant for the process it started, which now is another one.
    if os.environ.get("LISTEN_PID") == str(starter):
        os.environ["LISTEN_PID"] = str(os.getpid())
    return Parent(writing)


def _await(child: int, reading: int) -> NoReturn:
    with os.fdopen(reading, "rb") as pipe:
        line = pipe.readline()
    if line == _READY:
        os._exit(0)
    # Without a newline it died amid the sentence.
    if line:
        complain(line.decode(errors="replace").rstrip("\n"))
    else:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited ({status})"
        complain(f"the daemon {how} before it was ready")
    os._exit(1)


def apply_limits(settings: Settings) -> None:
    """Set the limit of open files, scheduling and nice level. Raises ConfigError.

    As with the original, only a limit that cannot be had is an error; the others are logged.
    """
    _limit_files(settings.nofile)
    if settings.scheduler is not None:
        policy = os.SCHED_FIFO if settings.scheduler == "fifo" else os.SCHED_RR
        try:
            greatest = os.sched_get_priority_max(policy)
            os.sched_setscheduler(0, policy, os.sched_param(greatest))
        except OSError as error:
            _log.error(
                "{option} {scheduler}: {why}",
                option=spelled("scheduler"),
                scheduler=settings.scheduler,
                why=error.strerror,
            )
    if settings.nice is not None:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, settings.nice)
        except OSError as error:
            _log.error(
                "{option} {nice}: {why}",
                option=spelled("nice"),
                nice=settings.nice,
                why=error.strerror,
            )


def _limit_files(wanted: int | None) -> None:
    """A session needs four sockets, so without a wish we take what we may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = (most, most) if wanted is None else (wanted, wanted)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    except (OSError, ValueError) as error:
        if wanted is not None:
            raise ConfigError(f"{spelled('nofile')} {wanted}: {error}") from error


def leave_terminal(*, redirect: bool) -> None:
    """Turn standard input, and with ``redirect`` the outputs, to /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2) if redirect else (0,):
        os.dup2(null, descriptor)
    os.close(null)
