"""A relay that was stopped knows that it heard nobody, and takes no party for silent."""

from __future__ import annotations

import pytest

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.latch import latch_factory
from rtpproxy_tw.media.attention import BREAK, SIGN_EVERY, Attention
from rtpproxy_tw.media.relay import Relay
from rtpproxy_tw.session import Session, SessionKey, new_session
from rtpproxy_tw.statistics import Totals
from tests.datagrams import rtp

HERE: Address = ("192.0.2.1", 4000)
STRANGER: Address = ("203.0.113.66", 9)


class Call:
    """A relay that hears a party, with a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.relay = Relay(lambda: self.now, Totals())
        self.session: Session = new_session(
            SessionKey("call", "tag"), 0.0, 60.0, latch_factory("strict")
        )
        self.session.complete = True
        for leg in self.session.legs:
            leg.rtp.latch.signal(HERE, 0.0)
            leg.rtp.latch.complete(0.0)

    def hear(self, sequence: int, source: Address) -> None:
        """One packet."""
        self.relay.received(self.session.caller.rtp, rtp(sequence, 7), source)

    def talk(self, numbers: range, *, alive: bool = True) -> None:
        """The party talks, packets 20 ms apart."""
        for sequence in numbers:
            self.now += 0.02
            if alive:
                self.relay.attention.sign(self.now)
            self.hear(sequence, HERE)

    @property
    def believed(self) -> Address | None:
        """Who is."""
        return self.session.caller.rtp.latch.source


@pytest.mark.parametrize("seconds, moved", [(1.5, True), (0.4, False)])
def test_a_party_that_was_silent_while_we_listened_may_go_on_elsewhere(
    seconds: float, moved: bool
) -> None:
    call = Call()
    call.talk(range(100))
    for _ in range(round(seconds / SIGN_EVERY)):
        call.now += SIGN_EVERY
        call.relay.attention.sign(call.now)
    call.hear(100, STRANGER)
    assert (call.believed == STRANGER) is moved


def test_after_a_break_of_our_own_nobody_was_silent() -> None:
    """The stranger's packet is read first; then the party's, which waited in the socket."""
    call = Call()
    call.talk(range(100))
    call.now += 30.0
    call.hear(100, STRANGER)
    assert call.believed == HERE
    call.talk(range(100, 200), alive=True)
    assert call.session.caller.rtp.relayed == 0
    assert call.session.caller.rtp.accepted == 200
    assert call.session.caller.rtp.ignored == 1


def test_the_late_sign_of_life_makes_no_difference() -> None:
    """Whether timers or packets have their turn first after the break."""
    call = Call()
    call.talk(range(100))
    call.now += 30.0
    call.relay.attention.sign(call.now)
    call.hear(100, STRANGER)
    assert call.believed == HERE


def test_a_party_that_moved_during_the_break_is_heard_a_second_after_it() -> None:
    """Its silence is counted from when we were there to hear it."""
    call = Call()
    call.talk(range(100))
    call.now += 30.0
    for sequence in range(100, 200):
        call.now += 0.02
        call.relay.attention.sign(call.now)
        call.hear(sequence, STRANGER)
    assert call.believed == STRANGER
    assert 45 <= call.session.caller.rtp.ignored <= 55


def test_without_signs_there_are_no_breaks() -> None:
    attention = Attention()
    assert attention.since(1000.0) == float("-inf")
    attention.sign(1000.0)
    assert attention.since(1000.0 + BREAK - 0.01) == float("-inf")
    assert attention.since(1000.0 + BREAK) == 1000.0 + BREAK
