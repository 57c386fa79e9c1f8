"""What every store does, the one in memory and Redis alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from rtpproxy_tw.cluster.location import read_location
from rtpproxy_tw.cluster.memory import MemoryStore
from rtpproxy_tw.cluster.store import Batch, Owner
from tests.cluster.redis_server import PROGRAM, RedisServer
from tests.cluster.spinning import spin

A = "192.0.2.1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(
    params=[
        "memory",
        pytest.param(
            "redis",
            marks=[
                pytest.mark.network,
                pytest.mark.skipif(PROGRAM is None, reason="no redis-server here"),
            ],
        ),
    ]
)
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryStore()
        return
    from twisted.internet import reactor

    from rtpproxy_tw.cluster.redis import RedisStore

    running: RedisServer = request.getfixturevalue("server")
    running.ask("FLUSHALL")
    made = RedisStore(read_location(running.url), reactor, patience=5)
    yield made
    made.close()
    spin(lambda: None)


def result(deferred: Deferred[Any]) -> Any:
    """What it fires with."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    spin(lambda: bool(found))
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


def test_an_address_without_an_owner_is_taken_with_epoch_one(store: Any) -> None:
    assert result(store.owners([A])) == {A: None}
    assert result(store.take(A, "one", 0, True)) == Owner("one", 1, 0, True)
    assert result(store.owners([A])) == {A: Owner("one", 1, 0, True)}


def test_of_two_who_saw_the_same_epoch_only_the_first_takes_the_address(store: Any) -> None:
    result(store.take(A, "one", 0, True))
    assert result(store.take(A, "two", 1, False)) == Owner("two", 2, 0, False)
    assert result(store.take(A, "three", 1, True)) is None
    assert result(store.take(A, "three", 0, True)) is None


def test_a_beat_of_the_owner_is_written_down(store: Any) -> None:
    mine = result(store.take(A, "one", 0, True))._replace(beat=7, here=False)
    assert result(store.beat(A, mine)) == mine
    assert result(store.owners([A])) == {A: mine}


def test_whoever_was_replaced_learns_it_from_the_next_beat(store: Any) -> None:
    mine = result(store.take(A, "one", 0, True))
    other = result(store.take(A, "two", 1, True))
    assert result(store.beat(A, mine)) == other
    assert result(store.owners([A])) == {A: other}


def test_a_store_that_lost_its_memory_believes_the_owner(store: Any) -> None:
    mine = Owner("one", 5, 3, True)
    assert result(store.beat(A, mine)) == mine
    assert result(store.owners([A])) == {A: mine}


def test_of_two_with_the_same_epoch_the_one_that_is_written_down_is_the_owner(store: Any) -> None:
    other = result(store.take(A, "two", 0, True))
    assert result(store.beat(A, Owner("one", 1, 9, True))) == other


def test_only_the_owner_of_the_present_epoch_writes(store: Any) -> None:
    result(store.take(A, "one", 0, True))
    assert result(store.write(A, 1, Batch({"x": b"{1}"}, (), ["call"])))
    result(store.take(A, "two", 1, True))
    assert not result(store.write(A, 1, Batch({"x": b"{late}", "y": b"{}"}, ())))
    assert result(store.load(A)).lines == [b"{1}"]
    assert result(store.write(A, 2, Batch({}, ["x"])))
    assert result(store.names(A)) == set()


def test_nobody_writes_where_there_is_no_owner(store: Any) -> None:
    assert not result(store.write(A, 1, Batch({"x": b"{}"})))
    assert result(store.names(A)) == set()


def test_names_are_any_bytes_of_strangers(store: Any) -> None:
    name = "a\udcff\nb ü"
    result(store.take(A, "one", 0, True))
    result(store.write(A, 1, Batch({name: b"{}"}, (), [name])))
    assert result(store.names(A)) == {name}
    assert result(store.find(name)) == A
    result(store.write(A, 1, Batch({}, [name])))
    assert result(store.names(A)) == set()


def test_all_sessions_are_loaded_page_by_page(store: Any) -> None:
    lines = {f"call {number}": b'{"n":%d}' % number for number in range(1700)}
    result(store.take(A, "one", 0, True))
    result(store.write(A, 1, Batch(lines)))
    found, cursor, pages = [], "", 0
    while True:
        page = result(store.load(A, cursor))
        found += page.lines
        pages += 1
        cursor = page.cursor
        if not cursor:
            break
    assert sorted(found) == sorted(lines.values())
    assert pages > 1


def test_a_released_address_has_no_owner_but_keeps_its_epoch(store: Any) -> None:
    result(store.take(A, "one", 0, True))
    assert not result(store.release(A, 0))
    assert result(store.release(A, 1))
    assert result(store.owners([A]))[A].node == ""
    assert result(store.take(A, "two", 1, True)).epoch == 2


def test_a_call_is_found_where_it_was_last_written(store: Any) -> None:
    assert result(store.find("call")) is None
    for address in (A, "192.0.2.2"):
        result(store.take(address, "one", 0, True))
        result(store.write(address, 1, Batch({}, (), ["call"])))
    assert result(store.find("call")) == "192.0.2.2"


def test_nodes_are_known_as_long_as_they_tell(store: Any) -> None:
    assert result(store.nodes()) == {}
    result(store.tell("one", b'{"a":1}', 60))
    assert result(store.nodes()) == {"one": b'{"a":1}'}
    assert store.usable
