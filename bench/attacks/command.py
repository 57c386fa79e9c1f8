"""The command: attack, print the matrix, judge it, and write the table of the documentation."""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import namespaces
from bench.attacks.columns import COLUMNS
from bench.attacks.matrix import LEAKED_PRIVATE, Matrix, run
from bench.attacks.rows import ROWS, Row
from bench.calls import CallError
from bench.machine import describe
from bench.relays import RelayError

LEGEND = (
    "leaked / injected / own packets lost (of these: after the first one was heard);"
    " promised of strict: 0 / 0 at a public address,"
    f" at most {LEAKED_PRIVATE} / {LEAKED_PRIVATE} at a private one, nothing cut"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as ``arguments`` say; 0 where every promise was kept, 1 where not or nothing ran."""
    asked = _parser().parse_args(arguments)
    why = namespaces.missing()
    if why is not None:
        print(f"bench.attacks: {why}", file=sys.stderr)
        return 1
    columns = [each for each in COLUMNS if not asked.only or asked.only in each.name]
    for absent in [each for each in columns if each.missing()]:
        print(f"{absent.name} takes no part: {absent.missing()}")
        columns.remove(absent)
    rows = [row for row in ROWS if not asked.rows or row.name in asked.rows]
    if not rows or not columns:
        print("bench.attacks: nothing to do", file=sys.stderr)
        return 1
    try:
        matrix = run(rows, columns, lambda told: print(f"... {told}", file=sys.stderr))
    except (RelayError, CallError, OSError, subprocess.CalledProcessError) as error:
        print(f"bench.attacks: {error}", file=sys.stderr)
        return 1
    names = [column.name for column in columns]
    print("\n".join(f"{name}: {value}" for name, value in describe().items()))
    print(f"\n{LEGEND}\n\n{as_text(table(matrix, rows, names))}\n")
    for name, most in matrix.carried.items():
        if most:
            print(f"{name}: up to {most} streams were carried by the kernel")
    if asked.csv is not None:
        with asked.csv.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(table(matrix, rows, names))
    broken = matrix.broken()
    broken += [
        f"{column.name}: the kernel carried nothing"
        for column in columns
        if column.kernel and not matrix.carried[column.name]
    ]
    print("\n".join(broken) if broken else "Every promise was kept.")
    return 1 if broken else 0


def table(matrix: Matrix, rows: Sequence[Row], names: Sequence[str]) -> list[list[str]]:
    """A heading, then a line for each row and IP version."""
    lines = [["Attack", "IP", *names]]
    for row in rows:
        for version in (4, 6):
            cells = [matrix.cell(row, version, name) for name in names]
            if any(cells):
                told = ["" if cell is None else str(cell) for cell in cells]
                lines.append([row.title, str(version), *told])
    return lines


def as_text(lines: Sequence[Sequence[str]]) -> str:
    """The same in columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.attacks",
        description="Attacks relays in namespaces of its own, and prints what strangers got.",
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="as A1; all by default")
    parser.add_argument("--only", metavar="TEXT", help="relays with that in their name, as kernel")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table there, too")
    return parser
