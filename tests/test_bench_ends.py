"""The ends of the world, with a few calls."""

from __future__ import annotations

import pytest

from bench import namespaces
from bench.ends.__main__ import HEADING, Told, run
from bench.ends.faults import FAULTS, Fault, missing

pytestmark = [
    *(pytest.mark.network, pytest.mark.hostile),
    pytest.mark.skipif(namespaces.missing() is not None, reason=str(namespaces.missing())),
]


def fault(name: str) -> Fault:
    """Of that name."""
    return next(each for each in FAULTS if each.name == name)


@pytest.fixture(autouse=True)
def soon_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing lasts as long as where it is measured."""
    monkeypatch.setattr("bench.ends.__main__.BEFORE", 0.2)
    monkeypatch.setattr("bench.ends.faults.HELD", 0.5)


def happens(name: str) -> Told:
    """What comes of it, amid four calls."""
    if (why := missing(fault(name))) is not None:
        pytest.skip(why)
    told = run(fault(name), calls=4, pace=20.0, seconds=3.0)
    assert told.outcome.offered > 0
    assert len(told.cells()) == len(HEADING)
    return told


@pytest.mark.parametrize("name", ["kill", "stop", "clock", "disk", "memory", "names"])
def test_calls_outlive_it_without_a_loss(name: str) -> None:
    told = happens(name)
    assert (told.lost, told.kept, told.takes_calls) == (0, 4, True)


def test_a_device_that_is_down_costs_what_was_sent_meanwhile() -> None:
    told = happens("network")
    assert 0 < told.lost < told.outcome.offered / 2
    assert (told.kept, told.takes_calls) == (4, True)


def test_what_is_lost_is_counted() -> None:
    """A relay that is killed and has nobody to keep its sockets."""
    told = happens("kill-alone")
    assert told.lost > 0
    assert told.kept == 0
    assert told.takes_calls


def test_every_end_of_the_world_is_tried() -> None:
    assert {each.name for each in FAULTS} == {
        *("kill", "stop", "clock", "disk", "memory", "names", "network", "kill-alone")
    }


def test_what_cannot_be_done_here_is_told() -> None:
    for each in FAULTS:
        assert missing(each) is None or each.faked_clock
