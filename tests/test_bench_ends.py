"""The ends of the world, with a few calls."""

from __future__ import annotations

import pytest

from bench import namespaces
from bench.ends.__main__ import HEADING, run
from bench.ends.faults import FAULTS, Fault, missing

pytestmark = [
    *(pytest.mark.network, pytest.mark.hostile),
    pytest.mark.skipif(namespaces.missing() is not None, reason=str(namespaces.missing())),
]


def fault(name: str) -> Fault:
    """Of that name."""
    return next(each for each in FAULTS if each.name == name)


@pytest.mark.parametrize("name", ["kill", "memory"])
def test_calls_outlive_it_without_a_loss(name: str) -> None:
    told = run(fault(name), calls=4, pace=20.0, seconds=6.0)
    assert told.outcome.offered > 0
    assert (told.lost, told.kept, told.takes_calls) == (0, 4, True)
    assert len(told.cells()) == len(HEADING)


def test_what_is_lost_is_counted() -> None:
    """A relay that is killed and has nobody to keep its sockets."""
    told = run(fault("kill-alone"), calls=4, pace=20.0, seconds=6.0)
    assert told.lost > 0
    assert told.kept == 0
    assert told.takes_calls


def test_what_cannot_be_done_here_is_told() -> None:
    for each in FAULTS:
        assert missing(each) is None or each.faked_clock
