"""Whether this host is set up for so many calls, and what to change where it is not.

The advice is pure: it is made of :class:`Facts`, which :func:`read_facts` takes from ``/proc`` and
``/sys``. Where a fact cannot be had nothing is said of it.
"""

from __future__ import annotations

import os
import re
import resource
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rtpproxy_tw.capacity import PER_CALL_DESCRIPTORS, PER_CALL_PAIRS, RESERVED_DESCRIPTORS
from rtpproxy_tw.media.udpport import RECEIVE_BUFFER

PACKETS = 100
"""A second and call, both ways together, in packets of 20 ms (RFC 3551 section 4.2)."""

HELD_UP = 0.05
"""Seconds of packets that the kernel should be able to keep while the processor is elsewhere."""

BUSY = 50_000
"""Packets a second from which on it matters which processor receives."""

CONNTRACK = 2 * PER_CALL_DESCRIPTORS
"""Entries of connection tracking that a call may have: its flows, and those that were before."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One network device: its receive queues, and those of them that RPS spreads."""

    name: str
    queues: int
    spread: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found; None where it is not known or does not exist."""

    descriptors: int | None = None
    """Limit of open files."""
    rmem_max: int | None = None
    """Octets of receive buffer a socket may ask for."""
    backlog: int | None = None
    """Packets that wait for one processor."""
    reserved: tuple[tuple[int, int], ...] | None = None
    """Ports that are given to nobody by chance."""
    conntrack_max: int | None = None
    """Entries of connection tracking; None where nothing is tracked."""
    governors: frozenset[str] = frozenset()
    """How processors choose their frequency."""
    cpus: int = 1
    interfaces: tuple[Interface, ...] = field(default=())


class Advice(NamedTuple):
    """One thing looked at; ``how`` is what to do about it, empty where all is well."""

    subject: str
    found: str
    why: str
    how: str = ""

    @property
    def fine(self) -> bool:
        """Whether nothing need be done."""
        return not self.how

    def __str__(self) -> str:
        state = "ok" if self.fine else "!!"
        return f"{state} {self.subject}: {self.found}; {self.how or self.why}" + (
            "" if self.fine else f" ({self.why})"
        )


def advise(facts: Facts, calls: int, ports: tuple[int, int]) -> list[Advice]:
    """What to say of ``facts`` for ``calls`` at once on media ports ``ports``, both included."""
    found = [
        _descriptors(facts, calls),
        _ports(calls, ports),
        _buffer(facts),
        _backlog(facts, calls),
        _reserved(facts, ports),
        _conntrack(facts, calls),
        _governor(facts, calls),
        *(_queues(each, facts.cpus, calls) for each in facts.interfaces),
    ]
    return [advice for advice in found if advice is not None]


def _descriptors(facts: Facts, calls: int) -> Advice | None:
    if facts.descriptors is None:
        return None
    wanted = PER_CALL_DESCRIPTORS * calls + RESERVED_DESCRIPTORS
    return Advice(
        "open files",
        f"{facts.descriptors} allowed, {wanted} needed",
        "a call has four sockets, and a relay without descriptors refuses calls",
        f"set LimitNOFILE={wanted} in the unit, or start as root with -L {wanted}"
        if facts.descriptors < wanted
        else "",
    )


def _ports(calls: int, ports: tuple[int, int]) -> Advice:
    low, high = ports
    pairs = (high - low + 1) // 2
    wanted = PER_CALL_PAIRS * calls
    how = ""
    if pairs < wanted:
        # Not even all ports there are would do for more.
        how = (
            f"widen the range to {2 * wanted} ports with -m and -M"
            if wanted <= 32_000
            else "take media on several addresses, an instance on each"
        )
    return Advice(
        "media ports",
        f"{pairs} pairs, {wanted} needed",
        "a call has a pair of ports towards each party",
        how,
    )


def _buffer(facts: Facts) -> Advice | None:
    if facts.rmem_max is None:
        return None
    return Advice(
        "net.core.rmem_max",
        f"{facts.rmem_max} octets",
        f"media sockets ask for {RECEIVE_BUFFER}: what arrives during a pause waits there",
        f"sysctl net.core.rmem_max={4 * RECEIVE_BUFFER}" if facts.rmem_max < RECEIVE_BUFFER else "",
    )


def _backlog(facts: Facts, calls: int) -> Advice | None:
    if facts.backlog is None:
        return None
    wanted = max(1000, int(PACKETS * calls * HELD_UP))
    return Advice(
        "net.core.netdev_max_backlog",
        f"{facts.backlog} packets",
        f"{calls} calls bring that many in {1000 * facts.backlog / (PACKETS * calls):.0f} ms;"
        " what a processor cannot take at once is dropped beyond it",
        f"sysctl net.core.netdev_max_backlog={wanted}" if facts.backlog < wanted else "",
    )


def _reserved(facts: Facts, ports: tuple[int, int]) -> Advice | None:
    if facts.reserved is None:
        return None
    low, high = ports
    whole = any(first <= low and high <= last for first, last in facts.reserved)
    return Advice(
        "net.ipv4.ip_local_reserved_ports",
        ", ".join(f"{first}-{last}" for first, last in facts.reserved) or "none",
        "outgoing connections of other programs would take media ports",
        "" if whole else f"sysctl net.ipv4.ip_local_reserved_ports={low}-{high}",
    )


def _conntrack(facts: Facts, calls: int) -> Advice | None:
    if facts.conntrack_max is None:
        return None
    wanted = CONNTRACK * calls
    return Advice(
        "net.netfilter.nf_conntrack_max",
        f"{facts.conntrack_max} entries",
        "each media stream is tracked, at the cost of some processor time, and when the table is"
        " full packets are dropped",
        "do not track media (nft: udp dport and udp sport of the media ports, notrack), or sysctl"
        f" net.netfilter.nf_conntrack_max={wanted}"
        if facts.conntrack_max < wanted
        else "",
    )


def _governor(facts: Facts, calls: int) -> Advice | None:
    if not facts.governors:
        return None
    slow = facts.governors - {"performance", "schedutil"}
    return Advice(
        "frequency of processors",
        ", ".join(sorted(facts.governors)),
        "media comes in small regular portions, which make a processor look idle",
        "choose the governor performance" if slow and PACKETS * calls >= BUSY else "",
    )


def _queues(interface: Interface, cpus: int, calls: int) -> Advice | None:
    if cpus < 2:
        return None
    alone = interface.queues < 2 and not interface.spread
    return Advice(
        f"{interface.name}: receiving",
        f"{interface.queues} queues, {interface.spread} spread by RPS, {cpus} processors",
        "receiving a packet costs about as much as relaying it; done by one processor, the relay's"
        " own perhaps, it is what limits the whole",
        f"ethtool -L {interface.name} combined {min(cpus, 8)}, or where the device has one queue:"
        f" echo {_mask(cpus)} > /sys/class/net/{interface.name}/queues/rx-0/rps_cpus; and keep"
        " the relay on the processor left out (CPUAffinity=0)"
        if alone and PACKETS * calls >= BUSY
        else "",
    )


def _mask(cpus: int) -> str:
    """All processors but the first, as RPS wants to be told."""
    digits = f"{(1 << cpus) - 2:x}"
    groups = re.findall(r".{1,8}", digits[::-1])
    return ",".join(group[::-1] for group in reversed(groups))


# Reading.


def read_facts(root: Path = Path("/")) -> Facts:
    """The facts of this host. Raises nothing."""
    net = root / "proc/sys/net"
    return Facts(
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        rmem_max=_number(net / "core/rmem_max"),
        backlog=_number(net / "core/netdev_max_backlog"),
        reserved=_ranges(_text(net / "ipv4/ip_local_reserved_ports")),
        conntrack_max=_number(net / "netfilter/nf_conntrack_max"),
        governors=frozenset(
            text
            for path in root.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")
            if (text := _text(path))
        ),
        cpus=os.cpu_count() or 1,
        interfaces=tuple(_interfaces(root / "sys/class/net")),
    )


def _interfaces(folder: Path) -> list[Interface]:
    # Only what has a driver of a device: loopback and bridges receive where they were sent.
    return [
        Interface(
            path.parent.name,
            len(list(path.parent.glob("queues/rx-*"))),
            sum(
                bool((_text(mask) or "").strip("0,"))
                for mask in path.parent.glob("queues/rx-*/rps_cpus")
            ),
        )
        for path in sorted(folder.glob("*/device"))
    ]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.isdecimal() else None


def _ranges(text: str | None) -> tuple[tuple[int, int], ...] | None:
    """Of ``8080,9000-9100``; neighbours are joined by the kernel already."""
    if text is None:
        return None
    found = re.findall(r"(\d+)(?:-(\d+))?", text)
    return tuple((int(first), int(last or first)) for first, last in found)
