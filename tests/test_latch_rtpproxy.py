"""The policy ``rtpproxy``, sentence by sentence."""

from __future__ import annotations

import pytest

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.latch import LatchState, RtpproxyLatch
from tests.datagrams import DTLS, FAX, SENDER_REPORT, STUN, rtp
from tests.latching import RTCP, RTP, V4, V6, Stage

A: Address = ("192.0.2.1", 4000)
B: Address = ("198.51.100.7", 5000)
C: Address = ("203.0.113.66", 6000)
EVERYTHING = [b"", b"x", b"\x00" * 11, FAX, STUN, DTLS, SENDER_REPORT, rtp(1)]


def original(component: int, signalled: Address | None) -> Stage:
    """A latch of the original's kind on its stage."""
    return Stage(RtpproxyLatch(component), component, signalled)


# The address a command gives.


@pytest.mark.parametrize("component", [RTP, RTCP])
def test_media_goes_to_the_signalled_address_at_once(component: int) -> None:
    stage = original(component, A)
    assert stage.latch.remote == A
    stage.latch.signal(B, stage.now)
    assert stage.latch.remote == B
    assert stage.latch.state is LatchState.EXPECTING


def test_without_an_address_media_goes_nowhere() -> None:
    assert original(RTP, None).latch.remote is None


def test_a_learned_address_is_kept_whatever_a_command_says() -> None:
    stage = original(RTP, A)
    stage.hear(B, rtp(1))
    stage.latch.signal(C, stage.now)
    assert stage.latch.remote == B


def test_a_signalled_address_that_was_only_confirmed_is_replaced() -> None:
    stage = original(RTP, A)
    stage.hear(A, rtp(1))
    stage.latch.signal(C, stage.now)
    assert stage.latch.remote == C


# No address yet.


@pytest.mark.parametrize("datagram", EVERYTHING)
@pytest.mark.parametrize("component", [RTP, RTCP])
def test_the_first_source_becomes_the_address_for_good(component: int, datagram: bytes) -> None:
    stage = original(component, None)
    assert stage.hear(B, datagram)
    assert stage.latch.remote == B
    assert stage.latch.state is LatchState.LATCHED
    stage.latch.signal(A, stage.now)
    assert stage.latch.remote == B
    for moment in (0.1, 60.0):
        stage.now += moment
        for source in (A, C):
            assert not stage.hear(source, rtp(2))
    assert stage.hear(B, datagram)


def test_until_the_accepted_source_changes_its_ssrc() -> None:
    stage = original(RTP, None)
    stage.hear(B, rtp(1, 7))
    assert not stage.hear(C, rtp(2, 7))
    stage.hear(B, rtp(100, 8))
    assert not stage.hear(C, rtp(2, 7))
    assert stage.hear(C, rtp(101, 8))
    assert stage.latch.remote == C


# The source is the address.


@pytest.mark.parametrize("component", [RTP, RTCP])
@pytest.mark.parametrize("datagram", EVERYTHING)
def test_the_address_is_relayed_and_latched_by_its_first_datagram(
    component: int, datagram: bytes
) -> None:
    stage = original(component, A)
    assert stage.hear(A, datagram)
    assert stage.latch.settled
    assert not stage.hear(B, rtp(1000, 99))


def test_ssrc_0_does_not_latch() -> None:
    stage = original(RTP, A)
    assert stage.hear(A, rtp(1, 0))
    assert not stage.latch.settled
    assert stage.hear(B, rtp(1, 7))


def test_within_an_update_window_the_address_does_not_latch() -> None:
    stage = original(RTP, A)
    stage.latch.signal(B, stage.now)
    stage.now += 9.9
    assert stage.hear(B, rtp(1))
    assert stage.hear(C, rtp(500, 99))
    assert stage.latch.remote == C


def test_after_the_update_window_the_address_latches() -> None:
    stage = original(RTP, A)
    stage.latch.signal(B, stage.now)
    stage.now += 10.1
    assert stage.hear(B, rtp(1))
    assert not stage.hear(C, rtp(500, 99))


def test_the_first_command_opens_no_window() -> None:
    stage = original(RTP, A)
    stage.hear(A, rtp(1))
    assert stage.latch.settled


# The source is another one.


@pytest.mark.parametrize("component", [RTP, RTCP])
@pytest.mark.parametrize("datagram", EVERYTHING)
def test_before_latching_any_source_is_taken_and_latched(component: int, datagram: bytes) -> None:
    stage = original(component, A)
    assert stage.hear(B, datagram)
    assert stage.latch.source == stage.latch.remote == B
    assert stage.latch.state is LatchState.LATCHED
    assert not stage.hear(A, rtp(1000, 99))
    assert stage.hear(B, datagram)


@pytest.mark.parametrize("after, latched", [(1.0, False), (10.1, True)])
def test_the_place_that_a_command_left_does_not_latch_within_the_window(
    after: float, latched: bool
) -> None:
    stage = original(RTCP, A)
    stage.hear(A)
    stage.latch.signal(B, stage.now)
    stage.latch.follow(C, stage.now)  # unlatches
    stage.now += after
    assert stage.hear(A)
    assert stage.latch.remote == A
    assert stage.hear(B) is not latched


@pytest.mark.parametrize("datagram", [b"", FAX, STUN, SENDER_REPORT])
def test_once_latched_only_rtp_moves_it(datagram: bytes) -> None:
    stage = original(RTP, A)
    stage.hear(A, rtp(1))
    stage.latch.signal(A, stage.now)
    assert not stage.hear(B, datagram)


@pytest.mark.parametrize(
    "ssrc, ahead, taken",
    [
        (7, 0, True),
        (7, 1, True),
        (7, 536, True),
        (7, 537, False),
        (7, -1, False),
        (7, -536, False),
        (8, 1, False),
    ],
)
@pytest.mark.parametrize("base", [1000, 65500])
def test_outside_the_window_ssrc_and_sequence_number_must_go_on(
    base: int, ssrc: int, ahead: int, taken: bool
) -> None:
    stage = original(RTP, A)
    stage.hear(A, rtp(base, 7))
    assert stage.hear(B, rtp(base + ahead, ssrc)) is taken
    assert stage.latch.remote == (B if taken else A)
    assert stage.latch.relatches == int(taken)


def test_the_remembered_sequence_number_is_refreshed_once_a_second() -> None:
    stage = original(RTP, A)
    for sequence in range(50 * 60):
        assert stage.hear(A, rtp(sequence, 7))
        stage.now += 0.02
    assert stage.latch.settled
    assert not stage.hear(B, rtp(50 * 60 + 537, 7))
    assert stage.hear(B, rtp(50 * 60 + 400, 7))


def test_between_two_refreshes_it_is_not() -> None:
    stage = original(RTP, A)
    for sequence in range(40):
        assert stage.hear(A, rtp(sequence * 50, 7))
        stage.now += 0.02
    assert not stage.hear(B, rtp(2000, 7))


@pytest.mark.parametrize("ssrc", [7, 8, 0])
def test_inside_the_window_any_rtp_is_taken(ssrc: int) -> None:
    stage = original(RTP, A)
    stage.hear(A, rtp(1, 7))
    stage.latch.signal(A, stage.now)
    stage.now += 9
    assert stage.hear(B, rtp(30000, ssrc))
    assert stage.latch.remote == B


def test_a_new_ssrc_of_the_accepted_source_is_remembered_after_the_window() -> None:
    stage = original(RTP, A)
    stage.hear(A, rtp(1, 7))
    assert stage.hear(A, rtp(9000, 8))
    assert not stage.hear(B, rtp(2, 7))
    assert stage.hear(B, rtp(9001, 8))


def test_inside_the_window_it_is_not_remembered() -> None:
    stage = original(RTP, A)
    stage.hear(A, rtp(1, 7))
    stage.latch.signal(A, stage.now)
    stage.hear(A, rtp(9000, 8))
    stage.now += 10.1
    stage.hear(A, rtp(9001, 8))
    assert not stage.hear(B, rtp(9002, 8))
    assert stage.hear(B, rtp(2, 7))


def test_a_new_ssrc_0_unlatches() -> None:
    stage = original(RTP, A)
    stage.hear(A, rtp(1, 7))
    stage.hear(A, rtp(2, 0))
    assert not stage.latch.settled
    assert stage.hear(B, rtp(3, 9))


def test_consequences() -> None:
    stage = original(RTP, A)
    assert stage.hear(B, rtp(1, 7))
    assert stage.latch.remote == B
    assert not stage.hear(A, rtp(1, 8))
    assert stage.hear(C, rtp(2, 7))
    assert stage.latch.remote == C
    stage.latch.signal(A, stage.now)
    assert stage.latch.remote == C
    assert stage.hear(A, rtp(5, 8))
    assert stage.latch.remote == A


# RTCP.


@pytest.mark.parametrize("signalled", [("192.0.2.1", 4001), None])
def test_rtcp_goes_beside_rtp_where_rtp_was_learned_at_another_host(
    signalled: Address | None,
) -> None:
    stage = original(RTCP, signalled)
    stage.latch.follow(B, stage.now)
    assert stage.latch.remote == ("198.51.100.7", 5001)
    assert not stage.latch.settled
    assert stage.hear(("198.51.100.7", 777))
    assert stage.latch.remote == ("198.51.100.7", 777)


def test_rtcp_is_left_alone_where_only_the_port_of_rtp_differs() -> None:
    stage = original(RTCP, ("192.0.2.1", 4001))
    stage.latch.follow(("192.0.2.1", 5000), stage.now)
    assert stage.latch.remote == ("192.0.2.1", 4001)


def test_beside_the_last_port_there_is_none() -> None:
    stage = original(RTCP, None)
    stage.latch.follow(("192.0.2.1", 65535), stage.now)
    assert stage.latch.remote is None


def test_latched_rtcp_is_never_taken_over() -> None:
    stage = original(RTCP, ("192.0.2.1", 4001))
    stage.hear(("192.0.2.1", 4001))
    stage.latch.signal(("192.0.2.1", 4001), stage.now)
    for source in (B, C):
        assert not stage.hear(source)
        assert not stage.hear(source, rtp(1))


def test_a_learned_place_of_rtp_tells_rtcp_and_a_signalled_one_does_not() -> None:
    stage = original(RTP, A)
    before = stage.latch.source
    stage.hear(A, rtp(1))
    assert stage.latch.source is before
    stage.hear(B, rtp(2))
    assert stage.latch.source is not before


# Asymmetric parties.


@pytest.mark.parametrize("component", [RTP, RTCP])
@pytest.mark.parametrize("host", [V4.public, V6.public])
def test_of_an_asymmetric_party_only_the_host_counts(component: int, host: str) -> None:
    latch = RtpproxyLatch(component)
    latch.asymmetric = True
    stage = Stage(latch, component, (host, 4000))
    for port in (4000, 7000, 7001):
        assert stage.hear((host, port))
        assert stage.latch.source == (host, port)
        assert stage.latch.remote == (host, 4000)
    assert not stage.hear(B)
    assert not stage.hear(C)


@pytest.mark.parametrize("component", [RTP, RTCP])
def test_without_an_address_the_first_packet_of_an_asymmetric_party_sets_it(
    component: int,
) -> None:
    latch = RtpproxyLatch(component)
    latch.asymmetric = True
    stage = Stage(latch, component, None)
    assert stage.hear(B)
    assert stage.hear((B[0], 9))
    assert stage.latch.remote == B
    stage.latch.signal(A, stage.now)
    assert stage.latch.remote == B


def test_to_say_asymmetric_latches_for_good() -> None:
    latch = RtpproxyLatch(RTP)
    latch.asymmetric = True
    latch.asymmetric = False
    stage = Stage(latch, RTP, A)
    assert not stage.hear(B)
    assert stage.hear(A)


def test_guessed_rtcp_of_an_asymmetric_party_is_the_only_true_one() -> None:
    latch = RtpproxyLatch(RTCP)
    latch.asymmetric = True
    stage = Stage(latch, RTCP, None)
    latch.follow(B, stage.now)
    assert latch.remote == ("198.51.100.7", 5001)
    assert not stage.hear(C)


def test_the_ports_of_an_asymmetric_party_do_not_move_its_rtcp() -> None:
    latch = RtpproxyLatch(RTCP)
    latch.asymmetric = True
    stage = Stage(latch, RTCP, A)
    latch.follow(B, stage.now)
    assert latch.remote == A
