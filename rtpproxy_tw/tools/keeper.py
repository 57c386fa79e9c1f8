"""The parent of a relay: holds copies of its descriptors, and starts it again after a crash.

For daemons without systemd, whose words (sd_notify(3), sd_listen_fds(3)) it speaks: over a socket
without a name that only the relay and its successors have. It understands ``FDSTORE``,
``FDSTOREREMOVE``, ``MAINPID``, ``READY`` and ``STOPPING``.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import select
import signal
import socket
import sys
import syslog
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from rtpproxy_tw.continuity.channel import receive_with_descriptors
from rtpproxy_tw.continuity.inheritance import FIRST
from rtpproxy_tw.supervision import KEEPER
from rtpproxy_tw.tools.daemon import complain, leave_terminal
from rtpproxy_tw.tools.upgrade import FOLDER, command_line

LONGEST = 4096
"""Octets of what is told."""

MOST_CRASHES = 5
"""Within SPAN; after one more the relay is not started again."""

SPAN = 60.0
"""Seconds."""

GRACE = 1.0
"""Seconds for a relay to end by itself when the keeper is asked to: both may have been asked."""

LOOK_MS = 250

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): a relay that took over from another becomes our child when that one ends."""

Start = Callable[[Mapping[str, list[int]]], int]
"""Starts a relay that is to have these descriptors; its process id."""


class Keeper:
    """Whoever tells something does so over ``channel``; ``pid`` is the relay's process."""

    def __init__(
        self, channel: socket.socket, pid: int, start: Start, now: Callable[[], float]
    ) -> None:
        self.kept: dict[str, list[int]] = {}
        self._channel = channel
        self._pid = pid
        self._start = start
        self._now = now
        self.replaced = False
        """Whether the relay is, by now, another program than we were started with."""
        self._ready = False
        self._stopping = False
        self._crashes: deque[float] = deque()
        self._end_at: float | None = None

    def run(self) -> int:
        """Until the relay has ended for good; its status, a negative signal number."""
        while True:
            watched = os.pidfd_open(self._pid)
            try:
                self._wait(watched)
            finally:
                os.close(watched)
            self._hear_all()
            status = _reap(self._pid)
            if status is None:
                continue  # another process is the relay by now
            if not self._goes_on(status):
                return status
            self._ready = False
            self._pid = self._start(self.kept)

    def asked_to_end(self, number: int, frame: object) -> None:
        """A signal handler."""
        self._end_at = self._now() + GRACE

    def forward(self, number: int, frame: object) -> None:
        """The same for other signals."""
        with suppress(OSError):
            os.kill(self._pid, number)

    def hear(self, message: bytes, descriptors: Sequence[int]) -> None:
        """One datagram of the relay's; the descriptors are ours."""
        words = dict(line.partition("=")[::2] for line in message.decode("latin-1").splitlines())
        name = words.get("FDNAME", "")
        if words.get("FDSTORE") == "1" and name:
            self.kept.setdefault(name, []).extend(descriptors)
            descriptors = ()
        elif words.get("FDSTOREREMOVE") == "1":
            descriptors = [*descriptors, *self.kept.pop(name, ())]
        self._ready |= words.get("READY") == "1"
        self._stopping |= words.get("STOPPING") == "1"
        pid = words.get("MAINPID", "")
        if pid.isdecimal() and 1 < int(pid) < 1 << 31:
            self.replaced |= int(pid) != self._pid
            self._pid = int(pid)
        for descriptor in descriptors:
            os.close(descriptor)

    def _wait(self, watched: int) -> None:
        """Until that process ends, or another one is the relay."""
        poll, pid = select.poll(), self._pid
        poll.register(watched, select.POLLIN)
        poll.register(self._channel, select.POLLIN)
        while self._pid == pid:
            # A signal does not end the wait, but the look at the time does.
            events = dict(poll.poll(LOOK_MS))
            if self._channel.fileno() in events:
                self._hear_all()
            if watched in events:
                return
            if self._end_at is not None and self._now() >= self._end_at:
                self._end_at = None
                if not self._stopping:
                    self.forward(signal.SIGTERM, None)

    def _hear_all(self) -> None:
        with suppress(OSError):
            while True:
                message, descriptors, _ = receive_with_descriptors(
                    self._channel, LONGEST, socket.MSG_DONTWAIT
                )
                if not message:
                    return
                self.hear(message, descriptors)

    def _goes_on(self, status: int) -> bool:
        """Whether the relay that ended so is to be started again."""
        if status == 0 or self._stopping or not self._ready:
            return False
        now = self._now()
        while self._crashes and now - self._crashes[0] > SPAN:
            self._crashes.popleft()
        self._crashes.append(now)
        how = f"was ended by signal {-status}" if status < 0 else f"exited with {status}"
        if len(self._crashes) > MOST_CRASHES:
            _log(f"the relay {how}; not started again after {MOST_CRASHES} crashes in {SPAN:.0f} s")
            return False
        _log(f"the relay {how}; started again")
        return True


def available() -> bool:
    """Whether this system has what a keeper needs (pidfd_open(2), Linux 5.3)."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


class _Reborn(Exception):
    """In the child: it is the next relay, and has these descriptors."""

    def __init__(self, named: list[tuple[str, int]]) -> None:
        super().__init__()
        self.named = named


def under_keeper(
    forget: Callable[[], None], *, chdir: bool, redirect: bool
) -> list[tuple[str, int]]:
    """Go on in a child, whose parent from now on keeps it. Returns in such children only.

    The result is what was kept for the one before, with names. A child after a crash is a copy of
    the keeper, which has all modules already, so that it need not find and read them first.
    ``forget`` lets go of what is the first child's alone; to be called before there are threads.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if not pid:
        ours.close()
        os.environ[KEEPER] = str(theirs.detach())
        _fix_listen_pid()
        return []

    def start(kept: Mapping[str, list[int]]) -> int:
        if keeper.replaced:
            return _exec(kept, theirs)
        child = os.fork()
        if not child:
            raise _Reborn([(name, fd) for name, each in kept.items() for fd in each])
        return child

    keeper = Keeper(ours, pid, start, time.monotonic)
    ending = (signal.SIGTERM, signal.SIGINT)
    others = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    status = 1
    try:
        forget()
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        for number in ending:
            signal.signal(number, keeper.asked_to_end)
        for number in others:
            signal.signal(number, keeper.forward)
        if chdir:
            os.chdir("/")
        leave_terminal(redirect=redirect)
        status = keeper.run()
    except _Reborn as reborn:
        for number in (*ending, *others):
            signal.signal(number, signal.SIG_DFL)
        ours.close()
        os.environ[KEEPER] = str(theirs.detach())
        os.chdir(FOLDER if os.path.isdir(FOLDER) else "/")
        return reborn.named
    except Exception as error:
        _log(f"cannot go on: {error!r}")
    if status < 0:
        # As the relay did, for whoever waits for us; no second image of the memory is wanted.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # SIGKILL has no other way of being handled
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _fix_listen_pid() -> None:
    """What systemd passed was meant for our parent."""
    if os.environ.get("LISTEN_PID") == str(os.getppid()):
        os.environ["LISTEN_PID"] = str(os.getpid())


def _exec(kept: Mapping[str, list[int]], channel: socket.socket) -> int:
    """Start the relay's command line with the descriptors, as systemd would; its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.chdir(FOLDER if os.path.isdir(FOLDER) else "/")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        count = sum(len(each) for each in kept.values())
        told = fcntl.fcntl(channel.fileno(), fcntl.F_DUPFD, FIRST + count)
        names = arrange([(name, fd) for name, each in kept.items() for fd in each])
        environment = {
            **os.environ,
            KEEPER: str(told),
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": str(len(names)),
            "LISTEN_FDNAMES": ":".join(names),
        }
        os.execve(sys.executable, command_line(), environment)
    except Exception as error:
        _log(f"the relay cannot be started again: {error!r}")
    finally:
        os._exit(127)


def arrange(named: Sequence[tuple[str, int]]) -> list[str]:
    """Bring the descriptors to the numbers from FIRST on, inheritable; the names in that order.

    Whatever else is open under these numbers is closed. Takes no more descriptors than there are.
    """
    wanted = range(FIRST, FIRST + len(named))
    at = {fd: name for name, fd in named if fd in wanted}
    for fd in at:
        os.set_inheritable(fd, True)
    holes = iter([number for number in wanted if number not in at])
    for name, fd in named:
        if fd not in wanted:
            number = next(holes)
            os.dup2(fd, number)
            os.close(fd)
            at[number] = name
    return [at[number] for number in wanted]


def _reap(pid: int) -> int | None:
    """The status of ``pid``, a negative signal number; None while it runs. Reaps all others."""
    status: int | None = None
    with suppress(ChildProcessError):
        while True:
            ended, raw = os.waitpid(-1, os.WNOHANG)
            if ended == pid:
                status = os.waitstatus_to_exitcode(raw)
            if not ended:
                return status
    # No children at all: it was one whose parent has reaped it.
    return 0 if status is None else status


def _log(sentence: str) -> None:
    complain(f"keeper: {sentence}")
    syslog.openlog("rtpproxy-tw", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_ERR, f"keeper: {sentence}")
