"""The ends of the world, during live calls, and what each costs: ``python -m bench.ends``.

So many calls go on while the relay's process is killed or stopped, its clock set, its network and
disk taken away, its memory limited and its name servers gone; all of it in a network namespace of
its own. Told are the packets that were lost, how many calls the relay still had afterwards, and
whether it takes new ones. Needs root.
"""

from __future__ import annotations

import argparse
import csv
import resource
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import namespaces
from bench.calls import Call, CallError, set_up
from bench.ends.faults import FAULTS, Fault, disk, environment, missing
from bench.ends.relay import Doomed
from bench.load import Load, LoadError, Outcome
from bench.machine import describe
from bench.media import sessions
from bench.namespaces import Namespace
from bench.relays import RelayError

BEFORE = 2.0
"""Seconds of undisturbed calls before, and at least as many afterwards."""


@dataclass(frozen=True)
class Told:
    """What came of one fault."""

    fault: Fault
    calls: int
    outcome: Outcome
    took: float
    """Seconds from its beginning until it was over and the relay was there."""
    kept: int
    """Calls the relay has afterwards."""
    takes_calls: bool
    unrecorded: int

    @property
    def lost(self) -> int:
        """Packets that never arrived."""
        return self.outcome.offered - self.outcome.received

    def cells(self) -> list[str]:
        """A line of the table."""
        return [
            self.fault.what,
            f"{self.outcome.offered:,}",
            f"{self.lost:,}",
            f"{1000 * max(self.outcome.delay.values()):,.0f}",
            f"{self.kept} of {self.calls}",
            "yes" if self.takes_calls else "no",
            f"{self.took:.1f}",
        ]


HEADING = [
    *("What happens", "Packets sent", "Lost", "Greatest delay, ms", "Calls kept"),
    *("New calls", "Took, s"),
]


def run(fault: Fault, calls: int, pace: float, seconds: float) -> Told:
    """Let it happen amid the calls. Raises RelayError, LoadError, CallError, OSError."""
    where = Namespace("end")
    try:
        with TemporaryDirectory(prefix="ends-") as name:
            folder = Path(name)
            with disk(fault, folder / "disk"), where:
                load = Load()
                options = fault.options
                if fault.recording:
                    options = (*options, "-r", str(folder / "disk"), "-a", "--record-min-free", "0")
                env = environment(fault, folder / "clock")
                with load, Doomed(folder, options, where.enter, env) as relay:
                    return _amid(fault, relay, load, where, calls, pace, seconds)
    finally:
        where.delete()


def _amid(
    fault: Fault,
    relay: Doomed,
    load: Load,
    where: Namespace,
    calls: int,
    pace: float,
    seconds: float,
) -> Told:
    routes = sessions(relay, load, calls, fault.name)
    took: list[float] = []
    failures: list[BaseException] = []

    def strike() -> None:
        try:
            time.sleep(BEFORE + 0.5)
            began = time.monotonic()
            fault.strike(relay, where)
            took.append(time.monotonic() - began)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=strike)
    thread.start()
    outcome = load.run(routes, rate=2 * pace * calls, seconds=seconds, warm=0.5)
    thread.join()
    if failures:
        raise failures[0]
    takes = False
    # Another process has other control connections.
    with suppress(OSError, CallError, RelayError), closing(relay.another_client()) as client:
        set_up(client, Call("after", 1, relay.host), load.caller, load.callee)
        takes = True
    kept = relay.sessions() - takes
    return Told(fault, calls, outcome, took[0], kept, takes, relay.late())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as ``arguments`` say; 0 where everything could be run."""
    parser = argparse.ArgumentParser(prog="python -m bench.ends", description=__doc__)
    parser.add_argument(
        "faults", nargs="*", metavar="FAULT", help=", ".join(f.name for f in FAULTS)
    )
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--pace", type=float, default=10.0, help="packets a second, each way")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table there, too")
    asked = parser.parse_args(arguments)
    if (why := namespaces.missing()) is not None:
        print(f"bench.ends: {why}", file=sys.stderr)
        return 1
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print("\n".join(f"{name}: {value}" for name, value in describe().items()))
    lines, failed = [HEADING], False
    for fault in FAULTS:
        if asked.faults and fault.name not in asked.faults:
            continue
        if (why := missing(fault)) is not None:
            print(f"{fault.name}: {why}")
            continue
        try:
            told = run(fault, asked.calls, asked.pace, asked.seconds)
        except (RelayError, LoadError, CallError, OSError) as error:
            print(f"{fault.name}: {error}", file=sys.stderr)
            failed = True
            continue
        lines.append(told.cells())
        print("  ".join(told.cells()), flush=True)
        if fault.recording:
            print(f"... {told.unrecorded:,} packets were not recorded")
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    if asked.csv is not None:
        with asked.csv.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
