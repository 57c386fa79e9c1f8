"""Packets and octets in metrics as they went: by the process, by the kernel, from a prompt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rtpproxy_tw.reporting.exposition import text_of
from rtpproxy_tw.reporting.metrics import Metrics
from rtpproxy_tw.reporting.tally import Census, Traffic
from tests.fakes import Bench
from tests.media.playing import Stage
from tests.media.test_fastpath import Carried
from tests.reporting.test_metrics import value


def told(bench: Bench) -> str:
    """The metrics' text."""
    metrics = Metrics(clock=bench.clock, totals=bench.totals, version="1")
    census = Census(Traffic())
    for session in bench.registry:
        census.add(session, bench.clock.seconds())
    return text_of(metrics.families(census)).decode()


def amounts(text: str) -> Iterator[tuple[str, str, float, float]]:
    """Direction, path, packets and octets of RTP."""
    for direction in ("in", "out"):
        for path in ("user", "kernel"):
            labels = {"proto": "rtp", "dir": direction, "path": path}
            packets = value(text, "relay_packets_total", **labels)
            octets = value(text, "relay_bytes_total", **labels)
            yield direction, path, packets, octets


def test_a_prompt_goes_out_though_nothing_came_in(tmp_path: Path) -> None:
    stage = Stage(tmp_path).call()
    stage.prompt("p.0", 1000)
    stage.play()
    stage.run(0.3)
    assert list(amounts(told(stage.bench))) == [
        ("in", "user", 0, 0),
        ("in", "kernel", 0, 0),
        ("out", "user", 12, 12 * (12 + 80)),
        ("out", "kernel", 0, 0),
    ]


def test_the_kernels_packets_are_told_apart_from_those_before() -> None:
    bench = Carried()
    bench.talk(50)
    for session in bench.registry:
        bench.plane.refresh(session)
    rows = {(direction, path): packets for direction, path, packets, _ in amounts(told(bench))}
    for direction in ("in", "out"):
        assert rows[direction, "kernel"] > 0
        assert rows[direction, "user"] > 0
        assert rows[direction, "user"] + rows[direction, "kernel"] == 100
    for direction, path, packets, octets in amounts(told(bench)):
        assert octets % packets == 0, (direction, path)
