"""``python -m bench cluster`` with a few calls: none is lost, and every BYE arrives."""

from __future__ import annotations

import shutil

import pytest

from bench.cluster.measuring import Plan, measure
from bench.cluster.phones import longest
from bench.cluster.signalling import lacking
from bench.cluster.troubles import SCENARIOS, TRIGGERS
from bench.namespaces import missing
from rtpproxy_tw.media.kernel import capabilities
from tests.cluster.redis_server import PROGRAM

WHY = missing() or lacking() or (None if PROGRAM else "no redis-server here")
"""Why none of it can be tried here."""

pytestmark = pytest.mark.e2e

tried = pytest.mark.skipif(WHY is not None, reason=str(WHY))

QUICK = ("killed",)
"""What an ordinary run has."""

HARMLESS = {
    *("redis-stopped", "redis-frozen", "redis-emptied", "redis-garbage"),
    *("redis-readonly", "redis-full", "split"),
}
"""What must cost no packet."""

ALL = SCENARIOS | TRIGGERS


@tried
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ALL]
)
def test_no_call_is_lost_and_every_bye_reaches_its_call(name: str) -> None:
    if name == "clocks" and shutil.which("faketime") is None:
        pytest.skip("no faketime here")
    told = measure(ALL[name], Plan(calls=6))
    assert told.well, told
    if name in HARMLESS:
        assert told.heard.lost == 0, told


@tried
@pytest.mark.kernel
@pytest.mark.skipif(not capabilities.has_needed(), reason="may not load eBPF programs")
def test_streams_that_the_kernel_carried_go_on_with_the_other_relay() -> None:
    told = measure(SCENARIOS["killed"], Plan(calls=6, rate=20, fast_path="ebpf"))
    assert told.well, told
    assert min(told.offloaded) > 0, told


def test_losses_that_are_far_apart_are_no_one_outage() -> None:
    assert longest([]) == 0.0
    assert longest([1.0]) == 0.0
    assert longest([1.0, 1.1, 1.2, 5.0, 5.05]) == pytest.approx(0.2)
