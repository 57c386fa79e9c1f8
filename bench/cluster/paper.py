"""A cluster on paper: what many nodes ask of Redis, from what one session costs here and now.

``python -m bench cluster paper`` measures, on this machine, what it takes to write a session down
and to read it again, and multiplies. What is assumed stands in the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rtpproxy_tw.addresses import LocalAddress
from rtpproxy_tw.cluster.node import PER_WRITE, RENEW, SOON
from rtpproxy_tw.clustering import lean
from rtpproxy_tw.latch import StrictLatch
from rtpproxy_tw.session import Session, SessionKey, new_session
from rtpproxy_tw.snapshot import records

REDIS_OVERHEAD = 90
"""Octets of a hash's field beside name and value (Redis 7, a table of pointers and two strings)."""

LOCATOR = 190
"""Octets of the key that tells where a call is, with its expiry."""

WRITES_A_CALL = 4
"""Creation and answer, a latch of each party, the end; changes within 20 ms are one."""

REDIS_RATE = 30_000
"""Writes of a session a second that one core of Redis does, pipelined: measured over a socket."""

BIND = 25e-6
"""Seconds to bind one pair of sockets and have them read: measured, 4,000 ports in 20 to 23 ms,
with as much again for the set they are in."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What one session costs."""

    octets: float
    write: float
    """Seconds of the relay to make its line."""
    read: float
    """Seconds to make a session of it."""


@dataclass(frozen=True, slots=True)
class Paper:
    """Of a whole cluster."""

    nodes: int
    calls: int
    call_seconds: float = 120.0
    lease: float = 1.0

    @property
    def per_node(self) -> float:
        """Calls of one node."""
        return self.calls / self.nodes

    @property
    def writes(self) -> float:
        """Sessions written a second, by all."""
        return self.calls * (WRITES_A_CALL / self.call_seconds + 1 / RENEW)

    @property
    def asked(self) -> float:
        """What nodes ask besides, a second: each tells of itself and beats, looks at two addresses
        and at the list of nodes, four times a lease."""
        return self.nodes * 5 * 4 / self.lease


def unit(count: int = 2000, now: Callable[[], float] = time.process_time) -> Unit:
    """Measure."""
    sessions = [_session(number) for number in range(count)]
    began = now()
    lines = [_line(session) for session in sessions]
    written = now()
    for line in lines:
        records.unpack(records.from_line(line), 1.0)
    read = now()
    return Unit(sum(map(len, lines)) / count, (written - began) / count, (read - written) / count)


def _session(number: int) -> Session:
    made = new_session(
        SessionKey(f"call-{number}@sip.example.net", f"tag-{number}"), 1.0, 60.0, StrictLatch
    )
    for leg, host in zip(made.legs, ("192.0.2.10", "198.51.100.20"), strict=True):
        for stream in leg.streams:
            stream.latch.signal((host, 4000 + stream.component), 1.0)
        leg.local, leg.port = LocalAddress("203.0.113.30"), 40000
    made.strong = made.complete = True
    return made


def _line(session: Session) -> bytes:
    record = lean(records.pack(session, {}), session.caller.rtp.latch)
    record["at"] = 1.0
    return records.to_line(record)


def report(paper: Paper | None = None) -> str:
    """The table."""
    paper = paper or Paper(100, 1_000_000)
    cost = unit()
    memory = paper.calls * (cost.octets + 60 + REDIS_OVERHEAD + LOCATOR)
    restore = paper.per_node * (cost.read + 2 * BIND)
    rows = [
        ("nodes", f"{paper.nodes:,}"),
        ("calls, one medium each", f"{paper.calls:,}"),
        ("a call lasts", f"{paper.call_seconds:.0f} s"),
        ("one session in Redis", f"{cost.octets:.0f} octets (measured)"),
        ("to write one down", f"{1e6 * cost.write:.0f} us of a relay (measured)"),
        ("to restore one", f"{1e6 * (cost.read + 2 * BIND):.0f} us (measured)"),
        ("calls of a node", f"{paper.per_node:,.0f}"),
        ("Redis: memory", f"{memory / 2**30:.2f} GiB"),
        ("Redis: sessions written", f"{paper.writes:,.0f} a second"),
        ("Redis: other questions", f"{paper.asked:,.0f} a second"),
        ("Redis: cores", f"{paper.writes / REDIS_RATE:.1f}; keys of an address share a slot, so a"),
        ("", "cluster of Redis divides them by address"),
        ("Redis: traffic", f"{8 * paper.writes * cost.octets / 1e6:,.0f} Mbit/s"),
        ("a node: writing", f"{100 * paper.writes / paper.nodes * cost.write:.1f} % of a core"),
        (
            "a node dies: restored in",
            f"{restore:.1f} s, after {1.25 * paper.lease:.2f} s of detection",
        ),
        (
            "all is written anew in",
            f"{paper.per_node * SOON / PER_WRITE:.0f} s, after Redis was emptied",
        ),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)
