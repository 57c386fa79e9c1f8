"""The benchmark on two processors: that it measures what it says, not its figures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from bench import wide
from bench.plan import FULL, Progress
from bench.relays import Processes
from bench.results import table


@pytest.mark.network
@pytest.mark.skipif(shutil.which("gcc") is None, reason="the load is built with gcc")
def test_calls_of_both_codecs_go_through_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide, "LEARNING", 0.3)
    monkeypatch.setattr(wide, "RESUMING", 0.1)
    monkeypatch.setattr(wide, "OVERLOAD", 0.1)
    yielded = []

    @contextmanager
    def yielding() -> Iterator[None]:
        yielded.append(True)
        yield

    plan = replace(FULL, sessions=4, repeats=1, window=0.2, trial=0.05, precision=3.0)
    section = wide.measure(plan, [Processes("processes")], Progress(quiet=True), yielding)
    assert len(yielded) >= 3
    told = table(section, ["processes"])
    for what in ("lost, late or not offered", "2 processors of its own"):
        assert f"{what}, {wide.NARROW}" in told
    for quantity in section.quantities:
        if "CPU" in quantity.name or "processors" in quantity.name:
            assert quantity.values["processes"][0] > 0


def test_what_takes_long_is_measured_three_times_at_most() -> None:
    assert [wide.smaller(replace(FULL, repeats=each)).repeats for each in (1, 3, 9)] == [1, 3, 3]
