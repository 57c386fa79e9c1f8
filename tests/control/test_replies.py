"""The memory of replies that may be asked for again."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.control.replies import KEEP, OVERHEAD, ReplyCache

HERE = ("192.0.2.1", 5060)
THERE = ("192.0.2.2", 5060)


@pytest.fixture
def cache() -> ReplyCache:
    """One that knows a reply of second 100."""
    cache = ReplyCache(entries=4, octets=10 * OVERHEAD)
    cache.store(HERE, b"1_1", b" V", b"1_1 20040107\n", 100.0)
    return cache


def test_a_repeated_command_has_its_first_reply(cache: ReplyCache) -> None:
    assert cache.find(HERE, b"1_1", b" V", 101.0) == b"1_1 20040107\n"


def test_another_source_has_not(cache: ReplyCache) -> None:
    assert cache.find(THERE, b"1_1", b" V", 101.0) is None
    assert cache.find((HERE[0], 5061), b"1_1", b" V", 101.0) is None


def test_another_cookie_has_not(cache: ReplyCache) -> None:
    assert cache.find(HERE, b"1_2", b" V", 101.0) is None


def test_another_command_has_not_and_replaces_the_reply(cache: ReplyCache) -> None:
    assert cache.find(HERE, b"1_1", b" I", 101.0) is None
    cache.store(HERE, b"1_1", b" I", b"1_1 E0\n", 101.0)
    assert cache.find(HERE, b"1_1", b" I", 102.0) == b"1_1 E0\n"
    assert cache.find(HERE, b"1_1", b" V", 102.0) is None
    assert len(cache) == 1


def test_replies_are_kept_for_35_seconds(cache: ReplyCache) -> None:
    assert KEEP == 35.0
    assert cache.find(HERE, b"1_1", b" V", 135.0) is not None
    assert cache.find(HERE, b"1_1", b" V", 135.001) is None


def test_what_is_too_old_is_forgotten_with_the_next_reply(cache: ReplyCache) -> None:
    cache.store(THERE, b"1_1", b" V", b"", 136.0)
    assert len(cache) == 1


def test_the_oldest_goes_where_there_are_too_many(cache: ReplyCache) -> None:
    for count in range(4):
        cache.store(THERE, b"%d" % count, b" V", b"", 101.0 + count)
    assert len(cache) == 4
    assert cache.find(HERE, b"1_1", b" V", 105.0) is None
    assert cache.find(THERE, b"0", b" V", 105.0) is not None


def test_a_replaced_reply_is_a_young_one(cache: ReplyCache) -> None:
    cache.store(THERE, b"0", b" V", b"", 101.0)
    cache.store(HERE, b"1_1", b" I", b"", 102.0)
    for count in range(1, 4):
        cache.store(THERE, b"%d" % count, b" V", b"", 103.0)
    assert cache.find(THERE, b"0", b" V", 103.0) is None
    assert cache.find(HERE, b"1_1", b" I", 103.0) is not None


def test_the_oldest_go_where_they_take_too_much_memory() -> None:
    cache = ReplyCache(entries=1000, octets=10 * OVERHEAD)
    for count in range(100):
        cache.store(HERE, b"%d" % count, b"x" * OVERHEAD, b"", 100.0)
    assert cache.octets <= 10 * OVERHEAD
    assert len(cache) == 4
    assert cache.find(HERE, b"99", b"x" * OVERHEAD, 100.0) is not None


def test_one_that_is_too_large_by_itself_is_not_kept() -> None:
    cache = ReplyCache(octets=OVERHEAD)
    cache.store(HERE, b"1", b" V", b"", 100.0)
    assert len(cache) == 0
    assert cache.octets == 0


class CacheMachine(RuleBasedStateMachine):
    """The cache beside a plain list of all replies ever given."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = ReplyCache(entries=5, octets=5 * OVERHEAD)
        self.now = 0.0
        self.latest: dict[tuple[Address, bytes], tuple[bytes, bytes, float]] = {}

    sources = st.sampled_from([HERE, THERE])
    cookies = st.sampled_from([b"a", b"bb", b"ccc"])
    commands = st.sampled_from([b"V", b"I"])

    @rule(seconds=st.sampled_from([0.0, 1.0, 20.0, 35.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(source=sources, cookie=cookies, command=commands, reply=st.binary(max_size=300))
    def answer(self, source: Address, cookie: bytes, command: bytes, reply: bytes) -> None:
        self.cache.store(source, cookie, command, reply, self.now)
        self.latest[source, cookie] = (command, reply, self.now)

    @rule(source=sources, cookie=cookies, command=commands)
    def repeat(self, source: Address, cookie: bytes, command: bytes) -> None:
        found = self.cache.find(source, cookie, command, self.now)
        known = self.latest.get((source, cookie))
        if found is not None:
            assert known is not None
            assert known[:2] == (command, found)
            assert self.now - known[2] <= KEEP

    @invariant()
    def it_is_bounded(self) -> None:
        assert len(self.cache) <= 5
        assert 0 <= self.cache.octets <= 5 * OVERHEAD
        assert (self.cache.octets == 0) == (len(self.cache) == 0)


TestCache = CacheMachine.TestCase
TestCache.settings = settings(deadline=None, max_examples=50, stateful_step_count=30)
