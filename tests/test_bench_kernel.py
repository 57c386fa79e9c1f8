"""The bench of the kernel path: its verdicts, and one short run of a row where root may."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bench.kernel import limit
from bench.kernel.figures import Bound, Figure, table
from bench.kernel.plot import svg
from bench.kernel.relays import _bencode
from bench.machine import share_out, usable_cpus
from bench.plan import Progress
from rtpproxy_tw.media.kernel.path import Unavailable
from tests.kernel.network import require_namespaces


@pytest.mark.parametrize(
    "values, bound, met",
    [
        ([1.0, 2.0, 9.0], Bound.AT_MOST, True),
        ([1.0, 2.1, 2.2], Bound.AT_MOST, False),
        ([1.0, 2.0, 3.0], Bound.AT_LEAST, True),
        ([1.0, 1.9, 3.0], Bound.AT_LEAST, False),
        ([1.0], None, None),
    ],
)
def test_the_median_is_what_a_verdict_goes_by(
    values: list[float], bound: Bound | None, met: bool | None
) -> None:
    assert Figure("n", "u", values, bound, 2.0).met is met


def test_a_figure_is_told_with_its_threshold_and_verdict() -> None:
    *_, line = table([Figure("lost", "packets", [3], Bound.AT_MOST, 0, 0)]).splitlines()
    assert line.split() == ["lost", "packets", "3", "<=", "0", "NOT", "MET"]


def test_requests_to_rtpengine_are_dictionaries_in_order() -> None:
    assert _bencode({"b": ["x", "yz"], "a": "1"}) == b"d1:a1:11:bl1:x2:yzee"


@pytest.mark.kernel
def test_the_limit_is_measured_with_packets_that_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    require_namespaces()
    monkeypatch.setattr(limit, "SECONDS", 0.05)
    monkeypatch.setattr(limit, "FLOWS", (10, 20))
    try:
        figures = limit.growth(share_out(usable_cpus()), 0, 1, Progress(quiet=True))
    except Unavailable as error:
        pytest.skip(str(error))
    assert [figure.unit for figure in figures] == ["ns", "ns", "%"]
    assert all(figure.value > 0 for figure in figures[:2])


def test_growth_is_drawn_with_every_median() -> None:
    drawn = ElementTree.fromstring(svg({10: 700.0, 100: 720.0, 10_000: 800.0}, "ns & flows"))
    texts = {text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert {"700", "720", "800", "10", "100", "10,000", "ns & flows"} <= texts
