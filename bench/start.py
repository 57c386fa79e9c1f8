"""Starting: from the start of the program to its answer to the first command.

Files have been read before, so what is measured is the processor's work: for a program in Python
nearly all of it is the loading of modules.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.plan import Plan, Progress
from bench.relays import Relay
from bench.results import Better, Section

EACH = 3
"""Starts for each of the plan's repeats: they are short."""


def measure(plan: Plan, relays: Sequence[Relay], progress: Progress) -> Section:
    """The figures of all ``relays``. Raises what they do."""
    section = Section("start", "Start: from the program's start to its first answer")
    repeats = EACH * plan.repeats
    for relay in relays:
        _seconds(relay)  # from now on its files are in memory
    for repeat in range(repeats):
        turn = repeat % len(relays)
        for relay in (*relays[turn:], *relays[:turn]):
            progress(f"start: {relay.name} ({repeat + 1} of {repeats})")
            section.quantity("start to first answer", "ms", Better.LESS, 0).add(
                relay.name, _seconds(relay) * 1000
            )
    return section


def _seconds(relay: Relay) -> float:
    began = time.perf_counter()
    with relay:
        relay.client.ask(b"V")
        return time.perf_counter() - began
