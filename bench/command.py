"""The command: what is asked for, measured in turn, told as tables and, where wanted, as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench import acceptance, busy, heard, media, memory, report, setup, start, wide
from bench.calls import CallError
from bench.cluster.command import main as cluster
from bench.load import LoadError
from bench.machine import Cpus, describe, mover, open_files, settled, share_out, usable_cpus
from bench.plan import FULL, QUICK, Plan, Progress
from bench.relays import CONTESTANTS, USUAL, Other, Relay, RelayError
from bench.results import Section, as_json, table
from bench.rtpengine import Rtpengine
from bench.soaking.command import main as soak

CONTESTANTS["rtpengine"] = Rtpengine

Measure = Callable[[Plan, Sequence[Relay], Progress], Section]

SECTIONS: dict[str, Measure] = {
    "media": media.measure,
    "setup": setup.measure,
    "busy": busy.measure,
    "memory": memory.measure,
    "start": start.measure,
    "heard": lambda plan, relays, progress: heard.measure(
        plan, [each for each in relays if isinstance(each, heard.Answering)], progress
    ),
}
"""In the order they are measured; then those on more processors, :func:`_wide`."""

WIDE = "wide"

BESIDE: dict[str, Callable[[Callable[[], None]], list[Relay]]] = {
    "heard": lambda prepare: [heard.Answering("relay", prepare)],
    WIDE: lambda prepare: [
        kind(name, prepare)
        for name in ("processes", "rtpengine")
        if (kind := CONTESTANTS[name]).missing() is None
    ],
}
"""Those with contestants of their own."""

NICENESS = -10
"""So high a priority as a rule outdoes what else runs, and starves nothing."""

GIVING_WAY, LEAST = 10, 19
"""By how much the niceness of a load is higher that gives way, and how high there is at all."""

AGAINST = "other"
"""The name of the relay of another source tree."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as ``arguments`` say; the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["soak"]:
        return soak(words[1:])
    if words[:1] == ["cluster"]:
        return cluster(words[1:])
    asked = _parser().parse_args(words)
    plan = _plan(asked)
    progress = Progress(quiet=asked.quiet)
    usable = usable_cpus()
    cpus = share_out(usable, asked.cores)
    relays, absent = _contestants(asked, cpus)
    if not relays:
        print("\n".join(absent), file=sys.stderr)
        return 1
    open_files()
    about = describe()
    try:
        with settled(cpus, asked.nice) as complaint:
            sections = []
            for name in SECTIONS:
                if name not in asked.sections and asked.sections:
                    continue
                taking = BESIDE[name](mover(cpus, asked.nice)) if name in BESIDE else relays
                sections.append(SECTIONS[name](plan, taking, progress))
            if WIDE in asked.sections or not asked.sections:
                sections.append(_wide(plan, usable, asked, progress))
    except (RelayError, LoadError, CallError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    first, *others = [relay.name for relay in relays]
    names = list(dict.fromkeys([first, "processes", *others, "rtpengine"]))
    about["took"] = f"{progress.elapsed:.0f} s"
    about["priority"] = complaint or str(asked.nice)
    print(_report(about, absent, sections, names))
    if asked.json is not None:
        told = {"machine": about, "contestants": names, "sections": as_json(sections, names)}
        asked.json.write_text(json.dumps(told, indent=1) + "\n")
    if asked.report is not None:
        asked.report.mkdir(parents=True, exist_ok=True)
        for path in report.write(asked.report, about, sections, names):
            print(f"written: {path}", file=sys.stderr)
    return 0


def _wide(plan: Plan, usable: set[int], asked: argparse.Namespace, progress: Progress) -> Section:
    cpus = share_out(usable, max(asked.cores, wide.CORES))
    taking = BESIDE[WIDE](mover(cpus, asked.nice))
    lower = min(LEAST, asked.nice + GIVING_WAY)
    with settled(cpus, asked.nice):
        return wide.measure(wide.smaller(plan), taking, progress, lambda: settled(cpus, lower))


def _report(
    about: dict[str, str], absent: Sequence[str], sections: Sequence[Section], names: Sequence[str]
) -> str:
    width = max(map(len, about))
    lines = [f"{name.ljust(width)}  {value}" for name, value in about.items()]
    lines += absent
    lines += ("", "Medians (least to greatest of all repeats); ratios above 1 favour the first.")
    lines += ("", acceptance.table(sections))
    return "\n".join(lines) + "".join(f"\n\n{table(each, names)}" for each in sections)


def _contestants(asked: argparse.Namespace, cpus: Cpus) -> tuple[list[Relay], list[str]]:
    prepare = mover(cpus, asked.nice)
    relays: list[Relay] = []
    absent = []
    for name in asked.relays:
        kind = CONTESTANTS[name]
        why = kind.missing()
        if why is None:
            relays.append(kind(name, prepare))
        else:
            absent.append(f"{name} takes no part: {why}")
    if asked.against is not None:
        relays.insert(1, Other(AGAINST, prepare, asked.against.resolve()))
    return relays, absent


def _plan(asked: argparse.Namespace) -> Plan:
    plan = QUICK if asked.quick else FULL
    sizes = {
        "repeats": asked.repeats,
        "rates": asked.rates,
        "window": asked.seconds,
        "trial": asked.trial,
        "precision": asked.precision,
        "sessions": asked.sessions,
        "payload": asked.payload,
        "calls": asked.calls,
        "grown": asked.sessions,
    }
    return replace(plan, **{name: size for name, size in sizes.items() if size is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures the relay and its peers in one run and prints how they compare.",
    )
    parser.add_argument(
        "sections",
        nargs="*",
        type=_section,
        metavar="SECTION",
        help=f"of {', '.join((*SECTIONS, WIDE))}; all by default. The word soak, with options of"
        " its own, is another command: python -m bench soak --help",
    )
    parser.add_argument("--quick", action="store_true", help="a look: 40 seconds, much noise")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="write page and plots for the docs there, too"
    )
    parser.add_argument(
        "--relays",
        type=_names,
        default=list(USUAL),
        metavar="NAME,NAME",
        help=f"the contestants, of {', '.join(CONTESTANTS)}; by default {', '.join(USUAL)};"
        " the first is compared with the others",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="compare with the relay in that source tree, too",
    )
    parser.add_argument("--repeats", type=int, metavar="N", help="of everything but memory")
    parser.add_argument(
        "--rates", type=_kpps, metavar="KPPS,KPPS", help="fixed rates, in 1000 packets a second"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="of each fixed rate")
    parser.add_argument(
        "--trial", type=float, metavar="S", help="of each step of the search; 0: do not search"
    )
    parser.add_argument("--precision", type=float, metavar="FACTOR", help="of the search, as 1.05")
    parser.add_argument("--sessions", type=int, metavar="N", help="relayed, and in memory")
    parser.add_argument("--payload", type=int, metavar="OCTETS", help="of each packet; G.729: 20")
    parser.add_argument(
        "--cores", type=int, default=1, metavar="N", help="CPUs of the contestant (1)"
    )
    parser.add_argument("--calls", type=int, metavar="N", help="set up in each repeat")
    parser.add_argument(
        "--nice", type=int, default=NICENESS, metavar="N", help=f"priority of it all ({NICENESS})"
    )
    parser.add_argument("--quiet", action="store_true", help="do not tell of progress")
    return parser


def _section(name: str) -> str:
    if name not in (*SECTIONS, WIDE):
        raise argparse.ArgumentTypeError(f"no such section: {name}")
    return name


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in CONTESTANTS:
            raise argparse.ArgumentTypeError(f"no such contestant: {name}")
    return names


def _kpps(text: str) -> tuple[float, ...]:
    return tuple(float(word) * 1000 for word in text.split(","))
