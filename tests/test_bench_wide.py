"""The benchmark on two processors: that it measures what it says, not its figures."""

from __future__ import annotations

import shutil
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
    monkeypatch.setattr(wide, "OVERLOAD", 0.1)
    plan = replace(FULL, sessions=4, repeats=1, window=0.2, trial=0.05, precision=3.0)
    section = wide.measure(plan, [Processes("processes")], Progress(quiet=True))
    told = table(section, ["processes"])
    for what in ("lost or late", "2 processors of its own"):
        assert f"{what}, {wide.NARROW}" in told
    for quantity in section.quantities:
        if "CPU" in quantity.name or "processors" in quantity.name:
            assert quantity.values["processes"][0] > 0


def test_what_takes_long_is_measured_twice_at_most() -> None:
    assert [wide.smaller(replace(FULL, repeats=each)).repeats for each in (1, 2, 9)] == [1, 2, 2]
