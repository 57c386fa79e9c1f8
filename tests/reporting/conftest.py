"""A kernel that tells what a connection in memory holds, and a look at the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from rtpproxy_tw.reporting import wire
from tests.reporting.listener import outstanding


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections in memory instead of sockets."""
    monkeypatch.setattr(wire, "unsent", outstanding)


@pytest.fixture
def log() -> Iterator[list[LogEvent]]:
    """What was logged by the notifier."""
    events: list[LogEvent] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith("rtpproxy_tw"):
            events.append(event)

    observer = cast(ILogObserver, observe)
    globalLogPublisher.addObserver(observer)
    yield events
    globalLogPublisher.removeObserver(observer)
