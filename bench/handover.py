"""What a restart, or a crash, costs those who talk: ``python -m bench.handover [--crash]``.

Calls are relayed while the relay hands over to a new process of its own, several times in a row; or
is killed (SIGKILL), and its keeper starts another one. Told are the packets that did not arrive,
how long the old process stood still for it, the greatest delay of a packet, the sessions that are
left, and whether the counters went on. With ``--kernel`` settled streams are carried there.
With ``--silent`` nobody sends anything: told is how long restarts take with so many sessions.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from bench.calls import LASTING, Call, CallError, allocated
from bench.load import Load, LoadError, Outcome
from bench.machine import settled, share_out, usable_cpus
from bench.media import sessions
from bench.relays import Ours, RelayError

PATIENCE = 60.0
"""Seconds for one restart."""

BETWEEN = 1.0
"""Seconds from one restart to the next."""

SETTLED = 3.0
"""Seconds until the first of them."""

PACE = 50.0
"""Packets a second of each call."""

SECOND = 1.0
"""What a restart without packets may take."""

PARTIES = "127.0.0.13"
"""Where parties who say nothing would be."""


class Restarted(Ours):
    """A relay whose process becomes another one."""

    def __init__(
        self,
        name: str,
        *,
        crashing: bool = False,
        kernel: bool = False,
        cpus: frozenset[int] = frozenset(),
    ) -> None:
        # Two processes are at work in a restart; they may have other CPUs than whoever starts us.
        super().__init__(name, partial(os.sched_setaffinity, 0, cpus) if cpus else None)
        self._signal = signal.SIGKILL if crashing else signal.SIGUSR2
        self.options = (
            "--fast-path=ebpf" if kernel else "--fast-path=none",
            *(("--keeper",) if crashing else ()),
        )
        self.seconds: list[float] = []
        """How long each restart took, from the signal on."""

    def _start(self, stack):  # type: ignore[no-untyped-def]
        self.pid_file = self.folder / "pid"
        self.options = (*self.options, "-p", str(self.pid_file))
        stack.callback(self._end_last)
        return super()._start(stack)

    @property
    def pid(self) -> int:
        """Of the process that serves now."""
        return int(self.pid_file.read_text())

    def restart(self) -> None:
        """Hand over to a new process. Raises RelayError."""
        before, began = self.pid, time.monotonic()
        os.kill(before, self._signal)
        while self.pid == before:
            if time.monotonic() - began > PATIENCE:
                raise self._complaint("was not restarted")
            time.sleep(0.005)
        self.seconds.append(time.monotonic() - began)

    def stood_still(self) -> list[float]:
        """For how long neither process relayed, in seconds, of each restart."""
        log = (self.folder / "log").read_text(errors="replace")
        return [int(found) / 1000 for found in re.findall(r"that took (\d+) ms", log)]

    def told(self, command: bytes) -> str:
        """What the process that serves now answers."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(self.folder / "control"))
            connection.sendall(command + b"\n")
            return connection.recv(65536).decode()

    def sessions(self) -> int:
        """How many the process that serves now has."""
        left = re.search(r"active sessions: (\d+)", self.told(b"I"))
        return int(left[1]) if left else 0

    def _end_last(self) -> None:
        with suppress(OSError, ValueError):
            os.kill(self.pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one run."""

    outcome: Outcome
    restarts: tuple[float, ...]
    still: tuple[float, ...]
    counted: int
    """What the last process says it has relayed, of all processes."""
    sessions: int
    """How many there are in the end."""


@dataclass(frozen=True, slots=True)
class Silent:
    """What came of restarts while nobody sent anything."""

    restarts: tuple[float, ...]
    still: tuple[float, ...]
    sessions: int


def run(
    calls: int,
    times: int,
    rate: float,
    packets: int,
    *,
    crashing: bool = False,
    kernel: bool = False,
    cpus: frozenset[int] = frozenset(),
) -> Told:
    """Restart ``times`` while ``packets`` are sent through ``calls`` calls. Raises RelayError.

    The relay has all of ``cpus``, the load those of this process.
    """
    with (
        Load() as load,
        Restarted("handover", crashing=crashing, kernel=kernel, cpus=cpus) as relay,
    ):
        routes = sessions(relay, load, calls, "handover")
        seconds = max(packets / rate, SETTLED + times * (BETWEEN + 3.0))
        failures: list[BaseException] = []

        def restart() -> None:
            try:
                time.sleep(SETTLED)
                for _ in range(times):
                    relay.restart()
                    time.sleep(BETWEEN)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=restart)
        thread.start()
        outcome = load.run(routes, rate=rate, seconds=seconds, warm=0.5)
        thread.join()
        if failures:
            raise failures[0]
        counted = int(relay.told(b"G npkts_relayed").split("=")[-1].split()[-1])
        return Told(
            outcome,
            tuple(relay.seconds),
            tuple(relay.stood_still()),
            counted,
            relay.sessions(),
        )


def run_silent(calls: int, times: int) -> Silent:
    """Restart ``times`` with ``calls`` calls in which nobody talks. Raises RelayError."""
    with Restarted("handover") as relay:
        for number in range(calls):
            call = Call("silent", number, relay.host)
            lines = [call.offer(PARTIES, 20_000) + LASTING, call.answer(PARTIES, 30_000) + LASTING]
            for line, reply in zip(lines, relay.client.ask_all(lines), strict=True):
                allocated(reply, line)
        time.sleep(SETTLED)
        for _ in range(times):
            relay.restart()
            time.sleep(2 * BETWEEN)
        return Silent(tuple(relay.seconds), tuple(relay.stood_still()), relay.sessions())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as ``arguments`` say; 0 where no session was lost, and no packet that need not be."""
    parser = argparse.ArgumentParser(prog="bench.handover", description=__doc__)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--rate", type=float, help="packets a second; otherwise 50 for each call")
    parser.add_argument("--packets", type=int, default=1_000_000, help="to be sent at least")
    parser.add_argument("--times", type=int, default=10, help="restarts in a row")
    parser.add_argument("--crash", action="store_true", help="kill it instead")
    parser.add_argument("--kernel", action="store_true", help="with streams in the kernel")
    parser.add_argument(
        "--silent",
        action="store_true",
        help="nobody sends; every restart is to take a second at most",
    )
    parser.add_argument("--nice", type=int, default=-10)
    asked = parser.parse_args(arguments)
    if asked.silent:
        return silence(asked.calls, asked.times)
    rate = asked.rate or PACE * asked.calls
    try:
        usable = frozenset(usable_cpus())
        with settled(share_out(set(usable)), asked.nice):
            told = run(
                asked.calls,
                asked.times,
                rate,
                asked.packets,
                crashing=asked.crash,
                kernel=asked.kernel,
                cpus=usable,
            )
    except (RelayError, LoadError, CallError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(report(asked.calls, told))
    # What a process has just taken out of a socket when it is killed is gone.
    most = asked.times if asked.crash and not asked.kernel else 0
    lost = told.outcome.offered - told.outcome.received
    return 0 if lost <= most and told.sessions == asked.calls else 1


def silence(calls: int, times: int) -> int:
    """Run without packets; 0 where no session was lost and every restart was quick enough."""
    try:
        told = run_silent(calls, times)
    except (RelayError, CallError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    rows = [
        ("calls, all silent", f"{calls}"),
        ("restarts", f"{len(told.restarts)}"),
        ("from the signal until the new process serves", _spread(told.restarts, "s", 1)),
        ("both stood still for", _spread(told.still, "ms", 1000)),
        ("sessions left", f"{told.sessions}"),
    ]
    print(_table(rows))
    return 0 if told.sessions == calls and max(told.restarts) <= SECOND else 1


def report(calls: int, told: Told) -> str:
    """The figures, a line each."""
    outcome = told.outcome
    rows = [
        ("calls", f"{calls}"),
        ("packets a second", f"{outcome.offered_rate:,.0f}"),
        ("packets sent", f"{outcome.offered:,}"),
        ("lost", f"{outcome.offered - outcome.received:,}"),
        ("of these by the sink, whose buffer was full", f"{outcome.sink_drops:,}"),
        ("twice", f"{outcome.duplicates:,}"),
        ("out of order", f"{outcome.reordered:,}"),
        ("restarts", f"{len(told.restarts)}"),
        ("from the signal to the new process", _spread(told.restarts, "s", 1)),
        ("nobody relayed for", _spread(told.still, "ms", 1000)),
        ("greatest delay of a packet", f"{1000 * max(outcome.delay.values()):.0f} ms"),
        ("relayed, as counted", f"{told.counted:,}"),
        ("sessions left", f"{told.sessions}"),
    ]
    return _table(rows)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)


def _spread(values: Sequence[float], unit: str, scale: float) -> str:
    found = sorted(scale * value for value in values)
    if not found:
        return "-"
    middle = found[len(found) // 2]
    return f"{middle:.3g} {unit} ({found[0]:.3g} to {found[-1]:.3g})"


if __name__ == "__main__":
    sys.exit(main())
