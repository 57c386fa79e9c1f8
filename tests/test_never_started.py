"""A start that fails half-way: what was never started is stopped all the same, and nothing more."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.configuration.settings import ControlAddress, Settings
from rtpproxy_tw.tap import build, monotonic
from rtpproxy_tw.timers import Timer, every

HOST = "127.0.0.1"


def every_one(service: MultiService) -> Iterator[IService]:
    """The services in it, those within others too."""
    for each in service:
        if isinstance(each, MultiService):
            yield from every_one(each)
        yield each


def test_every_service_of_the_relay_may_be_stopped_that_was_never_started(tmp_path: Path) -> None:
    pytest.importorskip("treq")
    settings = Settings(
        control=(ControlAddress("udp", HOST, 0), ControlAddress("unix", str(tmp_path / "one"))),
        addresses=LocalAddresses((LocalAddress(HOST),)),
        min_port=46300,
        max_port=46310,
        fast_path="none",
        trace=5,
        hep=(HOST, 9),
        webhook=f"http://{HOST}:9/",
        webhook_spool=str(tmp_path),
    )
    reactor: Any = monotonic(EPollReactor())
    thresholds = gc.get_threshold()
    services = [*every_one(build(settings, reactor))]
    assert any(isinstance(each, Timer) for each in services)
    for each in services:
        stopped: list[object] = []
        result = each.stopService()
        if isinstance(result, Deferred):
            result.addBoth(stopped.append)
            assert stopped in ([None], [[]]), (each, stopped)
    assert gc.get_threshold() == thresholds
    assert not reactor.getDelayedCalls()
    assert not reactor.removeAll()
    reactor._poller.close()
    for reader in reactor._internalReaders:
        reader.connectionLost(None)


class Unwilling(Service):
    """Does not start."""

    def startService(self) -> None:
        """Never."""
        raise OSError("no")


def test_timers_after_a_service_that_does_not_start_are_stopped_with_it() -> None:
    clock, calls = Clock(), list[str]()
    relay = MultiService()
    for service in (
        every(1.0, clock, lambda: calls.append("before")),
        Unwilling(),
        every(1.0, clock, lambda: calls.append("after")),
    ):
        service.setServiceParent(relay)
    with pytest.raises(OSError, match="no"):
        relay.startService()
    results: list[Any] = []
    relay.stopService().addCallback(results.extend)
    assert [succeeded for succeeded, _ in results] == [True] * 3
    clock.advance(5)
    assert calls == ["before"]


def test_a_timer_may_be_stopped_twice_and_started_again() -> None:
    clock, calls = Clock(), list[float]()
    timer = every(1.0, clock, lambda: calls.append(clock.seconds()))
    for _ in range(2):
        timer.startService()
        clock.advance(1)
        timer.stopService()
        timer.stopService()
        clock.advance(5)
    assert calls == [0, 1, 6, 7]
