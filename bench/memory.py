"""Memory per session: of the process, and of the kernel for its sockets.

Of the process it is the resident size, and the proportional one, which counts what is shared with
other processes by its share only, and so also moves when one of those starts or ends. Both grow in
steps, so they are divided by many sessions. The kernel's is the growth of those of its caches that
hold sockets and what belongs to them, over the whole machine; buffers are empty at that time. Only
root may read it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from bench.load import Load
from bench.media import Way, sessions
from bench.plan import Plan, Progress
from bench.relays import Relay
from bench.results import Better, Section

WARM_UP = 50
"""Sessions that exist before the first look, so that nothing is done for the first time later."""

CACHES = frozenset(("UDP", "UDPv6", "sock_inode_cache", "filp", "eventpoll_epi", "eventpoll_pwq"))
"""The kernel's caches that a socket has a place in; the smallest one, dentry, is too much used by
others."""

TEN_PACKETS = 0.2
"""Seconds, at 50 packets a second."""


class Look(NamedTuple):
    """What is used at one moment, in octets; ``kernel`` is None where it may not be read."""

    resident: int
    proportional: int
    kernel: int | None
    sockets: int


def measure(plan: Plan, relays: Sequence[Relay], progress: Progress) -> Section:
    """The figures of all ``relays``, one started after the other. Raises what they do."""
    section = Section("memory", f"Memory: growth from 0 to {plan.grown} complete sessions")
    with Load() as load:
        for relay in relays:
            progress(f"memory: {relay.name}")
            _grow(section, relay, load, plan)
    return section


def _grow(section: Section, relay: Relay, load: Load, plan: Plan) -> None:
    with ExitStack() as stack:
        stack.enter_context(relay)
        _talk(relay, load, WARM_UP, "warm", plan)
        before = look(relay.pid)
        routes = sessions(relay, load, plan.grown)
        silent = look(relay.pid)
        way = Way(relay.name, routes, {"relay": relay.pid})
        _ten_packets(load, way, plan)
        talked = look(relay.pid)
        relay.client.ask(b"X")
        way.rest()
        ended = look(relay.pid)
    _add(section, relay.name, plan.grown, before, silent, talked, ended)


def _talk(relay: Relay, load: Load, count: int, series: str, plan: Plan) -> None:
    routes = sessions(relay, load, count, series)
    _ten_packets(load, Way(relay.name, routes, {"relay": relay.pid}), plan)


def _ten_packets(load: Load, way: Way, plan: Plan) -> None:
    load.run(
        way.routes,
        rate=len(way.routes) * 100,
        seconds=TEN_PACKETS,
        warm=0,
        payload=plan.payload,
    )
    way.rest()
    time.sleep(0.1)


def _add(
    section: Section, name: str, count: int, before: Look, silent: Look, talked: Look, ended: Look
) -> None:
    def add(what: str, grown: int) -> None:
        section.quantity(what, "KiB/session", Better.LESS, 2).add(name, grown / count / 1024)

    add("process, before any packet (RSS)", silent.resident - before.resident)
    add("process, after 10 packets each way (RSS)", talked.resident - before.resident)
    add("process, after 10 packets each way (PSS)", talked.proportional - before.proportional)
    add("process, kept after the end of all (RSS)", ended.resident - before.resident)
    if silent.kernel is not None and before.kernel is not None:
        add("kernel, for sockets", silent.kernel - before.kernel)
    sockets = section.quantity("sockets", "1/session", Better.LESS, 2)
    sockets.add(name, (silent.sockets - before.sockets) / count)


def look(pid: int) -> Look:
    """What the process ``pid`` uses now, and the kernel for all sockets of the machine."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size, *_ = line.split()
        sizes[name] = int(size) * 1024
    return Look(sizes["Rss:"], sizes["Pss:"], _slab(), _sockets(pid))


def _slab() -> int | None:
    try:
        lines = Path("/proc/slabinfo").read_text().splitlines()
    except OSError:
        return None
    rows = (line.split() for line in lines)
    return sum(int(row[1]) * int(row[3]) for row in rows if row[0] in CACHES)


def _sockets(pid: int) -> int:
    count = 0
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            count += os.readlink(entry.path).startswith("socket:")
    return count
