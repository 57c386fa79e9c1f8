"""When an owner is thought to be dead, what waits to be written, when a store is asked."""

from __future__ import annotations

import pytest

from rtpproxy_tw.cluster.breaker import LONGEST, Breaker
from rtpproxy_tw.cluster.location import Location, read_location
from rtpproxy_tw.cluster.pending import MOST_GONE, Pending, name_of
from rtpproxy_tw.cluster.store import Owner
from rtpproxy_tw.cluster.watch import VACANT, Watch
from rtpproxy_tw.latch import StrictLatch
from rtpproxy_tw.session import Ending, Session, SessionKey, new_session


def session(name: str) -> Session:
    return new_session(SessionKey(name, "tag"), 0.0, 60.0, StrictLatch)


def test_an_owner_whose_beat_stands_still_for_a_lease_is_dead() -> None:
    watch = Watch(1.0)
    owner = Owner("one", 1, 5)
    dead = [watch.see(owner, at / 4) for at in range(6)]
    assert dead == [False, False, False, False, True, True]


def test_an_owner_that_beats_lives_whatever_its_clock_says() -> None:
    watch = Watch(1.0)
    assert not any(watch.see(Owner("one", 1, beat), beat / 4) for beat in range(100))
    assert watch.is_alive(24.9)


def test_a_store_that_was_away_tells_nothing_about_the_owner() -> None:
    watch = Watch(1.0)
    owner = Owner("one", 1, 5)
    assert not watch.see(owner, 0.0)
    watch.blind()
    assert not watch.see(owner, 60.0)  # the store was frozen, and so was the beat
    assert not watch.see(owner, 60.9)
    assert watch.see(owner, 61.0) is False  # asked too seldom to know
    assert [watch.see(owner, 61.0 + at / 4) for at in range(1, 6)][-1]


def test_what_was_given_up_is_free_at_once() -> None:
    assert Watch(1.0).see(Owner("", 3), 0.0)


def test_a_store_without_memory_is_no_reason_to_take_anything_over() -> None:
    watch = Watch(1.0)
    watch.see(Owner("one", 4, 1), 0.0)
    assert not any(watch.see(None, at / 4) for at in range(1, 40))
    fresh, known = Watch(1.0), Watch(1.0)
    fresh.see(None, 0.0)
    assert fresh.is_vacant(0.0)
    known.see(Owner("one", 4, 1), 0.0)
    vacant = []
    for at in range(1, 20):
        known.see(None, at / 4)
        vacant.append(known.is_vacant(at / 4))
    assert vacant.index(True) == VACANT * 4


def test_many_changes_of_a_session_are_one_line_of_its_last_state() -> None:
    states = {"a": b"1"}
    pending = Pending(lambda session: states[session.key.call_id])
    one = session("a")
    for state in (b"1", b"2", b"3"):
        states["a"] = state
        pending.changed(one)
    assert len(pending) == 1
    batch, _ = pending.take()
    assert batch.changed == {name_of(one): b"3"}
    assert not len(pending)


def test_what_was_not_written_waits_unless_it_has_changed_since() -> None:
    pending = Pending(lambda session: b"{}")
    one, two = session("a"), session("b")
    pending.changed(one)
    pending.changed(two)
    batch, sessions = pending.take()
    two.ended = Ending.DELETED
    pending.gone(two)
    pending.put_back(batch, sessions)
    batch, _ = pending.take()
    assert list(batch.changed) == [name_of(one)]
    assert list(batch.gone) == [name_of(two)]


def test_what_waits_is_as_old_as_its_first() -> None:
    now = 1.0
    pending = Pending(lambda session: b"{}", lambda: now)
    pending.changed(session("a"))
    now = 5.0
    pending.changed(session("b"))
    assert pending.since == 1.0
    batch, sessions = pending.take()
    pending.put_back(batch, sessions)
    assert pending.since == 1.0
    pending.take()
    pending.changed(session("c"))
    assert pending.since == 5.0


def test_there_is_a_bound_to_what_waits() -> None:
    pending = Pending(lambda session: b"{}")
    for number in range(MOST_GONE + 5):
        pending.forget(str(number))
    assert len(pending) == MOST_GONE
    assert pending.incomplete


def test_after_a_failure_one_try_at_a_time_is_let_through() -> None:
    breaker = Breaker()
    assert breaker.admits(0.0)
    assert breaker.admits(0.0)
    breaker.failed("no", 0.0)
    assert not breaker.admits(0.05)
    assert breaker.admits(0.1)
    assert not breaker.admits(0.1)
    for at in range(1, 20):
        breaker.failed("no", float(at))
        assert not breaker.admits(at + 0.05)
        assert breaker.admits(at + LONGEST)
    breaker.succeeded()
    assert breaker.closed
    assert breaker.admits(20.0)


@pytest.mark.parametrize(
    "text, location",
    [
        ("redis://h", Location((("h", 6379),))),
        ("redis://:p%40w@h:7/2", Location((("h", 7),), password="p@w", database=2)),
        ("rediss://u:p@[::1]", Location((("::1", 6379),), tls=True, user="u", password="p")),
        ("rediss://h/1?ca=/ca.pem", Location((("h", 6379),), tls=True, ca="/ca.pem", database=1)),
        ("unix:///run/redis.sock", Location(path="/run/redis.sock")),
        (
            "sentinel://:p@a,b:1/main/3",
            Location((("a", 26379), ("b", 1)), master="main", password="p", database=3),
        ),
        (
            "sentinels://a/main?ca=/a+b.pem&sentinel=u:p%40w",
            Location(
                (("a", 26379),),
                tls=True,
                ca="/a+b.pem",
                master="main",
                sentinel_user="u",
                sentinel_password="p@w",
            ),
        ),
    ],
)
def test_urls_say_where_redis_is(text: str, location: Location) -> None:
    assert read_location(text) == location
    assert "p@w" not in repr(location) + location.text


@pytest.mark.parametrize(
    "text",
    [
        *("", "redis://", "http://h", "redis://a,b", "redis://h/x", "sentinel://a", "unix://x"),
        *(
            "redis://h?ca=/x",
            "rediss://h?ca=x",
            "rediss://h?cafile=/x",
            "sentinels://a/m?sentinel=",
        ),
        *("sentinel://a/m?ca=/x", "redis://h?sentinel=x"),
    ],
)
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_location(text)
