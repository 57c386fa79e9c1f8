"""Functions of this process that fail on demand, and a relay in it that meets them."""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple

import pytest

import rtpproxy_tw
import twisted
from tests.faults.scenario import PATIENCE, TRIES
from tests.test_tap import Running

_RELAY, _TWISTED = os.path.dirname(rtpproxy_tw.__file__), os.path.dirname(twisted.__file__)

OURS = (
    os.path.join(_RELAY, ""),
    os.path.join(_TWISTED, "internet", ""),
    os.path.join(_TWISTED, "python", "util.py"),
)
"""Whose calls fail; the test's own do not."""


class Function(NamedTuple):
    """Something that leads outside: where it is, and the error it is made to fail with."""

    where: Any
    name: str
    code: int
    callers: tuple[str, ...] = OURS
    """Parts of the paths of the files whose calls fail."""
    returned: bool = False
    """Whether the error is what it returns."""


class Refusal:
    """The ``when``-th use of a function by the relay raises. In force from :meth:`patch` on."""

    def __init__(self, function: Function, when: int) -> None:
        self._function = function
        self._original: Callable[..., Any] = getattr(function.where, function.name)
        self._when = when
        self.uses = 0

    def patch(self, patch: pytest.MonkeyPatch) -> Refusal:
        """Put it in the function's place."""
        # A plain function, so that it becomes a method where it is one's place.
        patch.setattr(
            self._function.where,
            self._function.name,
            lambda *arguments, **options: self._called(*arguments, **options),
            raising=False,
        )
        return self

    def _called(self, *arguments: Any, **options: Any) -> Any:
        caller = sys._getframe(2).f_code.co_filename  # beyond this and the plain function
        if any(part in caller for part in self._function.callers):
            self.uses += 1
            if self.uses == self._when and self._function.returned:
                return self._function.code
            if self.uses == self._when:
                raise OSError(self._function.code, os.strerror(self._function.code))
        return self._original(*arguments, **options)

    @property
    def happened(self) -> bool:
        """Whether there was such a use."""
        return self.uses >= self._when


class Turning:
    """Commands to a relay in this process, which runs while its reply is waited for."""

    def __init__(self, running: Running, relay: str, client: str) -> None:
        self._running = running
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((client, 0))
        self._socket.setblocking(False)
        self._control = (relay, running.ports()[0])
        self._cookies = count(1)

    def ask(self, command: str) -> str:
        """The reply; asked again where none comes, as SIP proxies do."""
        cookie = f"in{next(self._cookies)}"
        for _ in range(TRIES):
            self._socket.sendto(f"{cookie} {command}".encode(), self._control)
            again = time.monotonic() + PATIENCE / 3
            while time.monotonic() < again:
                self._running.turn(1)
                if select.select([self._socket], [], [], 0)[0]:
                    told, _, reply = self._socket.recv(4096).decode().partition(" ")
                    if told == cookie:
                        return reply.rstrip("\n")
        raise AssertionError(f"no reply to {command!r}")

    def settle(self) -> None:
        """Let the relay do what it has to do now."""
        self._running.turn(8)

    def close(self) -> None:
        """No more."""
        self._socket.close()


def descriptors() -> int:
    """How many this process has, besides the sets of relays, which stay as long as a process."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # of the directory itself
            found += os.readlink(f"/proc/self/fd/{name}") != "anon_inode:[eventpoll]"
    return found


def turn_until(running: Running, condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Whether ``condition`` comes true while the relay runs so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        running.turn(1)
    return bool(condition())


def turn_for(running: Running, seconds: float) -> None:
    """Let the relay run."""
    turn_until(running, lambda: False, seconds)
