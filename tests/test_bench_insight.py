"""The benchmarks of looking into the relay run; no figure is tested."""

from __future__ import annotations

import shutil

import pytest

from bench import insight, scrape


@pytest.mark.network
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc, which builds the load, is missing")
def test_each_way_of_looking_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--calls", "3", "--rate", "300", "--seconds", "0.3", "--repeats", "1", "--nice", "0"]
    assert insight.main([*few, "--trace"]) in (0, 1)
    heading, blind, askable, everything, traced, verdict = capsys.readouterr().out.splitlines()
    assert heading.split() == ["processor", "more", "ratio", "lost"]
    for line, name in (
        *((blind, "blind"), (askable, "askable"), (everything, "everything")),
        (traced, "traced"),
    ):
        assert line.split()[0] == name
        assert line.split()[-1] == "0"
    assert "the promise of 5 %" in verdict


def test_every_turn_of_a_scrape_and_of_a_list_is_timed() -> None:
    found = {turns.name: turns for turns in scrape.measure(50)}
    assert found["/metrics"].octets > 5000
    assert found["list of calls"].octets > 50 * 100
    for turns in found.values():
        assert turns.times
        assert sum(turns.times) >= turns.longest > 0
