"""All rows of the hostile plan by one command: ``python -m tests.hostile [--csv FILE] [--quick]``.

Needs root for most of them. Rows A are done twice, with media in the process and with media in the
kernel. Prints a line a row; ``--csv docs/hostile.csv`` writes the table of docs/hostile.rst.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.hostile.relay import FAST_PATH
from tests.hostile.rows import HERE, MEDIA, ROWS, TITLES, Row, row_of

ROOT = HERE.parent.parent


class Outcomes:
    """A plugin of pytest that notes what came of each row, and how long it took."""

    def __init__(self) -> None:
        self.failed: dict[str, list[str]] = {}
        self.skipped: dict[str, str] = {}
        self.passed: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self._names = {each: row.name for row in ROWS for each in row.elsewhere if "::" in each}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of one part of a test."""
        path = report.nodeid.partition("[")[0]
        name = self._names.get(path.removeprefix("tests/")) or row_of(path.rpartition("::")[2])
        if name is None:
            return
        self.seconds[name] = self.seconds.get(name, 0.0) + report.duration
        if report.failed:
            self.failed.setdefault(name, []).append(report.nodeid)
        elif report.skipped:
            why = report.longrepr
            self.skipped[name] = str(why[2] if isinstance(why, tuple) else why)
        elif report.when == "call":
            self.passed[name] = self.passed.get(name, 0) + 1

    def of(self, row: Row) -> str:
        """In a word or two."""
        if row.name in self.failed:
            return "FAILED"
        if row.name in self.passed:
            return "as expected"
        return self.skipped.get(row.name, "not run").removeprefix("Skipped: ")


def before(path: Path, row: Row) -> list[str]:
    """What an earlier run noted of a row that took no part in this one."""
    if path.exists():
        with path.open(newline="") as file:
            for line in csv.reader(file):
                if line[:2] == [row.name, row.what] and len(line) == len(TITLES):
                    return line
    return [row.name, row.what, "not run", "not run" if row in MEDIA else "", "0.0"]


def run(words: Sequence[str], path: str) -> Outcomes:
    """The tests that ``words`` choose, with media on that path."""
    os.environ[FAST_PATH] = path
    outcomes = Outcomes()
    pytest.main([*words], plugins=[outcomes])
    return outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as ``arguments`` say; 0 where every row came out as expected."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="as A1; all by default")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="bring the table there up to date")
    parser.add_argument("--quick", action="store_true", help="without the slow ones")
    asked = parser.parse_args(arguments)
    chosen = [row for row in ROWS if not asked.rows or row.name in asked.rows]
    elsewhere = [f"tests/{each}" for row in chosen for each in row.elsewhere if "::" in each]
    words = ["-q", "--rootdir", str(ROOT), "-p", "no:cacheprovider", "--no-header", "--tb=short"]
    if asked.rows:
        names = [f"test_{row.name[0].lower()}{int(row.name[1:]):02}" for row in chosen]
        words += ["-k", " or ".join([*names, *(each.rpartition("::")[2] for each in elsewhere)])]
    if not asked.quick:
        words += ["-m", "slow or not slow"]
    os.chdir(ROOT)
    outcomes = run([*words, "tests/hostile", *elsewhere], "none")
    inside = {row.name for row in chosen} & {row.name for row in MEDIA}
    kernel = run([*words, "tests/hostile/test_media.py"], "ebpf") if inside else Outcomes()
    lines = [
        [
            row.name,
            row.what,
            outcomes.of(row),
            kernel.of(row) if row.name in inside else "",
            f"{outcomes.seconds.get(row.name, 0.0):.1f}",
        ]
        for row in chosen
    ]
    for name, what, outcome, in_kernel, seconds in lines:
        print(f"{name:4} {what:66} {seconds:>6} s  {outcome:12}  {in_kernel}")
    good = sum({*line[2:4]} <= {"as expected", ""} for line in lines)
    print(f"{good} of {len(lines)} rows as expected")
    if asked.csv is not None:
        ran = {line[0]: line for line in lines if line[2] != "not run"}
        lines = [ran.get(row.name) or before(asked.csv, row) for row in ROWS]
        with asked.csv.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(TITLES)
            writer.writerows(lines)
    return 0 if good == len(lines) else 1


if __name__ == "__main__":
    sys.exit(main())
