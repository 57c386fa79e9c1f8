"""How evenly prompts are sent: many players at once, each packet's time of arrival by the kernel.

Run as ``python -m bench.players``. The claim: with 1,000 players of 20 ms packets on one core the
time between two packets of one player is 20 ms ± 2 ms for half of them (the median of the
differences), and ± 5 ms for 99 of 100.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench.calls import Client
from bench.machine import ROOT, describe, mover, settled, share_out, usable_cpus

HOST = "127.0.0.16"

WANTED_MS = 20.0
MEDIAN_MS = 2.0
P99_MS = 5.0
"""How far from 20 ms."""

_SO_TIMESTAMPNS = 35
_BUFFER = 32 * 1024 * 1024
_STAMP = struct.Struct("@qq")


class Spacing(NamedTuple):
    """Milliseconds between two packets of one player, and what that cost."""

    packets: int
    lost: int
    median: float
    p1: float
    p99: float
    least: float
    most: float
    off_median: float
    """How far from what is wanted: half are nearer."""
    off_p99: float
    cpu: float
    """Share of one core."""

    @property
    def kept(self) -> bool:
        """Whether the claim holds."""
        return self.off_median <= MEDIAN_MS and self.off_p99 <= P99_MS and not self.lost


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print; the exit status tells whether the claim holds."""
    parser = argparse.ArgumentParser(prog="python -m bench.players", description=__doc__)
    parser.add_argument("--players", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--nice", type=int, default=-10)
    asked = parser.parse_args(arguments)
    for name, value in describe().items():
        print(f"{name}: {value}")
    cpus = share_out(usable_cpus())
    with settled(cpus, asked.nice), TemporaryDirectory(prefix="players-") as name:
        found = measure(Path(name), asked.players, asked.seconds, mover(cpus, asked.nice))
    print(
        f"\n{asked.players} players, {found.packets} packets of {WANTED_MS:g} ms"
        f" in {asked.seconds:g} s, {found.lost} lost\n"
        f"spacing, ms: median {found.median:.2f}, 1 % {found.p1:.2f}, 99 % {found.p99:.2f},"
        f" least {found.least:.2f}, most {found.most:.2f}\n"
        f"off by, ms: median {found.off_median:.2f} (at most {MEDIAN_MS:g}),"
        f" 99 % {found.off_p99:.2f} (at most {P99_MS:g})\n"
        f"the relay took {found.cpu:.0%} of a core\n"
        f"the claim {'holds' if found.kept else 'does not hold'}"
    )
    return 0 if found.kept else 1


def measure(folder: Path, players: int, seconds: float, prepare: object) -> Spacing:
    """Play to so many parties, which are all one socket, and listen for ``seconds``."""
    (folder / "p.0").write_bytes(bytes(8000 * 30))
    control = folder / "control"
    limits = ["-L", str(6 * players + 200), "--fast-path", "none"]
    argv = [sys.executable, "-m", "rtpproxy_tw.tools.launcher", "-f", "-F", "-l", HOST, *limits]
    assert callable(prepare)
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [*argv, "-s", f"cunix:{control}", "-d", "WARN", "-p", "/dev/null"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=log,
            preexec_fn=prepare,
        ) as relay,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear,
    ):
        try:
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            ear.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            ear.bind((HOST, 0))
            ear.setblocking(False)
            client = Client(_connected(control))
            _play(client, players, ear.getsockname()[1])
            _listen(ear, 1.0)  # until everything runs evenly
            before = _cpu(relay.pid)
            arrivals = _listen(ear, seconds)
            cpu = (_cpu(relay.pid) - before) / seconds
            client.close()
            return _spacing(arrivals, cpu)
        finally:
            relay.send_signal(signal.SIGTERM)


def _connected(path: Path) -> socket.socket:
    deadline = time.monotonic() + 20
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(path))
        except OSError:
            sock.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return sock


def _play(client: Client, players: int, port: int) -> None:
    for number in range(players):
        client.ask(f"Uc0 call{number} {HOST} {port} f".encode())
        client.ask(f"Lz20 call{number} {HOST} {port} f t".encode())
        reply = client.ask(f"P-1 call{number} p session f t".encode())
        if reply != b"0":
            raise OSError(f"a prompt could not be played: {reply!r}")


Arrivals = dict[bytes, list[tuple[int, int]]]
"""SSRC -> (nanoseconds, sequence number) of each packet."""


def _listen(ear: socket.socket, seconds: float) -> Arrivals:
    arrivals: Arrivals = {}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        # Not at each packet: waking the listener would cost the relay more than sending does.
        time.sleep(0.005)
        while True:
            try:
                datagram, ancillary, _, _ = ear.recvmsg(512, 64)
            except BlockingIOError:
                break
            whole, part = _STAMP.unpack(ancillary[0][2])
            number = int.from_bytes(datagram[2:4], "big")
            arrivals.setdefault(datagram[8:12], []).append((whole * 10**9 + part, number))
    return arrivals


def _spacing(arrivals: Arrivals, cpu: float) -> Spacing:
    gaps: list[float] = []
    lost = 0
    for packets in arrivals.values():
        for (one, number), (other, following) in pairwise(packets):
            missing = (following - number & 0xFFFF) - 1
            lost += missing
            if not missing:
                gaps.append((other - one) / 1e6)
    gaps.sort()
    off = sorted(abs(gap - WANTED_MS) for gap in gaps)

    def at(ordered: list[float], share: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

    return Spacing(
        sum(map(len, arrivals.values())),
        lost,
        at(gaps, 0.5),
        at(gaps, 0.01),
        at(gaps, 0.99),
        gaps[0],
        gaps[-1],
        at(off, 0.5),
        at(off, 0.99),
        cpu,
    )


def _cpu(pid: int) -> float:
    """Seconds of processor time that the process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
