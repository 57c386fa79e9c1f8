"""The benchmark runs, and what it makes of its figures is right. No figure itself is tested."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.machine import ROOT, share_out
from bench.results import Better, Quantity, Section, as_json, spread, table
from bench.search import highest
from bench.setup import quantile
from tests.oracle import needs_oracle

SMALL = (
    *("--sessions=5", "--repeats=1", "--rates=1", "--seconds=0.1", "--trial=0.05"),
    *("--precision=3", "--calls=5", "--nice=0"),
)


@pytest.mark.network
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc, which builds the load, is missing")
@needs_oracle
@pytest.mark.parametrize("program", [["-m", "bench"], ["bench/__main__.py"]])
def test_it_measures_relay_and_engine_in_one_run(program: list[str], tmp_path: Path) -> None:
    wanted = ["media"] if program[0] != "-m" else ["setup", "memory", "start"]
    told = tmp_path / "told.json"
    done = subprocess.run(
        [sys.executable, *program, *wanted, *SMALL, f"--json={told}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "relay : engine" in done.stdout
    sections = json.loads(told.read_text())["sections"]
    assert [section["name"] for section in sections] == wanted
    for section in sections:
        for quantity in section["quantities"]:
            assert quantity["values"]["relay"], quantity["name"]
            assert quantity["values"]["engine"], quantity["name"]


def test_what_it_cannot_measure_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "speed"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no such section: speed" in done.stderr


def up_to(limit: float, tried: list[float]) -> Callable[[float], bool]:
    """A contestant that relays ``limit`` packets a second; what it was asked goes to ``tried``."""

    def passes(rate: float) -> bool:
        tried.append(rate)
        return rate <= limit

    return passes


@pytest.mark.parametrize("limit", [150, 9_000, 100_000, 130_000, 480_000])
@pytest.mark.parametrize("guess", [5_000, 120_000, 900_000])
def test_the_highest_rate_is_found_from_any_guess(limit: float, guess: float) -> None:
    tried: list[float] = []
    found = highest(up_to(limit, tried), guess, ceiling=500_000, precision=1.05)
    assert limit / 1.05 <= found <= limit
    assert len(tried) < 60


def test_nothing_above_what_the_load_can_send_is_tried() -> None:
    tried: list[float] = []
    assert highest(up_to(9e9, tried), 100_000, ceiling=200_000, precision=1.05) == 200_000
    assert max(tried) == 200_000


def test_a_contestant_that_relays_nothing_ends_the_search() -> None:
    assert highest(lambda _: False, 100_000, ceiling=200_000, precision=1.05) == 0


def test_one_disturbed_try_does_not_fail_a_rate() -> None:
    tried: list[float] = []
    real = up_to(100_000, [])

    def disturbed(rate: float) -> bool:
        tried.append(rate)
        return len(tried) % 2 == 0 and real(rate)

    found = highest(disturbed, 90_000, ceiling=500_000, precision=1.05)
    assert found >= 100_000 / 1.05


def rates() -> Quantity:
    return Quantity(
        "s", "rate", "1/s", Better.MORE, values={"relay": [10.0, 30.0], "engine": [20.0, 20.0]}
    )


def test_a_ratio_above_one_is_good_where_more_is_better() -> None:
    assert rates().ratios("relay", "engine") == [0.5, 1.5]


def test_a_ratio_above_one_is_good_where_less_is_better() -> None:
    cost = Quantity("s", "cost", "us", Better.LESS, values={"relay": [2.0], "engine": [3.0]})
    assert cost.ratios("relay", "engine") == [1.5]


def test_repeats_without_a_value_have_no_ratio() -> None:
    cost = Quantity("s", "cost", "us", Better.LESS, values={"relay": [0.0, 2.0], "engine": [3.0]})
    assert cost.ratios("relay", "engine") == []
    assert cost.ratios("relay", "nobody") == []


def test_a_table_tells_median_spread_and_ratio() -> None:
    section = Section("s", "Title", [rates()], notes=["as it is"])
    lines = table(section, ["relay", "engine", "absent"]).split("\n")
    assert lines[0] == "Title"
    assert lines[2].split() == ["unit", "relay", "engine", "relay", ":", "engine"]
    assert "20.0 (10.0 to 30.0)" in lines[4]
    assert lines[4].endswith("1.00 (0.50 to 1.50)x")
    assert lines[5] == "* as it is"


def test_the_json_has_values_medians_and_ratios() -> None:
    section = Section("s", "Title", [rates()])
    (told,) = as_json([section], ["relay", "engine"])
    (quantity,) = told["quantities"]
    assert quantity["better"] == "more"
    assert quantity["values"]["relay"] == [10.0, 30.0]
    assert quantity["medians"] == {"relay": 20.0, "engine": 20.0}
    assert quantity["ratios"] == {"engine": 1.0}
    json.dumps(told)


def test_single_values_have_no_spread() -> None:
    assert spread([1.234], 1) == "1.2"
    assert spread([], 1) == "-"


def test_the_contestant_has_a_cpu_of_its_own_where_there_are_two() -> None:
    cpus = share_out({0, 1, 2})
    assert (set(cpus.load), set(cpus.contestant)) == ({0, 1}, {2})
    alone = share_out({3})
    assert set(alone.load) == set(alone.contestant) == {3}


def test_quantiles_are_values_that_occurred() -> None:
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile([3, 1, 2], 0.99) == 3
