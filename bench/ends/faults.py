"""What happens to the relay, its host and its neighbours while calls go on."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from bench.ends.relay import Doomed
from bench.namespaces import Namespace

HELD = 2.0
"""Seconds that an outage lasts."""

Strike = Callable[[Doomed, Namespace], None]


@dataclass(frozen=True)
class Fault:
    """One end of the world; ``strike`` begins and ends it, and is called amid the calls."""

    name: str
    what: str
    strike: Strike
    options: tuple[str, ...] = ()
    faked_clock: bool = False
    recording: bool = False


def kill(relay: Doomed, where: Namespace) -> None:
    """The process is gone from one moment to the next."""
    before = relay.pid
    os.kill(before, signal.SIGKILL)
    relay.wait_for_another(before)


def kill_for_good(relay: Doomed, where: Namespace) -> None:
    """The same, and nobody keeps what it had; it is started anew."""
    relay.end_for_good()
    relay.start_again()


def stop(relay: Doomed, where: Namespace) -> None:
    """It stands still."""
    os.kill(relay.pid, signal.SIGSTOP)
    time.sleep(HELD)
    os.kill(relay.pid, signal.SIGCONT)


def set_clock(relay: Doomed, where: Namespace) -> None:
    """The wall clock is a day ahead, a day behind, and right again."""
    for step in ("+1d", "-1d", "+0"):
        relay.clock.write_text(step)
        time.sleep(HELD / 3)


def cut(relay: Doomed, where: Namespace) -> None:
    """The network device goes down and comes up."""
    where.ip("link set lo down")
    time.sleep(HELD)
    where.ip("link set lo up")


def lose_disk(relay: Doomed, where: Namespace) -> None:
    """The disk that recordings go to is full within moments; then it is taken away."""
    time.sleep(HELD)
    subprocess.run(["umount", "-l", relay.disk], check=True)
    time.sleep(HELD)


def limit_memory(relay: Doomed, where: Namespace) -> None:
    """There is no more memory, and new calls are asked for."""
    size = int(Path(f"/proc/{relay.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    endless = resource.RLIM_INFINITY
    resource.prlimit(relay.pid, resource.RLIMIT_AS, (size + (4 << 20), endless))
    time.sleep(HELD)
    with suppress(ProcessLookupError):
        resource.prlimit(relay.pid, resource.RLIMIT_AS, (endless, endless))


def silence_names(relay: Doomed, where: Namespace) -> None:
    """No name can be looked up: there is no way to any server. It is so from the start."""
    time.sleep(HELD)


FAULTS = (
    Fault("kill", "kill -9, with the keeper", kill, ("--keeper",)),
    Fault("kill-alone", "kill -9, without it, and a new start", kill_for_good, ("--no-keeper",)),
    Fault("stop", f"SIGSTOP for {HELD:g} s", stop),
    Fault("clock", "wall clock set by a day, thrice", set_clock, faked_clock=True),
    Fault("network", f"network device down for {HELD:g} s", cut),
    Fault("disk", "disk full, then taken away, all recorded", lose_disk, recording=True),
    Fault("memory", "not a page of memory more", limit_memory),
    Fault(
        "names",
        "no name server, names wanted",
        silence_names,
        ("--hep", "udp:collector.example:9060", "-n", "tcp:listener.example:7000"),
    ),
)

_LIBRARIES = (
    *glob("/usr/lib/*/faketime/libfaketimeMT.so.1"),
    *glob("/usr/lib/faketime/libfaketimeMT.so.1"),
)


def missing(fault: Fault) -> str | None:
    """Why that cannot be done here."""
    if fault.faked_clock and not _LIBRARIES:
        return "libfaketime is not installed (Debian: faketime)"
    return None


def environment(fault: Fault, clock: Path) -> dict[str, str]:
    """Of the relay."""
    if not fault.faked_clock:
        return {}
    clock.write_text("+0")
    return {
        "LD_PRELOAD": _LIBRARIES[0],
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }


@contextmanager
def _mounted(path: Path) -> Iterator[None]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], capture_output=True)


def disk(fault: Fault, path: Path) -> _mounted | nullcontext[None]:  # type: ignore[valid-type]
    """A small file system, where the fault concerns one."""
    return _mounted(path) if fault.recording else nullcontext()
