"""``python -m bench soak``: the run itself."""

from __future__ import annotations

import argparse
import json
import resource
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

from bench.machine import describe, mover, settled, share_out, usable_cpus
from bench.relays import Ours, RelayError
from bench.soaking import report
from bench.soaking.caller import TURN, Proxy
from bench.soaking.faults import Faults
from bench.soaking.party import Parties
from bench.soaking.pipeline import Pipeline
from bench.soaking.plan import Chance, Fault
from bench.soaking.watch import Sample, Watch

CALLER, CALLEE = "127.0.0.11", "127.0.0.13"

SETUP_TTL, TTL = 3, 6
"""Seconds after which the relay ends what nobody else does."""

LOOKS = 400
"""About so many samples a run, but not more than one a second."""

CALM = TTL + 30.0
"""Seconds within which nothing is left of the calls; a session's timer may be that late once."""

CROWDED = 3.0
"""So many times as many calls at once while it warms up."""

TRIED = 0.6
"""Seconds from one fault to the next while it warms up: each kind in turn, again and again."""


class Soaked(Ours):
    """This relay with what calls may ask for: recordings, prompts, HTTP to be asked by."""

    host = "127.0.0.19"

    def _start(self, stack: ExitStack) -> socket.socket:
        for name in ("recordings", "prompts"):
            (self.folder / name).mkdir()
        # A fifth of a second of PCMU.
        (self.folder / "prompts" / "welcome.0").write_bytes(bytes([0x7F]) * 1600)
        self.options = (
            *self.options,
            *("-d", "WARN", "-p", "/dev/null", "-W", str(SETUP_TTL), "-T", str(TTL)),
            *("-r", str(self.folder / "recordings"), "--record-min-free", "0"),
            *("--prompt-dir", str(self.folder / "prompts")),
            *("--http", f"unix:{self.folder / 'http'}"),
        )
        return super()._start(stack)

    def connection(self) -> socket.socket:
        """Another control connection. Raises OSError."""
        made = socket.socket(socket.AF_UNIX)
        try:
            made.connect(str(self.folder / "control"))
        except OSError:
            made.close()
            raise
        return made


@dataclass
class Run:
    """Everything that came of it."""

    about: dict[str, str]
    asked: dict[str, float]
    samples: list[Sample]
    before: Sample
    """Warmed up, and without a session."""
    after: Sample
    """When nothing was left of the calls."""
    counts: dict[str, int]
    faults: dict[str, int]
    fates: dict[str, int]
    refused: dict[str, int]
    wrong: dict[str, int]
    log: dict[str, int]


def main(arguments: Sequence[str]) -> int:
    """Run as ``arguments`` say; 1 where something was not as it should be."""
    asked = _parser().parse_args(arguments)
    _open_files()
    try:
        run = soak(asked)
    except (RelayError, OSError) as error:
        print(f"bench soak: {error}", file=sys.stderr)
        return 1
    print(report.text(run))
    if asked.json is not None:
        asked.json.write_text(json.dumps(asdict(run), indent=1) + "\n")
    if asked.report is not None:
        asked.report.mkdir(parents=True, exist_ok=True)
        for path in report.write(asked.report, run):
            print(f"written: {path}", file=sys.stderr)
    return 1 if report.complaints(run) else 0


def soak(asked: argparse.Namespace) -> Run:
    """Raises RelayError or OSError."""
    cpus = share_out(usable_cpus())
    about = describe()
    with ExitStack() as stack:
        complaint = stack.enter_context(settled(cpus, asked.nice))
        about["priority"] = complaint or str(asked.nice)
        relay = stack.enter_context(Soaked("relay", mover(cpus, asked.nice)))
        parties = Parties(CALLER, CALLEE)
        stack.callback(parties.close)
        pipeline = Pipeline(stack.enter_context(relay.connection()))
        chance = Chance(asked.seed)
        faults = Faults(relay.pid, relay.folder / "control", relay.folder / "recordings", chance)
        stack.callback(faults.end)
        watch = Watch(relay.pid, relay.folder / "http", relay.folder / "log", time.monotonic)
        # What is done for the first time: some calls whose figures nobody wants, more of them at
        # once than later, and every fault, as a moment of many calls or of many commands that
        # had to wait leaves the heap as large as it was then.
        warm = _proxy(pipeline, parties, chance, faults, asked, hold=CROWDED * asked.hold)
        _drive(warm, asked.warm, _each_in_turn(faults, warm))
        faults.end()
        faults.made.clear()
        before = watch.wait_until_calm(CALM)
        proxy = _proxy(pipeline, parties, chance, faults, asked, first=warm.started)
        watch.began = proxy.began
        parties.sent = parties.heard = parties.foreign = 0
        samples = _measured(proxy, pipeline, faults, watch, relay, chance, asked)
        after = watch.wait_until_calm(CALM)
    return Run(
        about=about,
        asked={"seconds": asked.seconds, "rate": asked.rate, "hold": asked.hold, "ttl": TTL},
        samples=samples,
        before=before,
        after=after,
        counts={
            "sessions": proxy.started,
            "not begun in time": proxy.skipped,
            "ended by the relay before they were deleted": proxy.late,
            "commands": sum(proxy.commands.values()),
            "moved": proxy.moved,
            "recorded": proxy.recorded,
            "prompted": proxy.prompted,
            "packets sent": parties.sent,
            "packets heard": parties.heard,
            "packets of prompts": parties.foreign,
            "tracebacks": watch.tracebacks,
        },
        faults={fault.value: count for fault, count in faults.made.most_common()},
        fates={fate.value: count for fate, count in proxy.fates.most_common()},
        refused=dict(proxy.refused.most_common(20)),
        wrong=dict(proxy.wrong.most_common(20)),
        log=dict(sorted(watch.kinds.items(), key=lambda item: -item[1])[:20]),
    )


def _proxy(
    pipeline: Pipeline,
    parties: Parties,
    chance: Chance,
    faults: Faults,
    asked: argparse.Namespace,
    first: int = 0,
    hold: float | None = None,
) -> Proxy:
    return Proxy(
        pipeline,
        parties,
        chance,
        rate=asked.rate,
        hold=asked.hold if hold is None else hold,
        lives=(SETUP_TTL, TTL),
        shaken=faults.shaken,
        first=first,
    )


def _each_in_turn(faults: Faults, proxy: Proxy) -> Callable[[float], None]:
    kinds = cycle(Fault)
    state = {"next": TRIED}

    def also(elapsed: float) -> None:
        faults.tick()
        if elapsed >= state["next"]:
            state["next"] = elapsed + TRIED
            faults.make(next(kinds), proxy.recent)

    return also


def _measured(
    proxy: Proxy,
    pipeline: Pipeline,
    faults: Faults,
    watch: Watch,
    relay: Soaked,
    chance: Chance,
    asked: argparse.Namespace,
) -> list[Sample]:
    samples: list[Sample] = []
    every = max(1.0, asked.seconds / LOOKS)
    state = {"look": 0.0, "turn": 0.0}

    def also(elapsed: float) -> None:
        # So many faults a second, whatever the pace of the turns.
        if elapsed < asked.seconds and chance.happens(asked.faults * (elapsed - state["turn"])):
            faults.make(chance.fault(), proxy.recent)
        state["turn"] = elapsed
        faults.tick()
        if elapsed >= state["look"]:
            state["look"] = elapsed + every
            samples.append(watch.look(proxy.started, pipeline.slowest, ask=not faults.shaken()))
            pipeline.slowest = 0.0
            _sweep(relay.folder / "recordings")
            if not asked.quiet:
                _show(samples[-1], asked.seconds)

    _drive(proxy, asked.seconds, also, asked.calls)
    faults.end()
    return samples


def _drive(proxy: Proxy, seconds: float, also: Callable[[float], None], calls: int = 0) -> None:
    began = proxy.began
    while True:
        turn = time.monotonic()
        elapsed = turn - began
        over = elapsed >= seconds or 0 < calls <= proxy.started
        if over and not proxy.busy:
            return
        proxy.turn(starting=not over)
        also(elapsed)
        time.sleep(max(0.0, turn + TURN - time.monotonic()))


def _sweep(folder: Path) -> None:
    """Recordings that are finished are nobody's any more."""
    limit = time.time() - 3 * TTL
    if not folder.exists():
        return  # away, for a fault
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # it has got its final name meanwhile
            if path.stat().st_mtime < limit:
                path.unlink()


def _show(sample: Sample, seconds: float) -> None:
    rate = sample.calls / sample.when if sample.when else 0.0
    print(
        f"[{sample.when:6.0f} of {seconds:.0f} s] {sample.calls:9,} calls, {rate:6.0f}/s,"
        f" {sample.resident / 1e6:6.1f} MB, {sample.descriptors:5} descriptors,"
        f" {sample.sessions:5} sessions, {sample.timers:5} timers, {sample.log_lines:6} log lines",
        file=sys.stderr,
        end="\n" if not sys.stderr.isatty() else "\r",
        flush=True,
    )


def _open_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench soak",
        description="Calls at a steady rate with everything that happens to calls, and what is left"
        " of them in the relay.",
    )
    parser.add_argument("--seconds", type=float, default=60, metavar="N", help="how long (60)")
    parser.add_argument("--rate", type=float, default=500, metavar="R", help="calls a second (500)")
    parser.add_argument(
        "--calls", type=int, default=0, metavar="N", help="end once there were so many (0: go on)"
    )
    parser.add_argument("--hold", type=float, default=0.3, metavar="S", help="of each call (0.3)")
    parser.add_argument(
        "--faults", type=float, default=2.0, metavar="N", help="random faults a second (2)"
    )
    parser.add_argument(
        "--warm", type=float, default=20.0, metavar="S", help="before it counts (20)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what is random (1)")
    parser.add_argument("--nice", type=int, default=0, metavar="N", help="priority of it all (0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="write page and plots for the docs there, too"
    )
    parser.add_argument("--quiet", action="store_true", help="do not tell of progress")
    return parser
