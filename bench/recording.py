"""What recording costs: ``python -m bench.recording``.

The same calls are relayed by this relay without recording, recording in the ad-hoc format, and as
pcap, one after the other and all of that repeated. Told are the processor time of a packet, the
ratio to not recording, and the packets that were lost on the way or in the recordings.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.load import Load, Outcome
from bench.machine import mover, settled, share_out, usable_cpus
from bench.media import sessions
from bench.relays import Ours

WAYS: dict[str, tuple[str, ...]] = {
    "not recording": (),
    "ad-hoc": ("-a", "-R"),
    "pcap": ("-a", "-R", "-P"),
}
"""By the name in the report: further options."""

SETTLE = 3.0
"""Seconds after which sidecars are final, however much is still to be written."""

PACE = 100.0
"""Packets a second of one call, both ways together, at 20 ms each."""


class RecordingBench:
    """Measures one way at a time."""

    def __init__(self, calls: int, seconds: float) -> None:
        self._calls = calls
        self._seconds = seconds
        self._cpus = share_out(usable_cpus())

    def run(self, name: str, niceness: int) -> tuple[Outcome, int]:
        """One way: what came of it, and how many packets the recordings lack."""
        with TemporaryDirectory(prefix="bench-recordings-") as folder:
            relay = Ours(name, mover(self._cpus, niceness))
            relay.options = (*relay.options, "-r", folder, *WAYS[name])
            with Load() as load, relay:
                routes = sessions(relay, load, self._calls, "recording")
                rate = PACE * self._calls
                for seconds in (0.5, self._seconds):
                    outcome = load.run(
                        routes,
                        rate=rate,
                        seconds=seconds,
                        warm=0.2,
                        payload=160,
                        watch={"relay": relay.pid},
                    )
                relay.client.ask(b"X")
                time.sleep(SETTLE)
                lost = self._lost(Path(folder))
        return outcome, lost

    def _lost(self, folder: Path) -> int:
        sidecars = [json.loads(path.read_bytes()) for path in folder.glob("*.json")]
        return sum(sidecar["lost"] for sidecar in sidecars)


def report(figures: dict[str, list[tuple[Outcome, int]]]) -> list[str]:
    """A line for each way."""
    lines = [f"{'':14} {'us/packet':>10} {'ratio':>7} {'lost':>8} {'not recorded':>13}"]
    plain = [outcome.cpu_per_packet("relay") for outcome, _ in figures["not recording"]]
    for name, rows in figures.items():
        costs = [outcome.cpu_per_packet("relay") for outcome, _ in rows]
        ratio = median(cost / zero for cost, zero in zip(costs, plain, strict=True))
        lost = sum(outcome.offered - outcome.received for outcome, _ in rows)
        missing = sum(count for _, count in rows)
        lines.append(f"{name:14} {median(costs) * 1e6:10.2f} {ratio:7.2f} {lost:8} {missing:13}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.recording", description=__doc__)
    parser.add_argument("--calls", type=int, default=100, help="at a time (100)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run (4)")
    parser.add_argument("--repeats", type=int, default=3, help="of everything (3)")
    parser.add_argument("--nice", type=int, default=-10, help="priority (-10)")
    asked = parser.parse_args(arguments)
    bench = RecordingBench(asked.calls, asked.seconds)
    figures: dict[str, list[tuple[Outcome, int]]] = {name: [] for name in WAYS}
    with settled(share_out(usable_cpus()), asked.nice):
        for _ in range(asked.repeats):
            for name in WAYS:
                figures[name].append(bench.run(name, asked.nice))
    print("\n".join(report(figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
