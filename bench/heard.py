"""Whether calls hear what else the relay does: ``python -m bench.heard``.

The delay of 50,000 packets a second of 1000 calls, alone and while something else is asked of the
relay without a pause: 500 set-ups a second, the metrics, lists of all calls (10,000 lines in
some seconds), recordings begun and ended. All take turns, and that several times; what is told
is the median with the least and the greatest.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench.busy import RATE, Changing
from bench.calls import Call
from bench.load import Load
from bench.machine import describe, mover, open_files, settled, share_out, usable_cpus
from bench.media import LEARNED, LEARNING, RESUMING, sessions
from bench.plan import FULL, Plan, Progress
from bench.relays import Ours
from bench.results import Better, Section, table

RECORDED = 10
"""Calls whose recording is begun and ended in each turn."""

ALONE = "alone"

NAMES = (ALONE, "500 set-ups a second", "scrapes", "lists of all calls", "recordings")
"""Of what may be heard."""


class Answering(Ours):
    """The relay with its HTTP on a socket beside its control socket, and room to record."""

    def _start(self, stack: ExitStack) -> socket.socket:
        (self.folder / "recordings").mkdir(mode=0o777)
        self.web = str(self.folder / "web")
        self.options += (f"--http=unix:{self.web}", f"-r{self.folder / 'recordings'}")
        return super()._start(stack)


class AnsweringBeside(Answering):
    """The same with two media processes."""

    host = "127.0.0.20"
    options = ("--fast-path=none", "--media-processes=2")


KINDS: dict[str, type[Answering]] = {"relay": Answering, "processes": AnsweringBeside}


def fetch(path: str, what: str) -> bytes:
    """The answer to GET ``what`` of the HTTP server at the socket ``path``, head and all."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(20.0)
        asked.connect(path)
        asked.sendall(f"GET {what} HTTP/1.0\r\n\r\n".encode())
        pieces = []
        while piece := asked.recv(1 << 16):
            pieces.append(piece)
    answer = b"".join(pieces)
    if b" 200 " not in answer.partition(b"\r\n")[0]:
        raise ConnectionError(f"{what}: {answer[:100]!r}")
    return answer


@contextmanager
def again_and_again(what: Callable[[], object]) -> Iterator[None]:
    """Do ``what`` in a thread, from one end to the next beginning, while the block lasts."""
    over = threading.Event()
    failed: list[Exception] = []

    def run() -> None:
        while not over.is_set():
            try:
                what()
            except Exception as error:
                failed.append(error)
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]


def disturbances(relay: Answering, recorded: int = RECORDED) -> dict[str, Callable[[], Any]]:
    """What may be heard, by name, as blocks that last as long as it is done."""

    def record() -> None:
        calls = [Call("heard", number, relay.host) for number in range(recorded)]
        for verb in (b"R", b"N"):
            for call in calls:
                reply = relay.client.ask(verb + call.hang_up()[1:])
                if reply != b"0":
                    raise ConnectionError(f"{verb!r} is answered {reply!r}")

    return {
        ALONE: nullcontext,
        NAMES[1]: lambda: Changing(relay, "h"),
        NAMES[2]: lambda: again_and_again(lambda: fetch(relay.web, "/metrics")),
        NAMES[3]: lambda: again_and_again(lambda: fetch(relay.web, "/api/v1/calls?limit=10000")),
        NAMES[4]: lambda: again_and_again(record),
    }


def measure(
    plan: Plan, relays: Sequence[Answering], progress: Progress, wanted: Collection[str] = NAMES
) -> Section:
    """The figures of all ``relays``, which are started for it. Raises what they and the load do.

    ``wanted`` are the names of what is done besides.
    """
    section = Section("heard", f"Delay of {RATE / 1e3:g} kpps while something else is done")
    with ExitStack() as stack:
        load = stack.enter_context(Load())
        routes = {}
        for relay in relays:
            stack.enter_context(relay)
            routes[relay] = sessions(relay, load, plan.sessions, "heard")
            for _ in range(LEARNED):
                load.run(routes[relay], rate=RATE / 2, seconds=LEARNING)
        for repeat in range(plan.repeats):
            for relay in relays:
                progress(f"heard: {relay.name} ({repeat + 1} of {plan.repeats})")
                for what, block in disturbances(relay, min(RECORDED, plan.sessions)).items():
                    if what not in wanted:
                        continue
                    with block():
                        outcome = load.run(
                            routes[relay], rate=RATE, seconds=plan.window, warm=RESUMING
                        )
                    for part in ("p50", "p99"):
                        quantity = section.quantity(f"{part}, {what}", "us", Better.LESS, 0)
                        quantity.add(relay.name, outcome.delay[part] * 1e6)
                    lost = section.quantity(f"lost or late, {what}", "%", Better.LESS, 2)
                    lost.add(relay.name, outcome.loss * 100)
    return section


def main() -> int:
    """Measure as the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.heard", description=__doc__)
    parser.add_argument("relays", nargs="*", default=["relay"], metavar="relay|processes")
    parser.add_argument("--repeats", type=int, default=FULL.repeats, metavar="N")
    parser.add_argument("--sessions", type=int, default=FULL.sessions, metavar="N")
    parser.add_argument("--seconds", type=float, default=FULL.window, metavar="S")
    parser.add_argument("--cores", type=int, default=1, metavar="N", help="CPUs of the relay (1)")
    parser.add_argument(
        "--while",
        nargs="*",
        choices=NAMES,
        default=NAMES,
        metavar="WHAT",
        dest="wanted",
        help=f"only while this is done, of {', '.join(NAMES)}",
    )
    asked = parser.parse_args()
    plan = replace(FULL, repeats=asked.repeats, sessions=asked.sessions, window=asked.seconds)
    cpus = share_out(usable_cpus(), asked.cores)
    open_files()
    with settled(cpus, -10):
        relays = [KINDS[name](name, mover(cpus, -10)) for name in asked.relays]
        section = measure(plan, relays, Progress(), asked.wanted)
    print("\n".join(f"{name:14}{value}" for name, value in describe().items()))
    print(table(section, asked.relays))
    return 0


if __name__ == "__main__":
    sys.exit(main())
