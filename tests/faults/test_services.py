"""The ways to Redis and to a web hook cut at each of their uses, in a relay of this process.

Whatever is cut, calls are made and heard as if nothing had been, and in the end Redis has what it
should have, and the hook every record.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from twisted.internet import task
from twisted.internet.task import Cooperator

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.configuration.settings import ControlAddress, Settings
from rtpproxy_tw.reporting import webhooks
from tests.cluster.redis_server import PROGRAM, RedisServer
from tests.conftest import LoggedFailures
from tests.e2e import loopback
from tests.faults.inside import Function, Refusal, Turning, descriptors, turn_for, turn_until
from tests.faults.scenario import Parties
from tests.faults.services import Hook, Service, Store
from tests.test_tap import Running

pytestmark = pytest.mark.network

HOST, CLIENT = loopback.host(92), loopback.host(93)

FUNCTIONS = {
    "connect": Function(socket.socket, "connect_ex", errno.ECONNREFUSED, returned=True),
    "send": Function(socket.socket, "send", errno.EPIPE),
    "recv": Function(socket.socket, "recv", errno.ECONNRESET),
}

MOST = 60

_names = count(1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    if PROGRAM is None:
        pytest.skip("redis-server is not installed")
    with RedisServer(tmp_path) as server:
        yield Store(server, HOST)


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    pytest.importorskip("treq")
    monkeypatch.setattr(webhooks, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(webhooks, "LONGEST_PAUSE", 0.1)
    made = Hook(tmp_path, CLIENT)
    yield made
    made.close()


@contextmanager
def relay(service: Service) -> Iterator[Running]:
    """One in this process, which tells ``service``."""
    made = Running(
        Settings(
            control=(ControlAddress("udp", HOST, 0),),
            addresses=LocalAddresses((LocalAddress(HOST),)),
            min_port=46200,
            max_port=46280,
            fast_path="none",
            **service.settings,
        )
    )
    # A reactor that is turned by hand does not start it, and names are looked up there.
    threads = made.reactor.getThreadPool()
    threads.start()
    with pytest.MonkeyPatch.context() as patch:
        # What writes bodies of requests, and reads answers, else waits for the usual reactor.
        later = Cooperator(scheduler=lambda call: made.reactor.callLater(0, call))
        patch.setattr(task, "_theCooperator", later)
        patch.setattr("txredisapi.LineReceiver.callLater", made.reactor.callLater)
        try:
            yield made
        finally:
            made.stop()
            threads.stop()


def refuse(service: Service, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each use fails once, in a call of its own beside one that goes on, until none is left."""
    with relay(service) as running:
        proxy = Turning(running, HOST, CLIENT)
        beside = Parties(proxy, CLIENT, HOST, "beside")
        try:
            ports = beside.set_up()
            assert beside.exchange(ports) == 2
            play(running, proxy, service)
            assert turn_until(running, service.is_right)
            before = descriptors()
            for when in count(1):
                assert when < MOST, "it never ends"
                with monkeypatch.context() as patch:
                    refusal = Refusal(FUNCTIONS[name], when).patch(patch)
                    play(running, proxy, service)
                    assert beside.exchange(ports) == 2, when
                assert beside.exchange(ports) == 2, when
                assert turn_until(running, service.is_right), (name, when)
                assert turn_until(running, lambda: descriptors() <= before), (name, when)
                assert len(running.relay.registry) == 1
                if not refusal.happened:
                    break
            assert when > 1, "the relay never does it"
            assert proxy.ask("D beside a b") == "0"
        finally:
            beside.close()
            proxy.close()


def play(running: Running, proxy: Turning, service: Service) -> None:
    """A call of which the service hears, if it can."""
    parties = Parties(proxy, CLIENT, HOST, f"call{next(_names)}")
    try:
        ports = parties.set_up()
        assert len(ports) == 2
        service.hang_up()
        assert parties.exchange(ports) == 2
        turn_until(running, lambda: service.knows(parties.name), 0.05)
        assert proxy.ask(f"D {parties.name} a b") == "0"
        turn_until(running, lambda: service.knows(parties.name), 0.05)
    finally:
        parties.close()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_whatever_cuts_the_way_to_redis_costs_nothing(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch, logged_failures: LoggedFailures
) -> None:
    refuse(store, name, monkeypatch)
    expect_words_only(logged_failures)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_whatever_cuts_the_way_to_a_web_hook_costs_nothing(
    hook: Hook, name: str, monkeypatch: pytest.MonkeyPatch, logged_failures: LoggedFailures
) -> None:
    refuse(hook, name, monkeypatch)
    expect_words_only(logged_failures)


def test_a_redis_that_lets_nobody_in_and_says_nothing_costs_no_descriptors(
    tmp_path: Path, logged_failures: LoggedFailures
) -> None:
    if PROGRAM is None:
        pytest.skip("redis-server is not installed")
    with RedisServer(tmp_path, "--requirepass", "secret") as server:
        service = Store(server, HOST)
        service.settings["redis"] = f"unix://:secret@{server.path}"
        server.freeze()
        with relay(service) as running:
            turn_for(running, 0.1)
            before = descriptors()
            turn_for(running, 2.0)
            assert descriptors() <= before + 1
            server.thaw()
            turn_for(running, 1.1)
    expect_words_only(logged_failures)


def expect_words_only(logged: LoggedFailures) -> None:
    """What happened was told in a line, and is no bug."""
    assert not [event for event in logged.take() if event.get("log_failure") is not None]
