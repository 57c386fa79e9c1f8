"""What every test gets: nothing may be logged as a failure unless the test expected it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

# How long an example takes says more of the machine's other work than of the code.
settings.register_profile("relay", deadline=None)
settings.load_profile("relay")

REAL = ("network", "e2e", "browser", "kernel", "hostile", "packages")
"""Markers of tests that meet real sockets, processes and clocks."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give what meets the real world another chance, as the machine may be busy with other things.

    How often that was needed stands in pytest's last line.
    """
    if not config.pluginmanager.hasplugin("rerunfailures"):
        return
    for item in items:
        if any(item.get_closest_marker(name) for name in REAL):
            item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=1))


@implementer(ILogObserver)
class LoggedFailures:
    """The failures logged while a test ran."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        """Observe one event."""
        if event.get("log_failure") is not None or event.get("isError"):
            self.events.append(event)

    def take(self) -> list[LogEvent]:
        """The failures so far, which are thereby expected ones."""
        taken, self.events = self.events, []
        return taken


@pytest.fixture(autouse=True)
def logged_failures() -> Iterator[LoggedFailures]:
    """Fails the test on any logged failure that it did not take."""
    observer = LoggedFailures()
    globalLogPublisher.addObserver(observer)
    try:
        yield observer
    finally:
        globalLogPublisher.removeObserver(observer)
    texts = [
        event["log_failure"].getTraceback() if "log_failure" in event else repr(event)
        for event in observer.events
    ]
    assert not texts, "unexpected failures were logged:\n" + "\n".join(texts)
