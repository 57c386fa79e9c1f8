"""Sessions go ahead while calls go on; what happens to them meanwhile is made up for."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rtpproxy_tw.continuity import giving
from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.continuity.channel import Channel, HandoverError, Message
from rtpproxy_tw.continuity.giving import Giver
from rtpproxy_tw.continuity.taking import Taker
from rtpproxy_tw.session import Ending, Session
from rtpproxy_tw.snapshot import records
from rtpproxy_tw.snapshot.kinds import Damaged
from tests.datagrams import rtp
from tests.fakes import Bench
from tests.snapshot.test_records import commanded


class Pipe:
    """A part with a descriptor for each session; the taker keeps what it is given."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.taken: dict[Session, int] = {}
        self._end, self._other = os.pipe()

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part."""
        return luggage.add(self._end)

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part."""
        self.taken[session] = luggage.take(value)

    def forget(self, session: Session) -> None:
        """Close what was taken."""
        os.close(self.taken.pop(session))

    def close(self) -> None:
        """The end."""
        for session in list(self.taken):
            self.forget(session)
        os.close(self._end)
        os.close(self._other)


class Taking:
    """A relay that takes over, in a thread of its own as it waits for each message."""

    def __init__(self, sock: socket.socket, version: int) -> None:
        self.sessions: dict[Any, Session] = {}
        self.lasting, self.late = Pipe("lasting"), Pipe("late")
        self.failure: Exception | None = None
        self._channel = Channel(sock)
        self._version = version
        self.taker = Taker(
            parts=(self.lasting, self.late),
            wholes=(),
            now=lambda: 0.0,
            admit=lambda session: self.sessions.update({session.key: session}),
            abandon=self._abandon,
            find=self.sessions.get,
            strict=True,
        )
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        channel = self._channel
        send = channel.send

        def as_that_version(kind: str, *arguments: Any, **fields: Any) -> None:
            if kind == "hello":
                fields["protocol"] = self._version
            send(kind, *arguments, **fields)

        channel.send = as_that_version  # type: ignore[method-assign]
        try:
            self.taker.take(channel, "test")
            channel.send("serving")
        except (HandoverError, Damaged) as error:
            self.failure = error
        finally:
            channel.close()

    def _abandon(self, session: Session) -> None:
        for part in (self.lasting, self.late):
            if session in part.taken:
                part.forget(session)

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join(10)
        self.lasting.close()
        self.late.close()


class Handover:
    """A relay with calls, and one that takes over."""

    def __init__(self, version: int = giving.PROTOCOL) -> None:
        self.bench = Bench(ttl=60, setup_ttl=60)
        self.bench.clock.advance(1000)
        self.late = Pipe("late")
        self.lasting = Pipe("lasting")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel = Channel(ours)
        self.giver = Giver(
            self.channel,
            sessions=lambda: self.bench.registry,
            lasting=(self.lasting,),
            parts=(self.late,),
            first=(),
            last=(),
            now=self.bench.clock.seconds,
        )
        self.other = Taking(theirs, version)

    def call(self, name: str) -> Session:
        """One more."""
        commanded(self.bench, f"U {name} 10.0.0.1 4000 f".encode())
        commanded(self.bench, f"L {name} 10.0.0.2 5000 f t".encode())
        (session,) = self.bench.registry.of_call(name)
        return session

    def hand_over(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """``meanwhile`` happens when all has gone ahead."""
        self.giver.begin()
        while self.giver.ahead():
            self.giver.acknowledged()
        meanwhile()
        self.giver.finish()

    def close(self) -> None:
        """The end."""
        self.channel.close()
        self.other.join()
        self.late.close()
        self.lasting.close()

    def differences(self) -> list[Any]:
        """Calls that are not over there what they are here."""
        here = {session.key: records.pack(session, {}) for session in self.bench.registry}
        there = {key: records.pack(each, {}) for key, each in self.other.sessions.items()}
        return [key for key in {**here, **there} if here.get(key) != there.get(key)]


@pytest.fixture
def handover() -> Iterator[Handover]:
    """With three calls."""
    made = Handover()
    for name in ("a", "b", "c"):
        made.call(name)
    yield made
    made.close()


def _heard(bench: Bench, session: Session) -> None:
    bench.clock.advance(0.02)
    bench.host.deliver(rtp(7, ssrc=9), ("10.0.0.1", 4000), ("127.0.0.1", session.callee.port))


def test_what_happens_meanwhile_is_there(handover: Handover) -> None:
    """One call is heard, one ends, one begins, and one moves to other ports."""
    bench = handover.bench

    def meanwhile() -> None:
        one, two, three = bench.registry
        _heard(bench, one)
        bench.registry.end(two, Ending.DELETED)
        handover.call("d")
        bench.plane.close(three.caller)

    handover.hand_over(meanwhile)
    assert handover.differences() == []
    assert {key.call_id for key in handover.other.sessions} == {"a", "c", "d"}
    assert set(handover.other.lasting.taken) == set(handover.other.sessions.values())
    assert set(handover.other.late.taken) == set(handover.other.sessions.values())


def test_calls_that_begin_while_others_go_ahead_go_ahead_as_well(handover: Handover) -> None:
    """Or the longer it takes the more would be left for the end."""
    giver = handover.giver
    giver.begin()
    assert giver.ahead()
    handover.call("d")
    while giver.ahead():
        giver.acknowledged()
    assert len(giver._sent) == 4
    giver.finish()
    assert handover.differences() == []


@pytest.mark.parametrize("version", [giving.PROTOCOL, giving.WITHOUT_SAME])
def test_what_is_written_down_before_the_other_is_there_is_as_good(version: int) -> None:
    """Whatever happens to a call between its being written down, sent, and gone on with."""
    made = Handover(version=version)
    bench = made.bench
    calls = {name: made.call(name) for name in "abcdef"}
    try:
        while made.giver.prepare():
            pass
        _heard(bench, calls["a"])
        bench.registry.end(calls["b"], Ending.DELETED)
        bench.plane.close(calls["c"].caller)
        made.call("g")
        made.hand_over(lambda: _heard(bench, calls["d"]))
        assert made.differences() == []
        assert {key.call_id for key in made.other.sessions} == set("acdefg")
    finally:
        made.close()


def test_calls_with_nothing_new_are_but_named() -> None:
    """Everything else of them went ahead."""
    made = Handover()
    made.giver._parts = ()
    sent: list[tuple[str, bytes]] = []
    send = made.channel.send

    def noted(kind: str, body: bytes = b"", *more: Any, **fields: Any) -> None:
        sent.append((kind, body))
        send(kind, body, *more, **fields)

    made.channel.send = noted  # type: ignore[method-assign]
    for number in range(3):
        made.call(f"call{number}")
    try:
        made.hand_over(lambda: _heard(made.bench, next(iter(made.bench.registry))))
        assert made.differences() == []
        assert [kind for kind, _ in sent][2:] == ["rest", "same", "end"]
        assert sent[3][1] == b'{"numbers":[1,2]}\n'
    finally:
        made.close()


def test_to_a_relay_of_the_first_version_all_goes_at_the_end() -> None:
    """It knows no other way."""
    made = Handover(version=giving.WITHOUT_AHEAD)
    made.call("a")
    try:
        made.hand_over()
        assert made.differences() == []
        assert len(made.other.sessions) == 1
        assert made.other.failure is None
    finally:
        made.close()


def test_a_call_that_is_forgotten_fails_the_hand_over(handover: Handover) -> None:
    """Nothing of it may go silently."""

    def forget() -> None:
        handover.giver._sent.pop(next(iter(handover.bench.registry)))
        handover.giver._sessions = lambda: ()

    with pytest.raises(HandoverError):
        handover.hand_over(forget)
    handover.other._thread.join(10)
    assert "nothing was said" in str(handover.other.failure)


@pytest.mark.parametrize(
    "kind, record, taken",
    [
        ("rest", {"number": 7, "changed": {}}, 1),
        ("rest", {"number": [], "changed": {}}, 1),
        ("rest", {"number": 0, "changed": {}, "descriptors": 5}, 1),
        ("rest", [], 1),
        ("ahead", {"number": 0}, 1),
        ("ahead", {}, 1),
        ("rest", {"number": 0, "changed": {"port": 4}}, 0),
        ("rest", {"number": 0, "changed": {"caller": 7}}, 0),
        ("rest", {"number": 0, "changed": {"caller": {"monitor": 5}}}, 0),
        ("rest", {"number": 0, "changed": {"caller": {"rtp": {"accepted": -1}}}}, 0),
        ("rest", {"number": 0, "changed": {"caller": {"rtp": {"latch": 5}}}}, 0),
        ("rest", {"number": 0, "changed": {"caller": {"rtp": 5}}}, 0),
        ("same", {"numbers": [7]}, 1),
    ],
)
def test_damaged_records_are_refused_one_by_one(kind: str, record: Any, taken: int) -> None:
    """A good session came before, and is refused only where the damage is its own."""
    bench = Bench(ttl=60, setup_ttl=60)
    commanded(bench, b"U a 10.0.0.1 4000 f")
    (session,) = bench.registry
    found: list[Session] = []
    taker = Taker(
        parts=(),
        wholes=(),
        now=lambda: 0.0,
        admit=found.append,
        abandon=lambda session: None,
        find=lambda key: None,
        strict=False,
    )
    taker.begin({"protocol": giving.PROTOCOL, "clock": 0.0, "boot": ""})
    for word, value in (
        ("ahead", {**records.pack(session, {}), "number": 0}),
        (kind, record),
        ("rest", {"number": 0, "changed": {}}),
    ):
        taker.handle(Message(word, {}, records.to_line(value)))
    # After damage of its own it is not known any more.
    assert (len(found), taker.refused) == (taken, 2 - taken)
