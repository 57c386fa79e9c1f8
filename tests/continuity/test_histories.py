"""The scores of a call's intervals are told after a restart as they were before it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.configuration.settings import ControlAddress, Settings
from rtpproxy_tw.continuity import giving
from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.continuity.channel import Channel
from rtpproxy_tw.quality.history import MOST_INTERVALS, Interval
from rtpproxy_tw.quality.monitor import Monitor
from rtpproxy_tw.quality_succession import FreshHistoryPart, HistoryPart
from rtpproxy_tw.session import Leg, Session
from rtpproxy_tw.snapshot.kinds import Damaged
from tests.continuity.test_ahead import Handover
from tests.test_tap import Running


def scored(leg: Leg, number: int) -> None:
    """Interval ``number`` of what the party sent has ended."""
    leg.monitor = leg.monitor or Monitor()
    leg.monitor.history.add(Interval(10.0 * number, 10.0, 500, number, 1.5, 4.25))


def told(leg: Leg) -> list[Interval]:
    """Its history."""
    return [] if leg.monitor is None else list(leg.monitor.history)


class Noting(Handover):
    """Between relays that know of histories; ``said`` is what was told when all stood still."""

    def __init__(self, version: int = giving.PROTOCOL) -> None:
        super().__init__(version)
        self.said: list[Any] = []
        self.giver._lasting = (HistoryPart(),)
        self.giver._parts = (self,)
        self.other.taker._parts = {each.name: each for each in (HistoryPart(), FreshHistoryPart())}

    name = FreshHistoryPart.name

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part."""
        value = FreshHistoryPart().pack(session, luggage)
        self.said.append(value)
        return value

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part. Nothing comes here."""


@pytest.fixture(params=giving.UNDERSTOOD)
def handover(request: pytest.FixtureRequest) -> Iterator[Noting]:
    """Of either version."""
    made = Noting(request.param)
    yield made
    made.close()


def test_histories_are_the_same_over_there(handover: Noting) -> None:
    """Of a party that was scored before, meanwhile, both, or for the first time just now."""
    before, both, meanwhile, never = (handover.call(name) for name in "abcd")
    for number in range(1, 7):
        scored(before.caller, number)
        scored(both.callee, number)
    while handover.giver.prepare():
        pass
    # Its record was written when nobody had looked at it.
    scored(never.caller, 1)

    def go_on() -> None:
        scored(both.callee, 7)
        scored(meanwhile.caller, 1)
        scored(meanwhile.caller, 2)

    handover.hand_over(go_on)
    assert handover.other.failure is None
    there = handover.other.sessions
    for session in (before, both, meanwhile, never):
        again = there[session.key]
        assert [*map(told, again.legs)] == [*map(told, session.legs)]
    assert [len(told(each.callee)) for each in (before, both)] == [0, 7]
    assert len(told(there[meanwhile.key].caller)) == 2


def test_while_both_stand_still_nothing_is_told_but_what_is_new() -> None:
    handover = Noting()
    one, two = handover.call("a"), handover.call("b")
    for number in range(MOST_INTERVALS):
        scored(one.caller, number)
        scored(two.caller, number)
    try:
        handover.hand_over(lambda: scored(two.caller, 400))
        assert handover.said[0] is None
        assert len(json.dumps(handover.said[1])) < 40
        assert told(handover.other.sessions[two.key].caller) == told(two.caller)
    finally:
        handover.close()


def test_after_a_hand_over_that_failed_the_next_one_has_all() -> None:
    """What the first one told is told again."""
    handover = Noting()
    session = handover.call("a")
    scored(session.caller, 1)
    try:
        assert HistoryPart().pack(session, Luggage()) is not None
        scored(session.caller, 2)
        handover.hand_over()
        assert told(handover.other.sessions[session.key].caller) == told(session.caller)
    finally:
        handover.close()


def test_a_full_history_stays_full() -> None:
    """More was added meanwhile than fits: the last hour is there, once."""
    handover = Noting()
    session = handover.call("a")
    scored(session.caller, 0)
    try:

        def an_hour() -> None:
            for number in range(MOST_INTERVALS + 5):
                scored(session.caller, number)

        handover.hand_over(an_hour)
        again = told(handover.other.sessions[session.key].caller)
        assert again == told(session.caller)
        assert len(again) == MOST_INTERVALS
    finally:
        handover.close()


@pytest.mark.parametrize("value", [7, {"caller": 7}, {"callee": "?"}])
@pytest.mark.parametrize("part", [HistoryPart(), FreshHistoryPart()])
def test_damaged_histories_are_refused(part: HistoryPart | FreshHistoryPart, value: Any) -> None:
    handover = Noting()
    try:
        with pytest.raises(Damaged):
            part.unpack(handover.call("a"), value, Luggage(), 0.0)
        handover.hand_over()
    finally:
        handover.close()


@pytest.mark.network
def test_the_relay_has_histories_go_ahead_and_news_come_after() -> None:
    settings = Settings(
        control=(ControlAddress("udp", "127.0.0.1", 0),),
        addresses=LocalAddresses((LocalAddress("127.0.0.1"),)),
        min_port=46320,
        max_port=46330,
        fast_path="none",
    )
    running = Running(settings)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        succession = running.relay.succession
        assert succession is not None
        giver = succession.giver(Channel(ours))
        assert [each.name for each in giver._lasting] == ["media", "history"]
        assert "history since" in [each.name for each in giver._parts]
        known = succession.taker(strict=True)._parts
        assert {"media", "history", "history since"} <= known.keys()
    finally:
        ours.close()
        theirs.close()
        running.stop()
