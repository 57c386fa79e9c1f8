"""Setting up calls: one client, one connection, one command at a time, as a SIP proxy's worker.

A call is set up by ``U`` and ``L`` and gives two port pairs; ``D`` ends it. The client's own time,
the same for all, is part of every figure but the CPU of the contestant's process.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from bench.calls import Call, Client, allocated
from bench.cpu import ran
from bench.plan import Plan, Progress
from bench.relays import Relay
from bench.results import Better, Section

CALLER, CALLEE = "127.0.0.11", "127.0.0.13"

EACH = 3
"""Repeats for one of the plan's: they are short, and so one disturbance spoils a whole one."""

WARM_UP = 50
"""Calls before anything is measured."""


def measure(plan: Plan, relays: Sequence[Relay], progress: Progress) -> Section:
    """The figures of all ``relays``, which are started for it. Raises what they do."""
    section = Section("setup", f"Call set-up: {plan.calls} calls, one client, one connection")
    with ExitStack() as stack:
        for relay in relays:
            stack.enter_context(relay)
            _calls(relay, "warm", WARM_UP)
        repeats = EACH * plan.repeats
        for repeat in range(repeats):
            turn = repeat % len(relays)
            for relay in (*relays[turn:], *relays[:turn]):
                progress(f"set-up: {relay.name} ({repeat + 1} of {repeats})")
                _add(section, relay.name, _calls(relay, f"c{repeat}", plan.calls))
    return section


class _Timings:
    """Seconds of each command, in order, and of the process meanwhile."""

    def __init__(self) -> None:
        self.commands: dict[str, list[float]] = {"U": [], "L": [], "D": []}
        self.cpu = 0.0


def _calls(relay: Relay, series: str, count: int) -> _Timings:
    timings = _Timings()
    calls = [Call(series, number, relay.host) for number in range(count)]
    before = ran(relay.pid)
    for number, call in enumerate(calls):
        port = 10_000 + 2 * (number % 10_000)
        for verb, line in ("U", call.offer(CALLER, port)), ("L", call.answer(CALLEE, port)):
            reply, took = _timed(relay.client, line)
            allocated(reply, line)
            timings.commands[verb].append(took)
    for call in calls:
        reply, took = _timed(relay.client, call.hang_up())
        if reply != b"0":
            raise RuntimeError(f"{relay.name} answered {reply!r} to D")
        timings.commands["D"].append(took)
    timings.cpu = ran(relay.pid) - before
    return timings


def _timed(client: Client, line: bytes) -> tuple[bytes, float]:
    began = time.perf_counter()
    reply = client.ask(line)
    return reply, time.perf_counter() - began


def _add(section: Section, name: str, timings: _Timings) -> None:
    offers, answers, ends = timings.commands.values()
    quantity = section.quantity
    quantity("call set-ups (U and L)", "1/s", Better.MORE, 0).add(
        name, len(offers) / (sum(offers) + sum(answers))
    )
    quantity("call ends (D)", "1/s", Better.MORE, 0).add(name, len(ends) / sum(ends))
    quantity("CPU of the process per call", "us", Better.LESS, 0).add(
        name, timings.cpu / len(offers) * 1e6
    )
    for verb, times in timings.commands.items():
        for part in (50, 99):
            quantity(f"{verb}, p{part}", "us", Better.LESS, 0).add(
                name, quantile(times, part / 100) * 1e6
            )


def quantile(values: Iterable[float], part: float) -> float:
    """The value that ``part`` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
