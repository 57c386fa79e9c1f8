"""The benchmark of an open dashboard runs; no figure is tested."""

from __future__ import annotations

from bench.dashboard import measure


def test_the_first_list_and_what_follows_are_measured() -> None:
    cost = measure(300)
    assert cost.first > 300 * 500
    assert 250 * 500 < cost.each < cost.first  # the figures of 250 calls, of 300
    assert cost.longest > 0
    assert cost.share > 0
