"""A cluster on paper: what many nodes ask of Redis, from what one session costs here and now.

``python -m bench cluster paper`` measures, on this machine, what it takes to write a session down,
what Redis needs for it, and how long a take-over lasts, and multiplies. What is assumed stands in
the table, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.cluster.costs import TRIED, Stored, Unit, restoring, stored, unit
from rtpproxy_tw.cluster.node import PER_WRITE, RENEW, SOON

WRITES_A_CALL = 4
"""Creation and answer, a latch of each party, the end; changes within 20 ms are one."""


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


def report(paper: Paper | None = None) -> str:
    """The table, measured now. Raises ClusterError."""
    return table(paper or Paper(100, 1_000_000), unit(), stored(), restoring())


def table(paper: Paper, cost: Unit, redis: Stored | None, restore: float | None) -> str:
    """The same from what was measured; None: it could not be measured here."""
    rows = [
        ("nodes", f"{paper.nodes:,} (assumed)"),
        ("calls, one medium each", f"{paper.calls:,} (assumed)"),
        ("a call lasts", f"{paper.call_seconds:.0f} s (assumed)"),
        ("a call is written", f"{WRITES_A_CALL} times, and every {RENEW:.0f} s (assumed)"),
        ("one session's line", f"{cost.octets:.0f} octets (measured)"),
        ("to make it", f"{1e6 * cost.write:.0f} us of a relay (measured)"),
        *_of_redis(redis, "one session in Redis", lambda it: f"{it.octets:.0f} octets (measured)"),
        *_of_redis(
            redis, "to write it", lambda it: f"{1e6 * it.seconds:.1f} us of Redis (measured)"
        ),
        ("to take one over", _restored(restore)),
        ("calls of a node", f"{paper.per_node:,.0f}"),
        *_of_redis(redis, "Redis: memory", lambda it: f"{paper.calls * it.octets / 2**30:.2f} GiB"),
        ("Redis: sessions written", f"{paper.writes:,.0f} a second"),
        ("Redis: other questions", f"{paper.asked:,.0f} a second"),
        *_of_redis(
            redis,
            "Redis: cores",
            lambda it: f"{paper.writes * it.seconds:.2f}; keys of an address share a slot, so a",
        ),
        ("", "cluster of Redis divides them by address"),
        ("Redis: traffic", f"{8 * paper.writes * cost.octets / 1e6:,.0f} Mbit/s"),
        ("a node: writing", f"{100 * paper.writes / paper.nodes * cost.write:.1f} % of a core"),
    ]
    if restore is not None:
        detected = f"after {1.25 * paper.lease:.2f} s of detection at most"
        rows.append(("a node dies: taken over in", f"{paper.per_node * restore:.1f} s, {detected}"))
    anew = paper.per_node * SOON / PER_WRITE
    rows.append(("all is written anew in", f"{anew:.0f} s, after Redis was emptied"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)


def _of_redis(
    redis: Stored | None, name: str, say: Callable[[Stored], str]
) -> Iterator[tuple[str, str]]:
    yield name, "no redis-server here" if redis is None else say(redis)


def _restored(seconds: float | None) -> str:
    if seconds is None:
        return "not to be tried here"
    return f"{1e6 * seconds:.0f} us (measured, {TRIED:,} calls that talk)"
