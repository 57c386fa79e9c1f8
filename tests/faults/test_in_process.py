"""Each function that leads outside made to fail at each of its uses, in a relay of this process.

Needs no other program and no rights, and tells what the kernel alone cannot: whether anything is
left in the reactor or the registry.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.configuration.settings import ControlAddress, Settings
from tests.conftest import LoggedFailures
from tests.e2e import loopback
from tests.faults.scenario import Parties, play, prompt
from tests.test_tap import Running

pytestmark = pytest.mark.network

HOST, CLIENT = loopback.host(88), loopback.host(89)

FUNCTIONS: dict[str, tuple[Any, str, int]] = {
    "bind": (socket.socket, "bind", errno.EADDRINUSE),
    "setsockopt": (socket.socket, "setsockopt", errno.ENOMEM),
    "sendto": (socket.socket, "sendto", errno.EPERM),
    "recvfrom": (socket.socket, "recvfrom", errno.ENOMEM),
    "recvfrom_into": (socket.socket, "recvfrom_into", errno.ENOMEM),
    "connect": (socket.socket, "connect", errno.ENETUNREACH),
    "open": (os, "open", errno.EMFILE),
    "rename": (os, "rename", errno.EIO),
    "ftruncate": (os, "ftruncate", errno.EIO),
    "fstat": (os, "fstat", errno.EIO),
    "stat": (os, "stat", errno.EIO),
}
"""By name: where it is, and the error it is made to fail with."""

MOST = 80

OURS = (f"{os.sep}rtpproxy_tw{os.sep}", f"{os.sep}twisted{os.sep}internet{os.sep}")
"""Whose calls fail; the test's own do not."""


class Refusal:
    """The ``when``-th use of a function by the relay raises."""

    def __init__(self, original: Callable[..., Any], code: int, when: int) -> None:
        self._original = original
        self._code = code
        self._when = when
        self.uses = 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """As the original, but once."""
        caller = sys._getframe(2).f_code.co_filename  # beyond this and the plain function
        if any(part in caller for part in OURS):
            self.uses += 1
            if self.uses == self._when:
                raise OSError(self._code, os.strerror(self._code))
        return self._original(*arguments, **options)

    @property
    def happened(self) -> bool:
        """Whether there was such a use."""
        return self.uses >= self._when


def refused(patch: pytest.MonkeyPatch, name: str, when: int) -> Refusal:
    """Have it fail from now on."""
    where, attribute, code = FUNCTIONS[name]
    refusal = Refusal(getattr(where, attribute), code, when)
    # A plain function, so that it becomes a method where it is one's place.
    patch.setattr(where, attribute, lambda *a, **kw: refusal(*a, **kw), raising=False)
    return refusal


class Turning:
    """Commands to a relay in this process, which runs while its reply is waited for."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((CLIENT, 0))
        self._socket.setblocking(False)
        self._control = (HOST, running.ports()[0])
        self._cookies = count(1)

    def ask(self, command: str) -> str:
        """The reply; asked again where none comes, as SIP proxies do."""
        cookie = f"in{next(self._cookies)}"
        for _ in range(5):
            self._socket.sendto(f"{cookie} {command}".encode(), self._control)
            for _ in range(30):
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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("faults")
    (folder / "recordings").mkdir()
    prompt(folder)
    made = Running(
        Settings(
            control=(ControlAddress("udp", HOST, 0),),
            addresses=LocalAddresses((LocalAddress(HOST),)),
            min_port=46200,
            max_port=46280,
            record_dir=str(folder / "recordings"),
            record_min_free=0,
            prompt_dirs=(str(folder),),
            fast_path="none",
        )
    )
    yield made
    made.stop()


def descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_failed_call_costs_what_it_was_to_do_and_no_more(
    running: Running, name: str, monkeypatch: pytest.MonkeyPatch, logged_failures: LoggedFailures
) -> None:
    proxy = Turning(running)
    beside = Parties(proxy, CLIENT, HOST, f"beside-{name}")
    try:
        ports = beside.set_up()
        assert beside.exchange(ports) == 2
        play(proxy, CLIENT, HOST)
        timers = len(running.reactor.getDelayedCalls())
        before = _settled(running, descriptors())
        for when in count(1):
            assert when < MOST, "it never ends"
            with monkeypatch.context() as patch:
                refusal = refused(patch, name, when)
                play(proxy, CLIENT, HOST)
                heard = beside.exchange(ports)
                _settled(running, before)
            assert heard >= 2 - refusal.happened, when
            assert beside.exchange(ports) == 2, when
            assert _settled(running, before) <= before, (name, when)
            assert len(running.relay.registry) == 1
            assert len(running.reactor.getDelayedCalls()) <= timers + 2
            if not refusal.happened:
                break
        assert when > 1, "the relay never does it"
        assert not logged_failures.events
    finally:
        proxy.ask(f"D beside-{name} a b")
        beside.close()
        proxy.close()


def _settled(running: Running, wanted: int) -> int:
    """How many descriptors there are once the last file has been written."""
    for _ in range(300):
        running.turn(1)
        if descriptors() <= wanted:
            break
    return descriptors()
