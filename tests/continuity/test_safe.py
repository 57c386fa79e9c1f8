"""What is given into safe keeping, and by which names."""

from __future__ import annotations

from collections.abc import Sequence

from rtpproxy_tw.continuity.safe import MOST_OCTETS, Safe, is_name, name_of

MAX_ARG_STRLEN = 131_072
"""Octets of one string of the environment, its end included (execve(2))."""


class FakeKeeper:
    """Holds what it is told to, unless it is busy."""

    def __init__(self) -> None:
        self.held: list[tuple[str, int]] = []
        self.busy = False

    def __call__(self, *fields: str, descriptors: Sequence[int] = ()) -> bool:
        """See Tell."""
        if self.busy:
            return False
        words = dict(field.split("=", 1) for field in fields)
        if "FDSTORE" in words:
            assert words["FDPOLL"] == "0"
            self.held += [(words["FDNAME"], each) for each in descriptors]
        else:
            self.held = [each for each in self.held if each[0] != words["FDNAME"]]
        return True

    def names(self) -> str:
        """As a later process finds them in its environment."""
        return "LISTEN_FDNAMES=" + ":".join(name for name, _ in self.held)


def test_names_are_short_and_different() -> None:
    names = [name_of(number) for number in range(70_000)]
    assert len(set(names)) == len(names)
    assert all(map(is_name, names))
    assert not any(map(is_name, ["", "rtpproxy-tw.socket", "unknown", "stored", "a:b", "ä"]))


def test_twenty_thousand_descriptors_fit_into_the_environment() -> None:
    """The kernel does not start a program that is passed longer names."""
    keeper = FakeKeeper()
    safe = Safe(keeper)
    assert all(safe.keep([1, 2]) for _ in range(10_000))
    assert len(keeper.held) == 20_000
    assert len(keeper.names()) < MAX_ARG_STRLEN


def test_what_would_not_fit_is_not_kept() -> None:
    """A relay that can be started without some of its calls is better than one that cannot."""
    keeper = FakeKeeper()
    safe = Safe(keeper)
    while safe.keep([1, 2]) is not None:
        pass
    assert MOST_OCTETS - 8 < len(keeper.names()) < MAX_ARG_STRLEN
    name = keeper.held[-1][0]
    safe.forget(name)
    assert safe.keep([3, 4]) is not None


def test_what_is_forgotten_is_let_go_of_even_by_a_busy_keeper() -> None:
    keeper = FakeKeeper()
    safe = Safe(keeper)
    one, two = safe.keep([1]), safe.keep([2])
    assert one is not None
    keeper.busy = True
    safe.forget(one)
    assert safe.keep([3]) is None
    assert len(keeper.held) == 2
    keeper.busy = False
    safe.flush()
    assert keeper.held == [(two, 2)]


def test_names_of_a_process_before_us_are_not_given_twice() -> None:
    """Forgetting one of ours would let go of theirs."""
    keeper = FakeKeeper()
    safe = Safe(keeper, [name_of(0), name_of(2)])
    assert [safe.keep([1]), safe.keep([1])] == [name_of(1), name_of(3)]
    safe.claim(name_of(0), 2)
    safe.forget_strangers()
    assert safe.names == {name_of(0), name_of(1), name_of(3)}
