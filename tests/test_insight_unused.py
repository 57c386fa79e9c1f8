"""What nobody asks for is not there: no tap, no timer, no observer, no thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from twisted.application.internet import TimerService

from rtpproxy_tw.configuration.settings import ControlAddress, Settings
from rtpproxy_tw.recording.trace import HeaderRings
from rtpproxy_tw.reporting.homer import Homer
from rtpproxy_tw.reporting.metrics import LagMeter
from rtpproxy_tw.reporting.records import CallRecords
from rtpproxy_tw.session import Session
from tests.test_tap import HERE, Running

pytestmark = pytest.mark.network


@pytest.fixture
def plain(tmp_path: Path) -> Settings:
    """A relay without any option."""
    return Settings(
        control=(ControlAddress("unix", str(tmp_path / "control")),),
        addresses=HERE,
        min_port=46100,
        max_port=46120,
        fast_path="none",
    )


def call(running: Running, path: str) -> Session:
    """Set one up."""
    for line in (b"U c 127.0.0.1 5000 f", b"L c 127.0.0.1 6000 f t"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            assert running.ask(client, line)
    (session,) = running.relay.registry
    return session


@pytest.fixture
def started() -> Iterator[list[Running]]:
    running: list[Running] = []
    yield running
    for each in running:
        each.stop()


def observers(running: Running) -> set[type]:
    """Who is told of sessions."""
    found: list[object] = list(running.relay.registry._observers)
    for each in found:
        # Some are told by others, when a session's ports are free again.
        found += getattr(each, "_observers", ())
    return {type(each) for each in found}


def lag_timers(running: Running) -> int:
    """How many timers measure the lateness of the reactor."""
    return sum(
        isinstance(service, TimerService)
        and isinstance(getattr(service.call[0], "__self__", None), LagMeter)
        for service in running.relay
    )


def test_without_options_nothing_hears_packets_or_sessions(
    plain: Settings, started: list[Running]
) -> None:
    before = set(threading.enumerate())
    running = Running(plain)
    started.append(running)
    session = call(running, plain.control[0].host)
    for leg in session.legs:
        for stream in leg.streams:
            assert stream.plain
            assert (stream.taps, stream.feeds) == ((), ())
            assert stream.stranger is None
            assert stream.processor is None
    assert not observers(running) & {HeaderRings, Homer, CallRecords}
    assert lag_timers(running) == 0
    assert set(threading.enumerate()) == before


def test_what_is_asked_for_is_there(
    plain: Settings, started: list[Running], tmp_path: Path
) -> None:
    """So the test above looks in the right places."""
    running = Running(
        replace(
            plain,
            trace=5,
            hep=("127.0.0.1", 9),
            record_calls=str(tmp_path / "records"),
            http=(f"unix:{tmp_path / 'http'}",),
        )
    )
    started.append(running)
    session = call(running, plain.control[0].host)
    assert session.caller.rtp.taps
    assert session.caller.rtp.stranger is not None
    assert len(session.caller.rtcp.taps) == 2
    assert observers(running) >= {HeaderRings, Homer, CallRecords}
    assert lag_timers(running) == 1
