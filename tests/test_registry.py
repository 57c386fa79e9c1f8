"""The registry: finding, expiring, limits, and a model of it in plain dicts."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtpproxy_tw.commands import (
    Allocated,
    Delete,
    DeleteAll,
    Lookup,
    MediaOptions,
    NotFound,
    Number,
    Remote,
    SetTtl,
    Update,
)
from rtpproxy_tw.errors import CommandError
from rtpproxy_tw.session import Ending
from tests.contracts import rtp
from tests.fakes import Bench

F = Remote(("127.0.0.1", 5000))
T = Remote(("127.0.0.1", 6000))


def call(bench: Bench, call_id: str = "c", from_tag: str = "f", to_tag: str = "t") -> None:
    """A complete session."""
    bench.do(Update(call_id, from_tag, None, F))
    bench.do(Lookup(call_id, from_tag, to_tag, T))


def alive(bench: Bench) -> int:
    """How many sessions there are."""
    return len(bench.registry)


def test_an_idle_session_ends_after_its_ttl() -> None:
    """Between T and T+1 seconds after the last sign of life."""
    bench = Bench(ttl=60)
    call(bench)
    bench.clock.advance(59.9)
    assert alive(bench) == 1
    bench.clock.advance(1.1)
    assert alive(bench) == 0
    assert bench.observer.endings == [Ending.TIMEOUT]
    assert bench.totals.nsess_timeout == 1
    assert not bench.host.ports
    assert not bench.clock.getDelayedCalls()


def test_a_session_that_others_may_go_on_with_waits_until_that_is_known() -> None:
    bench = Bench(ttl=60)
    call(bench)
    known = False
    bench.registry.may_end = lambda session: known
    bench.clock.advance(61)
    bench.clock.advance(30)
    assert alive(bench) == 1
    known = True
    bench.clock.advance(1.1)
    assert alive(bench) == 0
    assert bench.observer.endings == [Ending.TIMEOUT]


def test_a_packet_postpones_the_end_without_touching_the_timer() -> None:
    """One timer per session, none per packet."""
    bench = Bench(ttl=60)
    call(bench)
    bench.clock.advance(30)
    bench.host.deliver(rtp(), ("127.0.0.1", 5000), ("127.0.0.1", 40002))
    assert [timer.getTime() for timer in bench.clock.getDelayedCalls()] == [60.0]
    bench.clock.advance(59)
    assert alive(bench) == 1
    bench.clock.advance(2)
    assert alive(bench) == 0


def test_rtcp_alone_keeps_a_session_alive() -> None:
    """A held party sends RTCP only."""
    bench = Bench(ttl=60)
    call(bench)
    for _ in range(4):
        bench.clock.advance(30)
        bench.host.deliver(
            b"\x80\xc9\x00\x01" + b"s" * 4, ("127.0.0.1", 5001), ("127.0.0.1", 40003)
        )
    assert alive(bench) == 1


def test_a_stranger_keeps_nothing_alive() -> None:
    """Packets refused by the source check do not count."""
    bench = Bench(ttl=60)
    call(bench)
    bench.host.deliver(rtp(), ("127.0.0.1", 5000), ("127.0.0.1", 40002))
    for _ in range(3):
        bench.clock.advance(20.5)
        bench.host.deliver(rtp(1, 99), ("192.0.2.9", 9), ("127.0.0.1", 40002))
    assert alive(bench) == 0


def test_packets_of_one_direction_are_enough_unless_each_has_its_own_ttl() -> None:
    """The original's -i ends one-way sessions."""
    for independent, left in ((False, 1), (True, 0)):
        bench = Bench(ttl=60, independent=independent)
        call(bench)
        for _ in range(3):
            bench.clock.advance(25)
            bench.host.deliver(rtp(), ("127.0.0.1", 5000), ("127.0.0.1", 40002))
        assert alive(bench) == left


def test_the_setup_ttl_holds_until_the_second_leg() -> None:
    """-W, then -T."""
    bench = Bench(ttl=60, setup_ttl=10)
    bench.do(Update("c", "f", None, F))
    bench.clock.advance(9)
    bench.do(Lookup("c", "f", "t", T))
    bench.clock.advance(50)
    assert alive(bench) == 1
    bench.do(Update("d", "f", None, F))
    bench.clock.advance(11)
    assert alive(bench) == 0


def test_a_ttl_set_by_command_replaces_the_configured_one_for_good() -> None:
    """Also one set before completion; a shorter one takes effect at once."""
    bench = Bench(ttl=60)
    bench.do(Update("c", "f", None, F, subs=(SetTtl(5),)))
    bench.do(Lookup("c", "f", "t", T))
    bench.clock.advance(4)
    bench.host.deliver(rtp(), ("127.0.0.1", 5000), ("127.0.0.1", 40002))
    bench.clock.advance(4.5)
    assert alive(bench) == 1
    bench.clock.advance(1)
    assert alive(bench) == 0


def test_a_held_call_may_be_given_more_time() -> None:
    """--hold-timeout; off by default."""
    for hold_timeout, left in ((0, 0), (600, 1)):
        bench = Bench(ttl=60, hold_timeout=hold_timeout)
        call(bench)
        bench.do(Update("c", "f", "t", Remote(hold=True)))
        bench.clock.advance(61)
        bench.clock.advance(61)
        assert alive(bench) == left
    bench.do(Update("c", "f", "t", F))
    bench.clock.advance(61)
    assert alive(bench) == 0


def test_no_session_outlives_the_maximum_duration() -> None:
    """--max-duration ends even a busy call."""
    bench = Bench(ttl=60, max_duration=100)
    call(bench)
    for _ in range(11):
        bench.clock.advance(10)
        bench.host.deliver(rtp(), ("127.0.0.1", 5000), ("127.0.0.1", 40002))
    assert bench.observer.endings == [Ending.MAX_DURATION]
    assert bench.totals.nsess_timeout == 0


def test_the_number_of_sessions_can_be_limited() -> None:
    """--max-sessions answers E72; existing ones go on."""
    bench = Bench(max_sessions=1)
    call(bench)
    with pytest.raises(CommandError, match="E72"):
        bench.do(Update("d", "f", None, F))
    assert isinstance(bench.do(Update("c", "f", "t", F)), Allocated)


def test_a_call_has_at_most_32_media() -> None:
    """Thousands of tags for one call take no more ports than that."""
    bench = Bench()
    for number in range(32):
        bench.do(Update("c", f"f;{number}", None, F))
    with pytest.raises(CommandError, match="E72"):
        bench.do(Update("c", "f;99", None, F))
    assert isinstance(bench.do(Update("c", "f;3", None, F)), Allocated)


def test_a_refused_medium_costs_nothing() -> None:
    """A failed creation leaves no session, timer or port."""
    bench = Bench(low=40000, high=40000)
    bench.do(Update("c", "f", None, F))
    with pytest.raises(CommandError, match="E72"):
        bench.do(Update("d", "f", None, F))
    assert alive(bench) == 1
    assert len(bench.clock.getDelayedCalls()) == 1


@pytest.mark.parametrize(
    "stored, first, second, side",
    [
        ("f", "f", None, "caller"),
        ("f", "f", "t", "caller"),
        ("f", "t", "f", "callee"),
        ("f", "t", None, None),
        ("f", "x", "y", None),
        ("f;1", "f;1", "t;1", "caller"),
        ("f;1", "t;1", "f;1", "callee"),
        ("f;2", "t;2", "f", "callee"),
        ("f;2", "t", "f", None),
        ("f;2", "t;1", "f", None),
        ("f;2", "f", None, None),
        ("f", "f;1", None, None),
    ],
)
def test_a_session_is_found_by_either_tag(
    stored: str, first: str, second: str | None, side: str | None
) -> None:
    """The matching rules of U, L, P, S, C and Q."""
    bench = Bench()
    bench.do(Update("c", stored, None, F))
    found = bench.registry.find("c", first, second)
    assert (found.leg.side.value if found else None) == side
    assert bench.registry.find("other", first, second) is None


@pytest.mark.parametrize(
    "stored, first, second, deleted",
    [
        (["f", "f;1", "f;2"], "f", None, 3),
        (["f", "f;1", "f;2"], "f;1", None, 1),
        (["f"], "f;1", None, 0),
        (["f;1", "f;2"], "t", "f", 2),
        (["f;1", "g;1"], "f", "g", 2),
        (["ff;1"], "f", None, 0),
    ],
)
def test_a_bare_tag_deletes_all_media_of_the_call(
    stored: list[str], first: str, second: str | None, deleted: int
) -> None:
    """The matching rules of D, R and N."""
    bench = Bench()
    for tag in stored:
        bench.do(Update("c", tag, None, F))
    assert bench.registry.delete("c", first, second, weak=False) is bool(deleted)
    assert alive(bench) == len(stored) - deleted


def test_weak_and_strong_holds_are_given_up_as_in_the_original() -> None:
    """The documented examples, odd as they are."""
    bench = Bench()
    weak = MediaOptions(weak=True)
    bench.do(Update("w", "f", None, F, weak))
    assert bench.do(Delete("w", "f", None, weak=True)) == Number(0)
    assert alive(bench) == 1
    assert bench.do(Delete("w", "x", "f", weak=True)) == Number(0)
    assert alive(bench) == 0
    bench.do(Update("w", "f", None, F))
    bench.do(Update("w", "f", None, F, weak))
    bench.do(Delete("w", "f", None))
    assert alive(bench) == 1
    bench.do(Delete("w", "t", "f", weak=True))
    assert alive(bench) == 0


def test_silence_is_counted_at_the_end_of_complete_sessions_only() -> None:
    """nsess_nortp, nsess_owrtp and their RTCP twins."""
    bench = Bench()
    bench.do(Update("half", "f", None, F))
    call(bench, "silent")
    call(bench, "oneway")
    session = bench.registry.find("oneway", "f", None)
    assert session is not None
    port = session.session.caller.port
    bench.host.deliver(rtp(), ("127.0.0.1", 5000), ("127.0.0.1", port))
    bench.clock.advance(2)
    bench.do(DeleteAll())
    totals = bench.totals
    assert (totals.nsess_created, totals.nsess_destroyed, totals.nsess_complete) == (3, 3, 2)
    assert (totals.nsess_nortp, totals.nsess_owrtp) == (1, 1)
    assert (totals.nsess_nortcp, totals.nsess_owrtcp) == (2, 0)
    assert totals.rtpa_nrcvd == 1
    assert totals.total_duration == pytest.approx(6.0)


TAGS = st.sampled_from(["f", "f;1", "f;2", "t", "t;1", "g"])
CALLS = st.sampled_from(["a", "b"])


class Model(RuleBasedStateMachine):
    """The registry beside a plain dict of (call, tag) -> when it dies."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(ttl=60, setup_ttl=20, low=40000, high=40200)
        self.deadlines: dict[tuple[str, str], float] = {}
        self.complete: set[tuple[str, str]] = set()

    def now(self) -> float:
        """The time, as whole seconds so that model and clock cannot differ by rounding."""
        return self.bench.clock.seconds()

    def alive(self) -> dict[tuple[str, str], float]:
        """Forget what the model says is dead."""
        self.deadlines = {k: v for k, v in self.deadlines.items() if v > self.now()}
        self.complete &= set(self.deadlines)
        return self.deadlines

    def found(self, call: str, first: str, second: str | None) -> tuple[str, str] | None:
        """The key that find() must return."""
        keys = self.alive()
        if (call, first) in keys:
            return call, first
        if second is not None:
            if (call, second) in keys:
                return call, second
            for key in keys:
                medium = key[1].partition(";")[2]
                if (
                    key[0] == call
                    and key[1].startswith(second + ";")
                    and first.endswith(";" + medium)
                ):
                    return key
        return None

    def touch(self, key: tuple[str, str]) -> None:
        """Its time starts anew."""
        self.deadlines[key] = self.now() + (60 if key in self.complete else 20)

    @rule(call=CALLS, first=TAGS, second=st.none() | TAGS)
    def update(self, call: str, first: str, second: str | None) -> None:
        """U."""
        key = self.found(call, first, second)
        reply = self.bench.do(Update(call, first, second, F))
        assert isinstance(reply, Allocated)
        if key is None:
            key = (call, first)
        elif key[1] != first or key in self.complete:
            self.complete.add(key)  # the callee's leg is there already, now the caller's is too
        self.touch(key)

    @rule(call=CALLS, first=TAGS, second=st.none() | TAGS)
    def lookup(self, call: str, first: str, second: str | None) -> None:
        """L."""
        key = self.found(call, first, second)
        reply = self.bench.do(Lookup(call, first, second, T))
        if key is None:
            assert reply == NotFound()
        else:
            if key[1] == first:
                self.complete.add(key)
            self.touch(key)

    @rule(call=CALLS, first=TAGS, second=st.none() | TAGS)
    def delete(self, call: str, first: str, second: str | None) -> None:
        """D."""
        gone = [
            key
            for key in self.alive()
            if key[0] == call
            and any(
                tag and (key[1] == tag or key[1].startswith(tag + ";")) for tag in (first, second)
            )
        ]
        if gone:
            assert self.bench.do(Delete(call, first, second)) == Number(0)
        else:
            with pytest.raises(CommandError, match="E50"):
                self.bench.do(Delete(call, first, second))
        for key in gone:
            del self.deadlines[key]
            self.complete.discard(key)

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        for _ in range(seconds):
            self.bench.clock.advance(1)

    @invariant()
    def same(self) -> None:
        """Both know the same sessions; nothing is left behind."""
        bench = self.bench
        assert {tuple(session.key) for session in bench.registry} == set(self.alive())
        legs = sum(1 + (key in self.complete) for key in self.deadlines)
        assert len(bench.host.ports) == 2 * legs
        assert len(bench.clock.getDelayedCalls()) == len(self.deadlines)
        assert len(bench.pools[2]) == 101 - legs

    def teardown(self) -> None:
        """Everything can be ended."""
        self.bench.do(DeleteAll())
        assert not self.bench.host.ports
        assert not self.bench.clock.getDelayedCalls()


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestModel = Model.TestCase


def stall(bench: Bench, seconds: float) -> None:
    """The process does nothing for so long; then all its timers fire at once."""
    bench.clock.rightNow += seconds
    bench.clock.advance(0)


def test_a_stall_of_the_process_ends_no_session() -> None:
    """It heard nobody, so nobody was silent; what is left of the time to live is left."""
    bench = Bench(ttl=10)
    bench.registry.beat()
    call(bench)
    bench.clock.advance(1)
    bench.registry.beat()
    stall(bench, 3600)
    assert alive(bench) == 1
    (session,) = bench.registry
    assert 8 <= bench.registry.ttl_left(session) <= 10
    for _ in range(40):
        bench.clock.advance(0.25)
        bench.registry.beat()
    assert alive(bench) == 0


def test_a_short_stall_ends_no_session_with_a_short_time_to_live() -> None:
    bench = Bench(ttl=1)
    bench.registry.beat()
    call(bench)
    for _ in range(5):
        stall(bench, 1.7)
        assert alive(bench) == 1
        (session,) = bench.registry
        session.touched = bench.clock.seconds()  # what waited in the sockets is heard


def test_a_loop_blocked_for_longer_than_calls_live_ends_none_of_them() -> None:
    """1.7 seconds with a time to live of one; who stays silent afterwards is ended as ever."""
    bench = Bench(ttl=1)
    bench.registry.beat()
    call(bench)
    for _ in range(2):
        bench.clock.advance(0.25)
        bench.registry.beat()
    stall(bench, 1.7)
    assert alive(bench) == 1
    bench.registry.beat()
    for _ in range(5):
        bench.clock.advance(0.25)
        bench.registry.beat()
    assert alive(bench) == 0


def test_a_suspended_machine_ends_no_call() -> None:
    """Monotonic time stands still meanwhile (clock_gettime(2)); other clocks have gone on for days,
    and nothing of a session is reckoned by them."""
    bench = Bench(ttl=1)
    wall = {"boottime": 0.0, "realtime": 0.0}
    bench.registry.beat()
    call(bench)
    for _ in range(3):
        wall = {name: seconds + 86_400 for name, seconds in wall.items()}
        stall(bench, 0.0)
        bench.registry.beat()
    assert alive(bench) == 1
    (session,) = bench.registry
    assert bench.registry.ttl_left(session) == 1


def test_the_standstill_of_a_restart_ends_no_call() -> None:
    """Both processes stood still for longer than calls live; the new one has not given a sign."""
    before, after = Bench(ttl=1), Bench(ttl=1)
    call(before)
    (session,) = before.registry
    began = before.clock.seconds()
    after.clock.rightNow = began + 1.7
    after.registry.stood_still_since(began)
    after.registry.adopt(session)
    after.clock.advance(0)
    assert alive(after) == 1
    after.registry.beat()
    for _ in range(8):
        after.clock.advance(0.25)
        after.registry.beat()
    assert alive(after) == 0


def test_a_busy_moment_is_no_stall() -> None:
    """Else a relay under load would end nothing in time."""
    bench = Bench(ttl=10)
    bench.registry.beat()
    call(bench)
    for _ in range(25):
        bench.clock.advance(0.45)
        bench.registry.beat()
    assert alive(bench) == 0


def test_the_maximum_duration_counts_stalls_too() -> None:
    """It is about time, not about silence."""
    bench = Bench(ttl=10, max_duration=100)
    bench.registry.beat()
    call(bench)
    stall(bench, 200)
    assert alive(bench) == 0
