"""Whether there is memory for further calls: a process that has none left cannot go on with those
it has. What limits it are the limit of its address space (setrlimit(2)) and its control group
(cgroups(7), both versions); where neither does, there is always room.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from rtpproxy_tw.timers import Timer

RESERVE = 32 << 20
"""Octets that are left for the calls there are: some seconds of their packets, and answers."""

LOOK_EVERY = 1.0
"""Seconds. At 1,500 new calls a second these take 8 MB, a quarter of the reserve."""

GROUPS = Path("/sys/fs/cgroup")


def address_space() -> float:
    """Octets that this process may still map."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return float("inf")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return float(limit - pages * resource.getpagesize())


def group(lines: Iterable[str], root: Path = GROUPS) -> float:
    """The same of its control group, which ``lines`` of /proc/self/cgroup name.

    What the group uses of files can be had back and counts as free.
    """
    for line in lines:
        _, controllers, path = line.rstrip("\n").split(":", 2)
        if controllers == "memory":
            folder, limit, usage, reclaimed = (
                *(root / "memory" / path.lstrip("/"), "memory.limit_in_bytes"),
                *("memory.usage_in_bytes", "total_inactive_file"),
            )
        elif not controllers:
            folder, limit, usage, reclaimed = (
                *(root / path.lstrip("/"), "memory.max"),
                *("memory.current", "inactive_file"),
            )
        else:
            continue
        with suppress(OSError, ValueError):
            most = int((folder / limit).read_text())
            used = int((folder / usage).read_text())
            words = (folder / "memory.stat").read_text().split()
            files = int(words[words.index(reclaimed) + 1])
            return float(most - used + files)
    return float("inf")


def room() -> float:
    """Octets that can still be had, as far as anything limits them."""
    with suppress(OSError, ValueError):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        return min(address_space(), group(lines))
    return float("inf")


class MemoryRoom(Timer):
    """Looks every second, and says once when it becomes short, or is not any more."""

    log = Logger()

    def __init__(self, clock: Any, look: Callable[[], float] = room) -> None:
        super().__init__(LOOK_EVERY, self.look)
        self.clock = clock
        self._room = look
        self.short = False
        """Whether further calls had better be refused."""

    def look(self) -> None:
        """Find out."""
        free = self._room()
        # Once short, it is so until there is clearly more: what is freed comes and goes.
        before = self.short
        self.short = free < (2 * RESERVE if before else RESERVE)
        if self.short and not before:
            self.log.warn(
                "memory is short, {free} MB are left: new sessions are refused",
                free=int(max(free, 0)) >> 20,
            )
        elif before and not self.short:
            self.log.info("there is memory again: new sessions are taken")
