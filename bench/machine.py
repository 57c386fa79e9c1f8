"""The machine a run takes place on: which of its CPUs do what, and what it is.

The contestants have the last CPU to themselves, the load and the bench have the others, so every
contestant is measured on one core, and none is slowed by what asks it. Where the system allows,
all of them run with a priority somewhat above the usual, as other work of the machine would else
be measured, too.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""Of the project."""

AUTOGROUP = Path("/proc/self/autogroup")
"""The group of all processes of this session, and its niceness among other groups; sched(7)."""

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Cpus:
    """Who runs where; both sets are the same on a machine with one CPU."""

    load: frozenset[int]
    contestant: frozenset[int]


def usable_cpus() -> set[int]:
    """The CPUs this process may run on."""
    return os.sched_getaffinity(0)


def share_out(usable: set[int], cores: int = 1) -> Cpus:
    """The last CPUs to the contestant, so many of them; the others to the load.

    Where none would be left for the load, both have all.
    """
    last = frozenset(sorted(usable)[-cores:])
    rest = frozenset(usable) - last
    return Cpus(rest, last) if rest else Cpus(frozenset(usable), frozenset(usable))


@contextmanager
def settled(cpus: Cpus, niceness: int) -> Iterator[str | None]:
    """This process, and the load it starts, on the load's CPUs at that priority, for the block.

    Yields why the priority could not be had, None where it could.
    """
    before = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    os.sched_setaffinity(0, cpus.load)
    complaint = None
    group = _group_niceness()
    try:
        _set_niceness(niceness)
    except OSError as error:
        complaint = f"priority {niceness} could not be had: {error.strerror}"
    try:
        yield complaint
    finally:
        os.sched_setaffinity(0, before[0])
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, before[1])
            if group is not None:
                AUTOGROUP.write_text(str(group))


def mover(cpus: Cpus, niceness: int) -> Callable[[], None]:
    """What a child calls before it becomes a contestant; it then also dies with its parent."""
    libc = ctypes.CDLL(None)

    def move() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        os.sched_setaffinity(0, cpus.contestant)
        with suppress(OSError):
            _set_niceness(niceness)

    return move


def _set_niceness(niceness: int) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, niceness)
    # Where sessions are scheduled as groups, niceness alone counts within the own group only.
    if _group_niceness() is not None:
        AUTOGROUP.write_text(str(niceness))


def _group_niceness() -> int | None:
    try:
        return int(AUTOGROUP.read_text().split()[-1])
    except (OSError, ValueError, IndexError):
        return None


def open_files() -> None:
    """Allow as many descriptors as may be had: four sockets a session; children inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def softirq_threads() -> list[int]:
    """The kernel's threads that do network work which is left over; none in a container."""
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if comm.read_text().startswith("ksoftirqd/"):
                found.append(int(comm.parent.name))
    return found


def describe() -> dict[str, str]:
    """What ran where and when."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{os.cpu_count()} x {_processor()}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "twisted": _installed("twisted"),
        "relay": _commit(),
        "rtp.io": _installed("rtp.io"),
        "rtpengine": _rtpengine(),
        "load average": "{:.2f} {:.2f} {:.2f}".format(*os.getloadavg()),
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _rtpengine() -> str:
    try:
        told = subprocess.run(["rtpengine", "--version"], capture_output=True, text=True)
    except OSError:
        return "not installed"
    return (told.stdout + told.stderr).partition("\n")[0].removeprefix("Version: ")


def _commit() -> str:
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()
