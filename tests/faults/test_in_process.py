"""Each function that leads outside made to fail at each of its uses, in a relay of this process.

Needs no other program and no rights, and tells what the kernel alone cannot: whether anything is
left in the reactor or the registry.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.configuration.settings import ControlAddress, Settings
from tests.conftest import LoggedFailures
from tests.e2e import loopback
from tests.faults.inside import Function, Refusal, Turning, descriptors, turn_until
from tests.faults.scenario import Parties, play, prompt
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
        Function(os, "open", errno.EMFILE),
        Function(os, "rename", errno.EIO),
        Function(os, "ftruncate", errno.EIO),
        Function(os, "fstat", errno.EIO),
        Function(os, "stat", errno.EIO),
    )
}

MOST = 80


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


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_failed_call_costs_what_it_was_to_do_and_no_more(
    running: Running, name: str, monkeypatch: pytest.MonkeyPatch, logged_failures: LoggedFailures
) -> None:
    proxy = Turning(running, HOST, CLIENT)
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
                refusal = Refusal(FUNCTIONS[name], when).patch(patch)
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
    turn_until(running, lambda: descriptors() <= wanted, 2.0)
    return descriptors()
