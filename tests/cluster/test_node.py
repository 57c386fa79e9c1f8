"""Nodes of one cluster on a store in memory: who owns an address, and what becomes of its calls."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from twisted.internet.task import Clock

from rtpproxy_tw.cluster.memory import MemoryStore, Shared
from rtpproxy_tw.cluster.node import Node
from rtpproxy_tw.latch import StrictLatch
from rtpproxy_tw.session import Ending, Session, SessionKey, new_session

A, B = "192.0.2.1", "192.0.2.2"


class FakeCalls:
    """Sessions that are nothing but a name and an address."""

    def __init__(self) -> None:
        self.sessions: dict[str, tuple[Session, str]] = {}
        self.here = True
        self.left: list[str] = []

    def add(self, name: str, address: str) -> Session:
        """A session begins, or goes on."""
        made = new_session(SessionKey(name, "t"), 0.0, 60.0, StrictLatch)
        self.sessions[name] = made, address
        return made

    def all(self) -> Sequence[Session]:
        return [session for session, _ in self.sessions.values()]

    def address_of(self, session: Session) -> str:
        return self.sessions[session.key.call_id][1]

    def record(self, session: Session) -> bytes:
        return json.dumps([session.key.call_id, self.address_of(session)]).encode()

    def mark(self, session: Session) -> object:
        return None

    def restore(self, lines: Iterable[bytes]) -> int:
        refused = 0
        for line in lines:
            try:
                name, address = json.loads(line)
            except ValueError:
                refused += 1
            else:
                if name not in self.sessions:
                    self.add(name, address)
        return refused

    def restored(self) -> None:
        pass

    def leave(self, session: Session) -> None:
        session.ended = Ending.MOVED
        del self.sessions[session.key.call_id]
        self.left.append(session.key.call_id)

    def is_here(self, address: str) -> bool:
        return self.here

    def about(self) -> dict[str, Any]:
        return {}


class World:
    """Nodes, and the time that passes for all of them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.shared = Shared()
        self.nodes: dict[str, tuple[Node, FakeCalls, MemoryStore]] = {}
        self.running: set[str] = set()

    def node(self, name: str, own: str, standby: str) -> Node:
        """A new node."""
        calls, store = FakeCalls(), MemoryStore(self.shared, self.clock.seconds)
        made = Node(
            name=name,
            store=store,
            clock=self.clock,
            calls=calls,
            own=[own],
            standby=[standby],
            lease=1.0,
            now=self.clock.seconds,
        )
        self.nodes[name] = made, calls, store
        self.running.add(name)
        return made

    def run(self, seconds: float) -> None:
        """Time passes."""
        for _ in range(int(seconds * 4)):
            for name in sorted(self.running):
                self.nodes[name][0].tick()
            for _ in range(25):
                self.clock.advance(0.01)

    def calls(self, name: str) -> set[str]:
        """The calls that node has."""
        return set(self.nodes[name][1].sessions)


@pytest.fixture
def world() -> World:
    made = World()
    made.node("one", A, B)
    made.node("two", B, A)
    made.run(1)
    for name in ("x", "y"):
        made.nodes["one"][0].changed(made.nodes["one"][1].add(name, A))
    made.run(0.5)
    return made


def owner(world: World, address: str) -> str:
    return world.shared.owners[address].node


def test_each_node_owns_what_is_its_own_and_writes_its_calls_down(world: World) -> None:
    assert (owner(world, A), owner(world, B)) == ("one", "two")
    assert set(world.shared.sessions[A]) == {"x\nt", "y\nt"}
    assert world.shared.calls == {"x": A, "y": A}


def test_the_calls_of_a_dead_node_go_on_with_another_one(world: World) -> None:
    world.running.discard("one")
    world.run(2)
    assert owner(world, A) == "two"
    assert world.calls("two") == {"x", "y"}


def test_a_node_that_slept_writes_nothing_and_gives_up_what_is_not_where_it_is(
    world: World,
) -> None:
    one, calls, _ = world.nodes["one"]
    calls.here = False
    world.running.discard("one")
    world.run(2)
    world.shared.sessions[A]["mark"] = b"kept"
    one.changed(calls.add("late", A))
    world.clock.advance(0.1)
    assert "late\nt" not in world.shared.sessions[A]
    world.running.add("one")
    world.run(1)
    assert owner(world, A) == "two"
    assert not calls.sessions
    assert one.splits == 1


def test_a_node_that_slept_takes_back_what_packets_still_come_to(world: World) -> None:
    calls = world.nodes["one"][1]
    world.nodes["two"][1].here = False
    world.running.discard("one")
    world.run(2)
    assert owner(world, A) == "two"
    world.running.add("one")
    world.run(1.5)
    assert owner(world, A) == "one"
    assert world.calls("one") == {"x", "y"}
    assert calls.left == []
    assert world.calls("two") == set()


def test_an_emptied_store_is_filled_again_and_nobody_takes_anything_over(world: World) -> None:
    for kept in (world.shared.owners, world.shared.sessions, world.shared.calls):
        kept.clear()
    world.run(5)
    assert (owner(world, A), owner(world, B)) == ("one", "two")
    assert set(world.shared.sessions[A]) == {"x\nt", "y\nt"}
    assert world.nodes["one"][0].splits == world.nodes["two"][0].splits == 0


def test_an_outage_of_the_store_ends_nothing_and_all_is_written_afterwards(world: World) -> None:
    one, calls, _ = world.nodes["one"]
    for _, _, each in world.nodes.values():
        each.broken = True
    world.run(60)
    gone, _ = calls.sessions.pop("y")
    calls.sessions["y"] = gone, A
    gone.ended = Ending.DELETED
    one.gone(gone)
    del calls.sessions["y"]
    one.changed(calls.add("z", A))
    world.run(1)
    for _, _, each in world.nodes.values():
        each.broken = False
    world.run(3)
    assert (owner(world, A), owner(world, B)) == ("one", "two")
    assert set(world.shared.sessions[A]) == {"x\nt", "z\nt"}


def test_an_address_is_handed_over_and_back_by_command(world: World) -> None:
    two = world.nodes["two"][0]
    two.give = lambda node, address: world.nodes[node][0].hand_over(address)
    one = world.nodes["one"][0]
    one.give = lambda node, address: world.nodes[node][0].hand_over(address)
    two.take_over(A, "a test says so")
    world.run(2)
    assert owner(world, A) == "two"
    assert (world.calls("one"), world.calls("two")) == (set(), {"x", "y"})
    one.take_over(A, "a test says so")
    world.run(2)
    assert owner(world, A) == "one"
    assert (world.calls("one"), world.calls("two")) == ({"x", "y"}, set())


def test_an_address_that_comes_to_a_host_is_taken_over_there(world: World) -> None:
    one, two = world.nodes["one"], world.nodes["two"]
    two[0].give = lambda node, address: world.nodes[node][0].hand_over(address)
    two[1].here = False
    world.run(1)
    assert owner(world, A) == "one"
    one[1].here, two[1].here = False, True
    world.run(1)
    assert owner(world, A) == "two"
    assert (world.calls("one"), world.calls("two")) == (set(), {"x", "y"})


def test_a_node_that_stops_leaves_its_calls_to_whoever_stands_by(world: World) -> None:
    world.nodes["one"][0].leave()
    world.running.discard("one")
    assert world.calls("one") == set()
    world.run(0.5)
    assert owner(world, A) == "two"
    assert world.calls("two") == {"x", "y"}


def test_a_node_that_stops_with_nobody_to_take_over_leaves_nothing_behind(world: World) -> None:
    world.running.discard("two")
    world.run(6)
    world.nodes["one"][0].leave()
    assert world.calls("one") == {"x", "y"}  # to be ended by whoever stops the relay
    assert world.shared.sessions[A] == {}


def test_a_damaged_record_is_left_out_and_taken_away(world: World) -> None:
    world.shared.sessions[A]["bad"] = b"{"
    world.running.discard("one")
    world.run(3)
    assert world.calls("two") == {"x", "y"}
    assert "bad" not in world.shared.sessions[A]
    assert world.nodes["two"][0].holdings[A].refused == 1


def test_a_node_of_the_same_name_goes_on_at_once(world: World) -> None:
    world.running.discard("one")
    world.node("one", A, B)
    world.run(0.5)
    assert owner(world, A) == "one"
    assert world.calls("one") == {"x", "y"}


def test_an_address_that_comes_to_a_host_is_taken_over_without_waiting_for_a_beat(
    world: World,
) -> None:
    two, calls, _ = world.nodes["two"]
    calls.here = False
    world.run(1)
    calls.here = True
    two.addresses_changed()
    assert owner(world, A) == "two"
    assert world.calls("two") == {"x", "y"}


def test_addresses_that_were_always_here_are_no_news(world: World) -> None:
    world.nodes["two"][0].addresses_changed()
    assert owner(world, A) == "one"


def test_what_a_node_began_without_knowing_of_the_owner_is_left_to_that_one(world: World) -> None:
    calls = world.nodes["two"][1]
    calls.add("orphan", A)
    world.run(1)
    assert calls.left == []  # it was looked at when the owner was first seen
    world.nodes["two"][2].broken = True
    world.run(1)
    world.nodes["two"][2].broken = False
    world.run(1)
    assert calls.left == ["orphan"]
    assert owner(world, A) == "one"


def test_what_was_begun_without_knowing_stays_where_the_packets_come(world: World) -> None:
    world.nodes["one"][1].here = False
    calls = world.nodes["two"][1]
    calls.add("mine", A)
    world.nodes["two"][2].broken = True
    world.run(1)
    world.nodes["two"][2].broken = False
    world.run(2)
    assert owner(world, A) == "two"
    assert world.calls("two") == {"mine", "x", "y"}
    assert calls.left == []


def test_time_ends_no_session_that_another_node_may_go_on_with(world: World) -> None:
    one, calls, store = world.nodes["one"]
    session = calls.sessions["x"][0]
    assert one.may_end(session)
    world.running.discard("one")  # held up: when it goes on, it has not been told for long
    world.run(3)
    assert not one.may_end(session)
    store.broken = True  # nobody can be asked, but packets come here
    assert one.may_end(session)
    calls.here = False
    assert not one.may_end(session)
