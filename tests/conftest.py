"""What every test gets: nothing may be logged as a failure unless the test expected it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

# How long an example takes says more of the machine's other work than of the code.
settings.register_profile("relay", deadline=None)
settings.load_profile("relay")

REAL = ("packages", "browser", "hostile", "e2e", "kernel", "network")
"""Markers of tests that meet real sockets, processes and clocks; the longest ones first."""

SIDE_BY_SIDE = 4
"""Test processes at most. What meets the real world mostly waits, but is also told by clocks."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite in several processes; what is asked for by name runs in this one."""
    option = config.option
    if (
        config.pluginmanager.hasplugin("xdist")
        and not hasattr(config, "workerinput")  # one of those processes
        and config.args_source is pytest.Config.ArgsSource.TESTPATHS
        and option.numprocesses is None
        and not option.usepdb
        and not option.collectonly
    ):
        option.numprocesses = min(SIDE_BY_SIDE, (os.cpu_count() or 1) + 1)
        # A file's tests share what it sets up, so they stay together.
        option.dist = "loadfile"
        option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and give what meets the real world another chance.

    What is slow has to be asked for: ``-m slow``, or by its name. The machine may be busy with
    other things; how often that was so stands in pytest's last line.
    """
    if "slow" not in config.option.markexpr and "::" not in "".join(config.args):
        left_out = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=left_out)
    ranks: dict[object, int] = {}
    reruns = config.pluginmanager.hasplugin("rerunfailures")
    for item in items:
        rank = next((n for n, name in enumerate(REAL) if item.get_closest_marker(name)), len(REAL))
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
        if reruns and rank < len(REAL):
            item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=1))
    items.sort(key=lambda item: ranks[item.path])


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
