"""The check after each row notices what it is there for: each invariant broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.hostile.exemptions import GROWTH
from tests.hostile.relay import State
from tests.hostile.watch import GROWN, Watch

QUIET = {0.01: 900.0, 0.05: 1000.0, 1.0: 1000.0}
"""A histogram of the reactor's lateness: never more than 50 ms."""


@dataclass
class FakeRelay:
    """All that the check asks a relay."""

    running: bool = True
    reply: str = "20040107"
    now: State = field(default_factory=lambda: State(2, 8, 40, 12))
    resident: int = 50 << 20
    lateness: dict[float, float] = field(default_factory=lambda: dict(QUIET))
    without_processor: float = 0.0
    logged: str = "INFO started\n"

    def ask(self, command: str) -> str:
        return self.reply

    def state(self) -> State:
        return self.now

    def memory(self) -> int:
        return self.resident

    def lag(self) -> dict[float, float]:
        return dict(self.lateness)

    def log(self) -> str:
        return self.logged

    def waited(self) -> float:
        return self.without_processor


@dataclass
class FakeBystanders:
    """Calls that have lost so many packets."""

    sent: int = 100
    missing: int = 0
    delays: list[float] = field(default_factory=list)

    def lost(self, since: int = 0) -> int:
        return self.missing


class FakeWorld:
    """A relay, and calls that go on."""

    def __init__(self) -> None:
        self.relay = FakeRelay()
        self.bystanders = FakeBystanders()
        self.memory = self.relay.memory()


def more(**what: int) -> Callable[[FakeWorld], None]:
    """So many more of that than before."""

    def plant(world: FakeWorld) -> None:
        now = world.relay.now
        world.relay.now = replace(now, **{k: getattr(now, k) + v for k, v in what.items()})

    return plant


def on_relay(**what: Any) -> Callable[[FakeWorld], None]:
    """The relay is like that."""

    def plant(world: FakeWorld) -> None:
        for name, value in what.items():
            setattr(world.relay, name, value)

    return plant


def lose_a_packet(world: FakeWorld) -> None:
    world.bystanders.missing = 1


def be_late(world: FakeWorld) -> None:
    world.relay.lateness = {0.01: 900.0, 0.05: 1000.0, 1.0: 1100.0}


def leak_slowly(world: FakeWorld) -> None:
    """No row left much, and all of them together did."""
    world.memory = world.relay.resident - GROWN - 1


VIOLATIONS: dict[str, tuple[Callable[[FakeWorld], None], str]] = {
    "a session": (more(sessions=1), "before"),
    "ports": (more(ports=2), "before"),
    "a descriptor": (more(descriptors=1), "before"),
    "timers": (more(timers=2), "before"),
    "a packet of other calls": (lose_a_packet, "lost 1 packets"),
    "a traceback": (
        on_relay(logged="INFO started\nTraceback (most recent call last)\n"),
        "Traceback",
    ),
    "a flood of warnings": (on_relay(logged="INFO started\n" + 100 * "1 WARN x\n"), "WARN"),
    "memory": (on_relay(resident=(50 << 20) + GROWTH), "memory"),
    "memory, little by little": (leak_slowly, "memory"),
    "a late reactor": (be_late, "late"),
    "a dead process": (on_relay(running=False), "started"),
    "a process that answers nonsense": (on_relay(reply="E0"), "nonsense"),
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not come back is not waited for."""
    monkeypatch.setattr("tests.hostile.watch.PATIENCE", 0.0)


def test_a_world_that_is_as_before_passes() -> None:
    world = FakeWorld()
    watch = Watch(world)  # type: ignore[arg-type]  # all of one that is asked
    world.relay.logged += "1 WARN once\n"
    watch.check()


@pytest.mark.parametrize("what", VIOLATIONS)
def test_what_is_left_or_lost_is_noticed(what: str) -> None:
    plant, told = VIOLATIONS[what]
    world = FakeWorld()
    watch = Watch(world)  # type: ignore[arg-type]
    plant(world)
    with pytest.raises(AssertionError, match=told):
        watch.check()


def test_a_process_that_had_no_processor_may_be_late() -> None:
    world = FakeWorld()
    watch = Watch(world)  # type: ignore[arg-type]
    be_late(world)
    world.relay.without_processor = 0.2
    watch.check()
