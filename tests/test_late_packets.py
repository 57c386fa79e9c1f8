"""Late packets of a call that has ended never enter the one that has its port now."""

from __future__ import annotations

import pytest

from rtpproxy_tw.addresses import Address, LocalAddress
from rtpproxy_tw.latch import StrictLatch, latch_factory
from rtpproxy_tw.latch.late import LATEST, MOST, Straggler, Stragglers
from rtpproxy_tw.media.quarantine import Quarantine
from rtpproxy_tw.quality.analyzer import Analyzer
from rtpproxy_tw.session import Leg, Session, SessionKey, new_session
from tests.datagrams import FAX, STUN, rtp
from tests.latching import RTP, V4, Stage, strict

DEAD: Address = (V4.nat, 7000)
OLD, NEW = 0xDEAD, 0xCA11


def haunted(signalled: Address) -> Stage:
    """A call on a port at which ``DEAD`` sent with the SSRC ``OLD`` until just now."""
    stage = strict(RTP, signalled)
    stage.latch.shun(Stragglers([Straggler(DEAD, OLD)], stage.now + LATEST))
    return stage


@pytest.mark.parametrize("signalled", [(V4.nat, 9000), (V4.private, 4000), (V4.public, 4000), DEAD])
def test_a_party_of_the_dead_call_is_not_believed_however_long_it_goes_on(
    signalled: Address,
) -> None:
    """Though it is at the signalled host, or anybody could be the party, or at its very address."""
    stage = haunted(signalled)
    for sequence in range(1000):
        assert not stage.hear(DEAD, rtp(sequence, OLD))
        stage.now += 0.02
    assert stage.latch.source is None
    assert stage.latch.remote == signalled


def test_what_is_not_rtp_counts_as_late_too_unless_the_new_party_is_there() -> None:
    for datagram in (STUN, FAX, b"\x80\xc8\x00\x06" + OLD.to_bytes(4, "big") + bytes(20)):
        assert not haunted((V4.nat, 9000)).hear(DEAD, datagram)
    assert haunted(DEAD).hear(DEAD, FAX)
    assert not haunted(DEAD).hear(DEAD, b"\x80\xc8\x00\x06" + OLD.to_bytes(4, "big") + bytes(20))


def test_the_new_party_is_believed_at_once_beside_it() -> None:
    stage = haunted((V4.nat, 9000))
    assert not stage.hear(DEAD, rtp(1, OLD))
    assert stage.hear((V4.nat, 9000), rtp(1, NEW))
    assert stage.latch.settled


def test_at_the_same_address_parties_are_told_by_their_ssrc() -> None:
    """And nobody who looks at addresses alone, as the kernel, takes the stream over meanwhile."""
    stage = haunted(DEAD)
    for sequence in range(100):
        assert not stage.hear(DEAD, rtp(sequence, OLD))
        assert stage.hear(DEAD, rtp(sequence, NEW))
        assert not stage.latch.settled
        assert not stage.hear((V4.stranger, 1), rtp(sequence, 1))
        assert not stage.hear((V4.nat, 1), rtp(sequence, 1))
        stage.now += 0.02
    stage.now += LATEST
    assert stage.hear(DEAD, rtp(100, NEW))
    assert stage.latch.settled


def test_after_half_a_minute_nobody_is_late_any_more() -> None:
    stage = haunted((V4.nat, 9000))
    stage.now += LATEST
    assert stage.hear(DEAD, rtp(1, OLD))


def test_memory_of_one_port_is_bounded() -> None:
    late = Stragglers((Straggler((V4.nat, port), OLD) for port in range(1, 100)), 0.0)
    remembered = [port for port in range(1, 100) if late.are_at((V4.nat, port))]
    assert remembered == list(range(100 - MOST, 100))


# Ports that change hands.


def call(name: str, source: Address | None = None, port: int = 36000) -> Session:
    """A session whose caller was believed at ``source``."""
    made = new_session(SessionKey(name, "f"), 0.0, 60.0, latch_factory("strict"))
    made.caller.local, made.caller.port = LocalAddress("192.0.2.99"), port
    if source is not None:
        made.caller.rtp.latch.signal(source, 0.0)
        made.caller.rtp.latch.hear(source, rtp(1, OLD), 0.0)
        made.caller.rtp.analyzer = Analyzer()
        made.caller.rtp.analyzer.heard(rtp(1, OLD), 0.0)
    return made


def late_ones(leg: Leg) -> bool:
    """Whether its latch was told of ``DEAD``."""
    latch = leg.rtp.latch
    assert isinstance(latch, StrictLatch)
    return latch._late is not None and latch._late.sent(DEAD, rtp(2, OLD), None)


@pytest.mark.parametrize(
    "name, port, after, told",
    [
        ("other", 36000, 0.0, True),
        ("other", 36000, LATEST - 1, True),
        ("other", 36000, LATEST, False),
        ("other", 36002, 0.0, False),
        ("same", 36000, 0.0, False),
    ],
)
def test_a_call_is_told_who_sent_to_its_port_before(
    name: str, port: int, after: float, told: bool
) -> None:
    """A call that comes back under its own name goes on with its own stream."""
    quarantine = Quarantine()
    quarantine.leaves(call("same", DEAD).caller, 0.0)
    leg = call(name, port=port).caller
    quarantine.enters(leg, after)
    assert late_ones(leg) is told


def test_all_calls_of_half_a_minute_are_remembered_and_no_more() -> None:
    quarantine = Quarantine()
    for number in range(200):
        quarantine.leaves(call(f"c{number}", DEAD, 36000 + 2 * (number % 3)).caller, float(number))
        assert len(quarantine) <= LATEST
    leg = call("new").caller
    quarantine.enters(leg, 200.0)
    assert late_ones(leg)
    quarantine.enters(leg, 300.0)
    assert len(quarantine) == 0


def test_a_leg_that_nobody_ever_spoke_on_leaves_nothing_behind() -> None:
    quarantine = Quarantine()
    quarantine.leaves(call("silent").caller, 0.0)
    assert len(quarantine) == 0
