"""The command: ``python -m bench cluster NAME``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.cluster import paper
from bench.cluster.measuring import Plan, Told, measure
from bench.cluster.signalling import lacking
from bench.cluster.troubles import SCENARIOS, TRIGGERS
from bench.namespaces import missing

WHAT = {
    "killed": "a relay is killed, its address moves",
    "unplugged": "a host is gone: no answer from it, its address moves",
    "frozen": "a relay stands still for 4 s, its address moves",
    "moved": "the address moves, ``rtpproxy-ctl takeover``",
    "stopped": "a relay is stopped (``TERM``), its address moves",
    "drained": "``drain --exit --limit 1``, then the address moves",
    "returned": "killed, back after 3 s, and so is its address after 6 s",
    "split": "a relay is without Redis for 5 s, and is taken for dead",
    "clocks": "clocks 5 minutes apart; a relay is killed",
    "mixed": "a relay of an earlier version is killed",
    "redis-stopped": "Redis dies and is back after 5 s, empty",
    "redis-frozen": "Redis hangs for 5 s",
    "redis-emptied": "``FLUSHALL``",
    "redis-garbage": "5 s of HTTP and noise in its place",
    "redis-readonly": "Redis is a replica for 5 s (READONLY)",
    "redis-full": "Redis has no memory for 5 s (OOM)",
    "overloaded": "12 s of more media than a relay can read, with ``--overload_prot``",
    "rehashed": "one of three relays goes, a re-INVITE for each call",
    "joined": "a third relay comes, a re-INVITE for each call",
    "by-address": "a relay is killed; its address comes to the other one's host",
    "by-lease": "it is killed, and nothing tells the other one",
    "by-command": "it is killed; ``rtpproxy-ctl takeover``",
    "by-first-command": "it is killed; a re-INVITE comes",
}
"""For the documentation."""

HEAD = (
    *("scenario", "calls kept", "BYEs", "new calls", "lost", "outage", "detection", "take-over"),
    *("slowest command", "slowest call", "note"),
)
ABOUT = """Two or three relays that stand by for each other, Redis, and Kamailio with SIPp, each in
a network namespace of its own. Times are in milliseconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as ``arguments`` say; 0 where all calls were kept."""
    parser = argparse.ArgumentParser(prog="bench cluster", description=ABOUT)
    names = [*SCENARIOS, *TRIGGERS]
    parser.add_argument("scenario", nargs="+", choices=[*names, "all", "triggers", "paper"])
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument(
        "--rate", type=float, default=10.0, help="packets a second each way of each call"
    )
    parser.add_argument("--a-second", type=int, default=40, help="calls set up in a second")
    parser.add_argument("--lease", type=int, default=1000, help="milliseconds")
    parser.add_argument("--fast-path", default="none")
    parser.add_argument("--rst", action="store_true", help="rows for the documentation")
    asked = parser.parse_args(arguments)
    if "paper" in asked.scenario:
        print(paper.report())
        return 0
    why = missing() or lacking()
    if why is not None:
        print(f"bench: {why}", file=sys.stderr)
        return 1
    groups = {"all": list(SCENARIOS), "triggers": list(TRIGGERS)}
    plan = Plan(asked.calls, asked.rate, asked.a_second, asked.lease, asked.fast_path)
    row = _for_docs if asked.rst else _for_people
    well = True
    print(row(HEAD))
    for name in [each for word in asked.scenario for each in groups.get(word, [word])]:
        told = measure((SCENARIOS | TRIGGERS)[name], plan)
        well = well and told.well
        print(row(cells(name, told)), flush=True)
    return 0 if well else 1


def cells(name: str, told: Told) -> tuple[str, ...]:
    """What is told of a run, in the order of HEAD."""
    heard = told.heard
    placed, good = told.others
    note = told.note
    if any(told.offloaded):
        before, after = told.offloaded
        note += f"; streams in the kernel: {before} before, {after} at the other relay"
    if heard.strays:
        note += f"; {heard.strays} packets from elsewhere"
    return (
        name,
        f"{heard.kept} of {told.calls}",
        str(told.ended),
        f"{good} of {placed}",
        f"{heard.lost:,} of {heard.sent:,}",
        _milliseconds(heard.outage),
        _milliseconds(told.detection),
        _milliseconds(told.taking),
        _milliseconds(told.slowest),
        _milliseconds(told.slowest_call),
        note.strip("; "),
    )


def _milliseconds(seconds: float | None) -> str:
    return "\N{EN DASH}" if seconds is None else f"{1000 * seconds:.0f}"


def _for_people(cells: Sequence[str]) -> str:
    widths = (17, 15, 6, 10, 18, 8, 10, 10, 16, 13, 0)
    return " ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _for_docs(cells: Sequence[str]) -> str:
    name, *more = cells
    first = f"``{name}``" if name in WHAT else "NAME"
    more = [WHAT.get(name, "what happens"), *more[:-1]]
    return "\n".join([f"   * - {first}", *(f"     - {cell}".rstrip() for cell in more)])
