"""The table of what is aimed at: a verdict says what the figures say, and no more."""

from __future__ import annotations

import pytest

from bench import acceptance
from bench.results import Better, Section

COST = "CPU of the process at 100 kpps"
LOST = "lost or late at 100 kpps"


def media(**quantities: dict[str, list[float]]) -> Section:
    """A section with ``cost`` and ``lost`` of contestants."""
    section = Section("media", "Media")
    names = {"cost": COST, "lost": LOST, "highest": "highest rate with < 0.1 % lost"}
    for short, values in quantities.items():
        better = Better.MORE if short == "highest" else Better.LESS
        section.quantity(names[short], "", better).values.update(values)
    return section


def verdict(aim: str, *sections: Section) -> acceptance.Verdict:
    """The one on that aim."""
    (found,) = [each for each in acceptance.judged(sections) if each.aim == aim]
    return found


@pytest.mark.parametrize(
    "ours, said",
    [
        ([160.0, 170.0, 200.0], "met in every repeat"),
        ([150.0, 170.0, 200.0], "met"),
        ([150.0, 159.0, 200.0], "not met"),
        ([160.0], "met"),
    ],
)
def test_the_median_decides_and_the_spread_is_told(ours: list[float], said: str) -> None:
    section = media(highest={"relay": ours, "engine": [100.0] * len(ours)})
    found = verdict("highest rate, to the engine's", section)
    assert found.verdict == said
    assert found.measured.endswith("x")


def test_what_took_no_part_is_not_measured() -> None:
    section = media(highest={"relay": [100.0], "engine": [50.0]})
    assert verdict("highest rate, to rtpengine's", section).verdict == "not measured"
    assert {each.verdict for each in acceptance.judged([])} == {"not measured"}


def test_who_loses_packets_is_not_compared_by_what_the_others_cost() -> None:
    """The more are lost, the less there is to do for each."""
    costs = {"relay": [8.0, 8.0, 8.0], "rtpengine": [4.0, 10.0, 16.0]}
    lost = {"relay": [0.0, 0.0, 0.0], "rtpengine": [20.0, 0.0, 0.5]}
    aim = "CPU per packet at 100 kpps, to rtpengine's, same work"
    found = verdict(aim, media(cost=costs, lost=lost))
    assert found.measured == "1.62 (1.25 to 2.00) x"
    assert found.verdict == "met in every repeat"
    lost["rtpengine"] = [20.0, 20.0, 20.0]
    assert verdict(aim, media(cost=costs, lost=lost)).verdict == "not measured"


def test_of_what_is_to_be_little_less_is_better() -> None:
    section = Section("heard", "Heard")
    section.quantity("p99, recordings", "us", Better.LESS).values["relay"] = [4900.0, 5100.0, 700.0]
    found = verdict("p99 at 50 kpps, recordings", section)
    assert found.measured == "4.9 (0.7 to 5.1) ms"
    assert found.verdict == "met"


def test_the_table_has_a_line_for_every_aim() -> None:
    lines = acceptance.table([]).splitlines()
    assert len(lines) == len(acceptance.AIMS) + 4
    assert all("not measured" in line for line in lines[4:])
