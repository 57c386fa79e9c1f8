"""What ``python -m bench cluster paper`` makes of what it measures."""

from __future__ import annotations

import pytest

from bench.cluster.costs import Stored, Unit, stored, unit
from bench.cluster.paper import Paper, table
from tests.cluster.redis_server import PROGRAM


def rows(text: str) -> dict[str, str]:
    """By name."""
    return {line.split("  ")[0]: line.split("  ")[-1].strip() for line in text.splitlines()}


def test_a_cluster_is_its_sessions_times_what_one_costs() -> None:
    paper = Paper(nodes=10, calls=20_000, call_seconds=100.0)
    told = rows(table(paper, Unit(500.0, 50e-6), Stored(2**30 / 20_000, 0.0005), 0.0003))
    assert told["calls of a node"] == "2,000"
    # Four writes in 100 s and one in 300.
    assert told["Redis: sessions written"] == "867 a second"
    assert told["Redis: memory"] == "1.00 GiB"
    assert told["Redis: cores"].startswith("0.43;")
    assert told["a node: writing"] == "0.4 % of a core"
    assert told["a node dies: taken over in"] == "0.6 s, after 1.25 s of detection at most"


def test_what_cannot_be_measured_is_not_made_up() -> None:
    told = rows(table(Paper(10, 20_000), Unit(500.0, 50e-6), None, None))
    assert told["Redis: memory"] == "no redis-server here"
    assert "a node dies: taken over in" not in told


@pytest.mark.network
@pytest.mark.skipif(PROGRAM is None, reason="no redis-server here")
def test_what_a_session_costs_redis_is_measured_with_a_real_one() -> None:
    found, line = stored(count=500, rounds=2), unit(50)
    assert found is not None
    assert line.octets < found.octets < 5 * line.octets
    assert line.write > 0
