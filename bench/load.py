"""The load on the media path: builds ``load.c``, runs it, and reads what it tells."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.calls import Route
from bench.machine import softirq_threads

SOURCE = Path(__file__).with_name("load.c")

COMPILER = ("gcc", "-O2", "-Wall", "-Wextra", "-pthread")

CALLER, CALLEE = "127.0.0.11", "127.0.0.13"
"""Where the load's two sockets are."""

LATE = 0.1
"""Seconds; a packet that took longer counts as lost. The receive buffers of many sockets hold
seconds of traffic, so without a deadline an overloaded relay would look well for a while."""


class LoadError(Exception):
    """The load could not be built or run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run. Counts are of packets made in the window, where not said otherwise.

    ``in_window`` counts what arrived during the window, ``cpu`` has the seconds each watched
    process, sender and receiver have run during it; ``delay`` is in seconds by quantile.
    """

    seconds: float
    offered: int
    received: int
    late: int
    in_window: int
    duplicates: int
    reordered: int
    wrong_source: int
    foreign: int
    sink_drops: int
    """Lost by the load itself, when its own receive buffer was full."""
    delay: dict[str, float]
    cpu: dict[str, float]

    @property
    def loss(self) -> float:
        """The part of the offered packets that did not arrive in time."""
        return 1 - (self.received - self.late) / self.offered if self.offered else 1.0

    @property
    def offered_rate(self) -> float:
        """Packets a second."""
        return self.offered / self.seconds

    @property
    def relayed_rate(self) -> float:
        """Packets a second that arrived, in time or not."""
        return self.in_window / self.seconds

    def cpu_per_packet(self, *labels: str) -> float:
        """Seconds that the processes of these labels, or all without any, ran for each packet."""
        ran = sum(self.cpu.get(label, 0.0) for label in labels or self.cpu)
        return ran / self.in_window if self.in_window else 0.0


class Load:
    """Sends and receives in the place of all callers and all callees.

    Its two sockets stay open for as long as its block lasts, so a contestant keeps its parties
    from run to run. Raises LoadError where the program cannot be built.
    """

    def __init__(self, caller: str = CALLER, callee: str = CALLEE) -> None:
        self._program = build()
        self._sockets = [_bound(caller), _bound(callee)]
        self._softirq = softirq_threads()

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in self._sockets:
            each.close()

    @property
    def caller(self) -> tuple[str, int]:
        """The address of every caller."""
        return _name(self._sockets[0])

    @property
    def callee(self) -> tuple[str, int]:
        """The address of every callee."""
        return _name(self._sockets[1])

    def direct(self, sessions: int) -> list[Route]:
        """Routes without a relay between."""
        return [Route(*self.callee, *self.caller)] * sessions

    def run(
        self,
        routes: Sequence[Route],
        *,
        rate: float,
        seconds: float,
        warm: float = 0.2,
        payload: int = 160,
        watch: Mapping[str, int | Sequence[int]] | None = None,
    ) -> Outcome:
        """Offer ``rate`` packets a second (0: as many as can be sent) for ``seconds``.

        ``warm`` seconds of the same go before. ``watch`` names processes whose run time is told,
        or several whose run times are added up.
        Raises LoadError.
        """
        caller, callee = (each.fileno() for each in self._sockets)
        watched = [("softirq", pid) for pid in self._softirq]
        for label, pids in (watch or {}).items():
            watched += [(label, pid) for pid in ([pids] if isinstance(pids, int) else pids)]
        command = [
            str(self._program),
            *(f"--caller={caller}", f"--callee={callee}", f"--payload={payload}"),
            *(f"--rate={rate}", f"--seconds={seconds}", f"--warm={warm}"),
            *(f"--late-ms={LATE * 1000}", f"--drain={LATE * 1.5}"),
            *(f"--watch={label}={pid}" for label, pid in watched),
        ]
        try:
            done = subprocess.run(
                command,
                input="".join("{} {} {} {}\n".format(*route) for route in routes),
                pass_fds=(caller, callee),
                capture_output=True,
                text=True,
                check=True,
                timeout=seconds + warm + 30,
            )
        except (OSError, subprocess.SubprocessError) as error:
            told = getattr(error, "stderr", None) or ""
            raise LoadError(f"the load failed: {error} {told}") from error
        return _outcome(json.loads(done.stdout))


def build() -> Path:
    """The load's program. Raises LoadError."""
    return compiled(SOURCE)


def compiled(source: Path) -> Path:
    """The program of ``source``, built unless that was done before. Raises LoadError."""
    if shutil.which(COMPILER[0]) is None:
        raise LoadError(f"{COMPILER[0]} is needed to build {source.name}")
    text = source.read_bytes() + " ".join(COMPILER).encode()
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(text).hexdigest()[:16]
    program = home / "rtpproxy-tw-bench" / f"{source.stem}-{digest}"
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    # Two runs may build at the same time; the first name is each one's own.
    fresh = program.with_suffix(f".{os.getpid()}")
    command = [*COMPILER, "-o", str(fresh), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise LoadError(f"{source.name} cannot be built:\n{done.stderr}")
    fresh.replace(program)
    return program


def _outcome(told: dict[str, Any]) -> Outcome:
    return Outcome(
        **{
            name: told[name]
            for name in Outcome.__dataclass_fields__
            if name not in ("delay", "cpu")
        },
        delay={name: micro / 1e6 for name, micro in told["delay_us"].items()},
        cpu={label: nano / 1e9 for label, nano in told["cpu_ns"].items()},
    )


def _bound(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, 0))
    return made


def _name(bound: socket.socket) -> tuple[str, int]:
    host, port = bound.getsockname()[:2]
    return host, port
