"""Port pools: nothing lost, nothing twice, the last freed used last."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rtpproxy_tw.errors import NoPortsLeft
from rtpproxy_tw.media.ports import AscendingPool, PortPool, ShuffledPool


def shuffled(low: int, high: int) -> ShuffledPool:
    """A pool with a reproducible order."""
    return ShuffledPool(low, high, random.Random(1).randrange)


@pytest.mark.parametrize("make", [shuffled, AscendingPool])
def test_every_pair_is_handed_out_once_and_then_none(make: type[AscendingPool]) -> None:
    """The whole range is used, even ports only."""
    pool = make(40000, 40008)
    assert sorted(pool.take() for _ in range(5)) == [40000, 40002, 40004, 40006, 40008]
    with pytest.raises(NoPortsLeft):
        pool.take()


@pytest.mark.parametrize("make", [shuffled, AscendingPool])
def test_a_range_of_one_pair_can_be_used_again_and_again(make: type[AscendingPool]) -> None:
    """The only pair is had again at once."""
    pool = make(40000, 40000)
    for _ in range(3):
        assert pool.take() == 40000
        pool.give_back(40000)


def test_the_order_is_not_ascending_by_default() -> None:
    """An attacker must not guess the next port from the last one."""
    pool = shuffled(35000, 64998)
    taken = [pool.take() for _ in range(100)]
    assert taken != sorted(taken)
    assert len(set(taken)) == 100


def test_a_pair_just_freed_is_reused_last() -> None:
    """Late packets of its old call find nobody for as long as can be."""
    pool = shuffled(40000, 40018)
    held = [pool.take() for _ in range(10)]
    for port in held[:-1]:
        pool.give_back(port)
    pool.give_back(held[-1])
    again = [pool.take() for _ in range(10)]
    assert again[-1] == held[-1]


def test_ascending_goes_on_after_the_last_used_one_and_wraps() -> None:
    """Freed ports wait for the next round, as in the original with -b."""
    pool = AscendingPool(40000, 40004)
    assert pool.take() == 40000
    pool.give_back(40000)
    assert [pool.take(), pool.take(), pool.take()] == [40002, 40004, 40000]


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of Python ``work`` takes."""
    count = 0
    before = sys.gettrace()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("make", [shuffled, AscendingPool])
@pytest.mark.parametrize("free", [1, 2, 1_000, 15_000])
def test_a_pair_is_found_in_few_steps_however_full_the_range_is(
    make: type[AscendingPool], free: int
) -> None:
    """The whole default range, and what is given back meanwhile is found again."""
    pool = make(35000, 64999)
    for _ in range(15_000 - free):
        pool.take()
    taken: list[int] = [pool.take()]

    def change() -> None:
        pool.give_back(taken.pop())
        taken.append(pool.take())

    steps = sum(lines_run(change) for _ in range(200))
    # Those that rest come into play together, once in a round of the range.
    assert steps <= 200 * 20 + 15_000


class Pools(RuleBasedStateMachine):
    """Any order of taking and giving back keeps the range whole."""

    def __init__(self) -> None:
        super().__init__()
        self.pools: list[PortPool] = [shuffled(1000, 1030), AscendingPool(1000, 1030)]
        self.held: list[list[int]] = [[], []]

    @rule(which=st.integers(0, 1))
    def take(self, which: int) -> None:
        """Take one, or learn that all are taken."""
        try:
            port = self.pools[which].take()
        except NoPortsLeft:
            assert len(self.held[which]) == 16
        else:
            assert port not in self.held[which]
            self.held[which].append(port)

    @precondition(lambda self: any(self.held))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """Give any one back."""
        which = data.draw(st.sampled_from([n for n in (0, 1) if self.held[n]]))
        port = data.draw(st.sampled_from(self.held[which]))
        self.held[which].remove(port)
        self.pools[which].give_back(port)

    @invariant()
    def whole(self) -> None:
        """Free and held make up the range."""
        for pool, held in zip(self.pools, self.held, strict=True):
            assert len(pool) + len(held) == 16


TestPools = Pools.TestCase
