"""Each function that leads outside made to fail at each of its uses, in a relay of this process.

Needs no other program and no rights, and tells what the kernel alone cannot: whether anything is
left in the reactor or the registry.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.configuration.settings import ControlAddress, Settings
from tests.conftest import LoggedFailures
from tests.e2e import loopback
from tests.faults.inside import Function, Refusal, Turning, descriptors, turn_until
from tests.faults.scenario import TRIES, Parties, play, prompt
from tests.test_tap import Running

pytestmark = pytest.mark.network

HOST, CLIENT = loopback.host(88), loopback.host(89)

FUNCTIONS = {
    each.name: each
    for each in (
        Function(socket.socket, "bind", errno.EADDRINUSE),
        Function(socket.socket, "setsockopt", errno.ENOMEM),
        Function(socket.socket, "sendto", errno.EPERM),
        Function(socket.socket, "recvfrom", errno.ENOMEM),
        Function(socket.socket, "recvfrom_into", errno.ENOMEM),
        Function(socket.socket, "connect", errno.ENETUNREACH),
        Function(socket.socket, "__init__", errno.EMFILE),
        Function(socket.socket, "accept", errno.EMFILE),
        Function(socket.socket, "recv", errno.ECONNRESET),
        Function(socket.socket, "send", errno.EPIPE),
        Function(os, "open", errno.EMFILE),
        Function(os, "write", errno.ENOSPC),
        Function(os, "pread", errno.EIO),
        Function(os, "statvfs", errno.EIO),
        Function(fcntl, "flock", errno.ENOLCK),
        Function(os, "unlink", errno.EROFS),
        Function(os, "rename", errno.EIO),
        Function(os, "ftruncate", errno.EIO),
        Function(os, "fstat", errno.EIO),
        Function(os, "stat", errno.EIO),
    )
}

NO_DELAY = "got error when setting TCP_NODELAY on TCP socket"

MOST = 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of everything."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Running]:
    for name in ("recordings", "spool"):
        (folder / name).mkdir()
    prompt(folder)
    made = Running(
        Settings(
            control=(ControlAddress("udp", HOST, 0), ControlAddress("tcp", HOST, 0)),
            addresses=LocalAddresses((LocalAddress(HOST),)),
            min_port=46200,
            max_port=46280,
            record_dir=str(folder / "recordings"),
            record_min_free=0,
            spool_dir=str(folder / "spool"),
            record_calls=str(folder / "calls"),
            prompt_dirs=(str(folder),),
            fast_path="none",
        )
    )
    yield made
    made.stop()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_failed_call_costs_what_it_was_to_do_and_no_more(
    running: Running,
    folder: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    logged_failures: LoggedFailures,
) -> None:
    proxy = Turning(running, HOST, CLIENT)
    beside = Parties(proxy, CLIENT, HOST, f"beside-{name}")
    try:
        ports = beside.set_up()
        assert beside.exchange(ports) == 2
        play_all(running, proxy, folder)
        timers = len(running.reactor.getDelayedCalls())
        before = _settled(running, descriptors())
        for when in count(1):
            assert when < MOST, "it never ends"
            with monkeypatch.context() as patch:
                refusal = Refusal(FUNCTIONS[name], when).patch(patch)
                play_all(running, proxy, folder)
                if FUNCTIONS[name].name == "statvfs" and when == 1:
                    turn_until(running, lambda: refusal.happened)  # noqa: B023
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
        # Twisted tells of a connection that it cannot have answered at once, and goes on.
        assert not [event for event in logged_failures.take() if event.get("why") != NO_DELAY]
    finally:
        proxy.ask(f"D beside-{name} a b")
        beside.close()
        proxy.close()


def play_all(running: Running, proxy: Turning, folder: Path) -> None:
    """The scenario, and a command over a stream connection, repeated while there is no reply."""
    prompt(folder)
    play(proxy, CLIENT, HOST)
    for _ in range(TRIES):
        with suppress(OSError, AssertionError), socket.socket() as client:
            client.connect((HOST, running.ports()[1]))
            if running.ask(client, b"V\n") == b"20040107\n":
                break
    else:
        raise AssertionError("no reply over TCP")


def _settled(running: Running, wanted: int) -> int:
    """How many descriptors there are once the last file has been written."""
    turn_until(running, lambda: descriptors() <= wanted, 2.0)
    return descriptors()
