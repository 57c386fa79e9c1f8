"""The command: what is asked for, measured, and told with a verdict for each figure."""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from bench import namespaces
from bench.calls import CallError
from bench.kernel import crossing, limit, passing
from bench.kernel.figures import Figure, table
from bench.kernel.plot import svg
from bench.load import LoadError
from bench.machine import Cpus, describe, settled, share_out, usable_cpus
from bench.plan import Progress
from bench.relays import RelayError

Measure = Callable[[Cpus, int, int, Progress], list[Figure]]

ROWS: dict[str, Measure] = {
    "cost": passing.cost,
    "delay": passing.delay,
    "many": passing.many,
    "start": passing.start,
    "core": limit.one_core,
    "growth": limit.growth,
    "tapped": limit.tapped,
    "miss": limit.miss,
    "crossing": crossing.crossing,
}
"""In the order they are measured."""


PLOT = "ns of one core for each packet, source included"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as ``arguments`` say; the exit status: 1 where a figure is not as wanted."""
    asked = _parser().parse_args(arguments)
    why = namespaces.missing()
    if why is not None:
        print(why, file=sys.stderr)
        return 2
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    cpus = share_out(usable_cpus())
    about, progress = describe(), Progress(quiet=asked.quiet)
    figures: list[Figure] = []
    try:
        with settled(cpus, asked.nice):
            for name in asked.rows or ROWS:
                figures += ROWS[name](cpus, asked.nice, asked.repeats, progress)
    except (RelayError, LoadError, CallError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    width = max(map(len, about))
    print("\n".join(f"{name.ljust(width)}  {value}" for name, value in about.items()), end="\n\n")
    print(table(figures))
    if asked.plot is not None and limit.medians(figures):
        asked.plot.write_text(svg(limit.medians(figures), PLOT))
    if asked.json is not None:
        told = [asdict(each) | {"met": each.met, "bound": _sign(each)} for each in figures]
        asked.json.write_text(json.dumps({"machine": about, "figures": told}, indent=1) + "\n")
    return int(any(each.met is False for each in figures))


def _sign(figure: Figure) -> str | None:
    return None if figure.bound is None else figure.bound.value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.kernel",
        description="Measures the kernel path against what is wanted of it. Needs root.",
    )
    parser.add_argument(
        "rows", nargs="*", type=_row, metavar="ROW", help=f"of {', '.join(ROWS)}; all by default"
    )
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="of each (5)")
    parser.add_argument("--nice", type=int, default=-15, metavar="N", help="priority (-15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw growth there, as SVG")
    parser.add_argument("--quiet", action="store_true", help="do not tell of progress")
    return parser


def _row(name: str) -> str:
    if name not in ROWS:
        raise argparse.ArgumentTypeError(f"no such row: {name}")
    return name
