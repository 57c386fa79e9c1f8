"""What being able to look into the relay costs: ``python -m bench.insight``.

The same calls are relayed three times, one after the other, and all of that again: by a relay that
knows nothing of them, by one as it is started without options, which knows why a call is silent,
and by one with everything on: metrics scraped every five seconds under both sets of names, call
records, reports to Homer. Told is the processor time of each, in percent of one processor, and what
each takes more than the first. A fourth way, ``traced``, keeps headers of every packet as well
(``--trace``), which is measured beside the promise and is not part of it.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench.load import Load, Outcome
from bench.machine import mover, settled, share_out, usable_cpus
from bench.media import sessions
from bench.relays import Ours
from rtpproxy_tw.tools.ctl_client import Client, read_target

PROMISE = 0.05
"""Of a processor, for 1,000 relayed calls with everything on."""

SCRAPE_EVERY = 5.0
"""Seconds; Prometheus asks every 15 where nobody says otherwise."""

BLIND, ASKABLE, EVERYTHING, TRACED = "blind", "askable", "everything", "traced"

_BLIND = """
import sys
from rtpproxy_tw.reporting.sampling import Sampler
Sampler.tick = lambda self: None
from rtpproxy_tw.tools.launcher import main
sys.exit(main())
"""
"""A relay that never looks at its calls, as nobody can order one."""


class Watched(Ours):
    """A relay that is looked into in one of the ways."""

    def __init__(self, way: str, niceness: int) -> None:
        super().__init__(way, mover(share_out(usable_cpus()), niceness))
        self._collector: socket.socket | None = None

    def _start(self, stack: ExitStack) -> socket.socket:
        # Without --http none, one of them would find the default socket taken.
        http = f"unix:{self.folder / 'http'}" if self.name in (EVERYTHING, TRACED) else "none"
        self.options = ("--fast-path=none", "--http", http)
        if self.name in (EVERYTHING, TRACED):
            collector = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            collector.bind(("127.0.0.1", 0))
            self.options += (
                *("--rtpengine-metrics", "--record-calls", str(self.folder / "calls.json")),
                *("--hep", f"udp:127.0.0.1:{collector.getsockname()[1]}"),
            )
            stack.enter_context(Scraper(self.folder / "http"))
        if self.name == TRACED:
            self.options += ("--trace", "5")
        return super()._start(stack)

    def _run(self, stack: ExitStack, command: Sequence[str], **options: object) -> None:
        words = list(command)
        if self.name == BLIND:
            words[1:3] = ["-c", _BLIND]
        super()._run(stack, words, **options)


class Scraper:
    """Asks for the metrics as Prometheus does."""

    def __init__(self, path: Path) -> None:
        self._client = Client(read_target(str(path)))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def __enter__(self) -> Scraper:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _go_on(self) -> None:
        while not self._over.wait(SCRAPE_EVERY):
            # Nobody is there yet, or any more.
            with suppress(Exception):
                self._client.fetch("/metrics")


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one way."""

    outcome: Outcome

    @property
    def share(self) -> float:
        """Of a processor that the relay had."""
        return self.outcome.cpu["relay"] / self.outcome.seconds


class InsightBench:
    """Measures one way at a time: ``calls`` that are talked on for ``seconds``."""

    def __init__(self, calls: int, rate: float, seconds: float, niceness: int) -> None:
        self._calls = calls
        self._rate = rate
        self._seconds = seconds
        self._niceness = niceness

    def run(self, way: str) -> Round:
        """One way."""
        with Load() as load, Watched(way, self._niceness) as relay:
            routes = sessions(relay, load, self._calls, way)
            load.run(routes, rate=self._rate, seconds=0.5, payload=160)
            outcome = load.run(
                routes,
                rate=self._rate,
                seconds=self._seconds,
                warm=1.0,
                payload=160,
                watch={"relay": relay.pid},
            )
        return Round(outcome)


def report(found: dict[str, list[Round]]) -> list[str]:
    """A line for each way."""
    lines = [f"{'':12} {'processor':>10} {'more':>9} {'ratio':>7} {'lost':>7}"]
    zero = [each.share for each in found[BLIND]]
    for way, rounds in found.items():
        shares = [each.share for each in rounds]
        lost = sum(each.outcome.offered - each.outcome.received for each in rounds)
        ratio = median(share / base for share, base in zip(shares, zero, strict=True))
        lines.append(
            f"{way:12} {100 * median(shares):8.2f} % {100 * more(found, way):+7.2f} %"
            f" {ratio:7.3f} {lost:7}"
        )
    return lines


def more(found: dict[str, list[Round]], way: str) -> float:
    """What a way takes more than knowing nothing, as a share of a processor."""
    pairs = zip(found[way], found[BLIND], strict=True)
    return median(one.share - other.share for one, other in pairs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 where everything costs more than is promised."""
    parser = argparse.ArgumentParser(prog="python -m bench.insight", description=__doc__)
    parser.add_argument("--calls", type=int, default=1000, help="at a time (1000)")
    parser.add_argument("--rate", type=float, default=20_000, help="packets a second (20000)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run (10)")
    parser.add_argument("--repeats", type=int, default=3, help="of everything (3)")
    parser.add_argument("--trace", action="store_true", help="the fourth way as well")
    parser.add_argument("--nice", type=int, default=-10, help="priority (-10)")
    asked = parser.parse_args(arguments)
    ways = (BLIND, ASKABLE, EVERYTHING, *((TRACED,) if asked.trace else ()))
    found: dict[str, list[Round]] = {way: [] for way in ways}
    bench = InsightBench(asked.calls, asked.rate, asked.seconds, asked.nice)
    with settled(share_out(usable_cpus()), asked.nice):
        for _ in range(asked.repeats):
            for way in ways:
                found[way].append(bench.run(way))
                time.sleep(0.2)
    print("\n".join(report(found)))
    cost = more(found, EVERYTHING)
    limit = PROMISE * max(1.0, asked.calls / 1000)
    holds = cost < limit
    print(
        f"everything on takes {100 * cost:.2f} % of a processor for {asked.calls} calls:"
        f" the promise of {100 * limit:.0f} % {'holds' if holds else 'does not hold'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
