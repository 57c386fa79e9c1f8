"""What systemd is told: that the relay serves, how it is, and that it lives.

The protocol is sd_notify(3): lines ``NAME=value`` in one datagram to the UNIX socket that the
environment names. It is a stable interface, so no library of systemd's is needed.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.application.service import MultiService
from twisted.logger import Logger

from rtpproxy_tw.timers import every

STATUS_EVERY = 10.0
"""Seconds between two status texts."""

KEEPER = "RTPPROXY_TW_KEEPER"
"""The environment variable that names the descriptor over which a keeper is told the same."""

MOST_DESCRIPTORS = 253
"""The kernel takes no more in one datagram (SCM_MAX_FD)."""


class Supervisor:
    """systemd, or nobody where the environment names no socket. Never raises, never waits."""

    _log = Logger()

    def __init__(
        self,
        address: str | None,
        watchdog: float | None = None,
        channel: socket.socket | None = None,
    ) -> None:
        """``address`` as in ``NOTIFY_SOCKET``; ``watchdog``: seconds of silence that kill.

        ``channel`` is connected to whoever stands in for systemd.
        """
        self.watchdog = watchdog
        self._channel = channel
        self._address = None if address is None else _unescaped(address)
        self._complained = False

    @property
    def present(self) -> bool:
        """Whether there is anybody to tell."""
        return self._address is not None or self._channel is not None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a process that takes over must be given to tell the same one."""
        return () if self._channel is None else (self._channel.fileno(),)

    def tell(self, *fields: str, descriptors: Sequence[int] = ()) -> bool:
        """Send ``NAME=value`` lines, and copies of ``descriptors`` with them.

        Returns whether they were taken. Raises ValueError where there are too many descriptors.
        """
        if len(descriptors) > MOST_DESCRIPTORS:
            raise ValueError(f"{len(descriptors)} descriptors do not go into one message")
        if not self.present:
            return False
        try:
            self._send("\n".join(fields).encode(errors="replace"), descriptors)
        except BlockingIOError:
            return False  # it is behind
        except OSError as error:
            if not self._complained:
                self._log.warn("systemd cannot be told anything: {error}", error=error)
            self._complained = True
            return False
        return True

    def _send(self, message: bytes, descriptors: Sequence[int]) -> None:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        with_it = [rights] if descriptors else []
        if self._channel is not None:
            self._channel.sendmsg([message], with_it, socket.MSG_DONTWAIT)
            return
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        with socket.socket(socket.AF_UNIX, kind) as channel:
            channel.sendmsg([message], with_it, 0, self._address)


def supervisor_of(environment: Mapping[str, str], pid: int) -> Supervisor:
    """Whom the ``environment`` names as supervisor of the process ``pid``."""
    keeper = environment.get(KEEPER, "")
    if keeper.isdecimal():
        with suppress(OSError):
            channel = socket.socket(fileno=int(keeper))
            channel.set_inheritable(False)
            return Supervisor(None, None, channel)
    address = environment.get("NOTIFY_SOCKET") or None
    watched = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
    microseconds = environment.get("WATCHDOG_USEC", "")
    watchdog = int(microseconds) / 1e6 if watched and microseconds.isdecimal() else 0.0
    return Supervisor(address, watchdog or None)


def _unescaped(address: str) -> str:
    """An ``@`` stands for the zero octet of an abstract address."""
    return "\0" + address[1:] if address.startswith("@") else address


class Starter(Protocol):
    """Whoever started the relay and waits for the outcome."""

    def ready(self) -> None:
        """Commands are answered."""

    def failed(self, sentence: str) -> None:
        """They never will be."""


class Notified:
    """A starter, and systemd beside it."""

    def __init__(self, starter: Starter, supervisor: Supervisor) -> None:
        self._starter = starter
        self._supervisor = supervisor

    def ready(self) -> None:
        """Tell both."""
        self._starter.ready()
        self._supervisor.tell("READY=1", f"MAINPID={os.getpid()}")

    def failed(self, sentence: str) -> None:
        """Tell both; systemd shows the sentence in the unit's status."""
        self._starter.failed(sentence)
        self._supervisor.tell(f"STATUS={' '.join(sentence.split())}")


@dataclass(slots=True, frozen=True)
class State:
    """How the relay is."""

    sessions: int
    refusing: bool
    """No new sessions are taken."""
    ending: bool
    """The process is to end with the last session."""
    of: int = 0
    """How many sessions there were when no more were taken."""
    seconds_left: float | None = None
    """Until those that are left are ended; None: any time."""


class Supervision(MultiService):
    """Tells systemd regularly that the relay lives, and how it is.

    The timers run in the reactor, so a relay whose loop hangs falls silent, and is restarted.
    """

    def __init__(self, supervisor: Supervisor, state: Callable[[], State], reactor: Any) -> None:
        super().__init__()
        self._supervisor = supervisor
        self._state = state
        if not supervisor.present:
            return
        every(STATUS_EVERY, reactor, self._tell).setServiceParent(self)
        if supervisor.watchdog is not None:
            # Half of what is allowed, as sd_watchdog_enabled(3) recommends.
            every(supervisor.watchdog / 2, reactor, self._live).setServiceParent(self)

    def stopService(self) -> object:
        """Say so first: what follows may take its time."""
        self._supervisor.tell("STOPPING=1", "STATUS=stopping")
        return super().stopService()

    def _live(self) -> None:
        self._supervisor.tell("WATCHDOG=1")

    def _tell(self) -> None:
        state = self._state()
        fields = [f"STATUS={described(state)}"]
        if state.ending:  # "systemctl stop" may be waiting for the last call
            fields.append(f"EXTEND_TIMEOUT_USEC={int(3 * STATUS_EVERY * 1e6)}")
        self._supervisor.tell(*fields)


def described(state: State) -> str:
    """The line that ``systemctl status`` shows."""
    sessions = f"{state.sessions} session{'' if state.sessions == 1 else 's'}"
    if state.refusing and state.of >= state.sessions:
        sessions = f"{state.sessions} of {state.of} session{'' if state.of == 1 else 's'}"
    by = "" if state.seconds_left is None else f", ended in {state.seconds_left:.0f} s"
    if state.ending:
        return f"{sessions} left{by}; ends with the last, takes no new ones"
    return f"{sessions}{by}; takes no new ones" if state.refusing else sessions
