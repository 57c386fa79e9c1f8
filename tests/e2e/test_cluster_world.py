"""``python -m bench cluster`` with a few calls: none is lost, and every BYE arrives."""

from __future__ import annotations

import shutil

import pytest

from bench.cluster import SCENARIOS, World, measure
from bench.namespaces import missing
from rtpproxy_tw.media.kernel import capabilities
from tests.cluster.redis_server import PROGRAM

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(PROGRAM is None, reason="no redis-server here"),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

QUICK = ("killed", "rehashed")
"""Of each kind one that an ordinary run has."""

HARMLESS = {
    *("redis-stopped", "redis-frozen", "redis-emptied", "redis-garbage"),
    *("redis-readonly", "redis-full", "rehashed", "split"),
}
"""What must cost no packet."""


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SCENARIOS],
)
def test_no_call_is_lost_and_every_bye_reaches_its_call(name: str) -> None:
    if name == "clocks" and shutil.which("faketime") is None:
        pytest.skip("no faketime here")
    with World(calls=5, rate=10, lease=1000, fast_path="none") as world:
        told = measure(name, world)
    assert told.well, told
    if name in HARMLESS:
        assert told.lost == 0, told


@pytest.mark.kernel
@pytest.mark.skipif(not capabilities.has_needed(), reason="may not load eBPF programs")
def test_streams_that_the_kernel_carried_go_on_with_the_other_relay() -> None:
    with World(calls=5, rate=20, lease=1000, fast_path="ebpf") as world:
        told = measure("killed", world)
    assert told.well, told
    assert min(told.offloaded) > 0, told
