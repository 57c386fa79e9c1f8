"""The policy ``strict`` once somebody is believed: other sources, NATs, commands."""

from __future__ import annotations

from typing import cast

import pytest

from rtpproxy_tw.latch import LatchState, StrictLatch, latch_factory
from tests.datagrams import DTLS, FAX, SENDER_REPORT, STUN, rtp
from tests.latching import RTCP, RTP, V4, V6, Net, Stage, asymmetric, strict


@pytest.fixture(params=[V4, V6], ids=["ipv4", "ipv6"])
def net(request: pytest.FixtureRequest) -> Net:
    """The example hosts of an address family."""
    return cast(Net, request.param)


@pytest.fixture(params=[RTP, RTCP], ids=["rtp", "rtcp"])
def component(request: pytest.FixtureRequest) -> int:
    """1 for RTP, 2 for RTCP."""
    return cast(int, request.param)


# Once latched.


def latched(component: int, net: Net) -> Stage:
    """A party at its signalled address, long after set-up."""
    stage = strict(component, (net.public, 4000))
    stage.talk((net.public, 4000), 700)
    return stage


def test_other_sources_are_dropped_once_latched(net: Net, component: int) -> None:
    stage = latched(component, net)
    for source in [(net.public, 5000), (net.stranger, 4000), (net.private, 4000)]:
        assert stage.talk(source, 20, gap=0.001) == 0
    assert stage.latch.remote == (net.public, 4000)


def test_silence_alone_lets_nobody_in(net: Net, component: int) -> None:
    stage = latched(component, net)
    stage.now += 3600
    for source in [(net.public, 5000), (net.stranger, 4000)]:
        assert stage.talk(source, 100) == 0
    assert stage.hear((net.public, 4000))


def test_a_guessed_stream_is_dropped_while_the_party_speaks(net: Net) -> None:
    stage = latched(RTP, net)
    for _ in range(100):
        datagram = stage.media((net.public, 4000))
        assert stage.hear((net.public, 4000), datagram)
        stage.now += 0.01
        assert not stage.hear((net.stranger, 9), datagram)
        stage.now += 0.01


@pytest.mark.parametrize("silence, believed", [(0.9, False), (1.0, True), (30.0, True)])
def test_a_stream_may_go_on_from_elsewhere_after_a_second_of_silence(
    net: Net, silence: float, believed: bool
) -> None:
    stage = latched(RTP, net)
    stage.hear((net.public, 4000))
    stage.now += silence + 0.001
    assert stage.hear((net.stranger, 9), stage.media((net.public, 4000))) is believed
    if believed:
        assert stage.latch.source == stage.latch.remote == (net.stranger, 9)
        assert stage.latch.settled
        assert stage.latch.relatches == 1


def moved(stage: Stage, datagram: bytes) -> bool:
    """Whether ``datagram`` from elsewhere, a second and a half later, moves the stream."""
    stage.now += 1.5
    return stage.hear(("203.0.113.66", 9), datagram)


@pytest.mark.parametrize("ahead", [-536, -1, 0, 1, 75, 536])
def test_the_stream_is_known_by_its_ssrc_and_a_sequence_number_nearby(ahead: int) -> None:
    stage = strict(RTP, (V4.public, 4000))
    stage.hear((V4.public, 4000), rtp(65500, 7))
    assert moved(stage, rtp(65500 + ahead, 7))


@pytest.mark.parametrize("ahead", [-537, -10000, 32768, 800])
def test_another_sequence_number_is_another_stream(ahead: int) -> None:
    stage = strict(RTP, (V4.public, 4000))
    stage.hear((V4.public, 4000), rtp(65500, 7))
    assert not moved(stage, rtp(65500 + ahead, 7))


@pytest.mark.parametrize("datagram", [rtp(65501, 8), STUN, DTLS, FAX, SENDER_REPORT, b""])
def test_nothing_but_its_rtp_moves_a_stream(datagram: bytes) -> None:
    stage = strict(RTP, (V4.public, 4000))
    stage.hear((V4.public, 4000), rtp(65500, 7))
    assert not moved(stage, datagram)


def test_ssrc_0_proves_nothing() -> None:
    stage = strict(RTP, (V4.public, 4000))
    stage.hear((V4.public, 4000), rtp(5, 0))
    assert not moved(stage, rtp(6, 0))


def test_rtcp_never_moves_by_itself(net: Net) -> None:
    stage = latched(RTCP, net)
    stage.now += 60
    assert not stage.hear((net.stranger, 9), SENDER_REPORT)
    assert not stage.hear((net.stranger, 9), rtp())


@pytest.mark.parametrize("rate", [50, 1000])
@pytest.mark.parametrize("silence", [1.0, 3.0, 10.0])
def test_the_sender_goes_on_counting_while_it_is_not_heard(rate: int, silence: float) -> None:
    stage = strict(RTP, (V4.public, 4000))
    for sequence in range(rate * 5):
        assert stage.hear((V4.public, 4000), rtp(sequence, 7))
        stage.now += 1 / rate
    missed = int(rate * silence)
    stage.now += silence
    assert stage.hear((V4.nat, 9), rtp(rate * 5 + missed, 7))


def test_what_a_slow_stream_could_not_have_sent_does_not_move_it() -> None:
    stage = strict(RTP, (V4.public, 4000))
    for sequence in range(250):
        stage.hear((V4.public, 4000), rtp(sequence, 7))
        stage.now += 0.02
    stage.now += 2
    assert not stage.hear((V4.nat, 9), rtp(250 + 2000, 7))


def test_a_new_ssrc_of_the_party_is_learnt_within_a_second() -> None:
    stage = strict(RTP, (V4.public, 4000))
    for sequence in range(120):
        stage.hear((V4.public, 4000), rtp(sequence, 7 if sequence < 60 else 8))
        stage.now += 0.02
    assert not moved(stage, rtp(130, 7))
    assert moved(stage, rtp(130, 8))


def test_sources_that_can_be_no_party_do_not_take_over_a_stream(net: Net) -> None:
    stage = strict(RTP, (net.public, 4000))
    stage.hear((net.public, 4000), rtp(1, 7))
    stage.now += 2
    for source in [*((host, 9) for host in net.nobody), (net.nat, 0), (net.loopback, 9)]:
        assert not stage.hear(source, rtp(2, 7))


def test_a_stream_moves_at_most_once_in_five_seconds(net: Net) -> None:
    stage = latched(RTP, net)
    stage.now += 1.1
    assert stage.hear((net.stranger, 1), stage.media((net.public, 4000)))
    stage.now += 3.8
    assert not stage.hear((net.stranger, 2), stage.media((net.public, 4000)))
    stage.now += 1.2
    assert stage.hear((net.stranger, 3), stage.media((net.public, 4000)))
    assert stage.latch.relatches == 2


def test_without_rebinding_a_stream_never_moves_by_itself(net: Net) -> None:
    latch = latch_factory("strict", rebinding=False)(RTP)
    stage = Stage(latch, RTP, (net.public, 4000))
    stage.talk((net.public, 4000), 700)
    for silence in (1.1, 30.0):
        stage.now += silence
        assert not stage.hear((net.stranger, 9), stage.media((net.public, 4000)))
    assert stage.hear((net.public, 4000))


def test_two_senders_of_one_stream_in_turn_do_not_make_it_flap(net: Net) -> None:
    stage = latched(RTP, net)
    passed = [0, 0]
    for number in range(1500):
        source = [(net.public, 4000), (net.public, 5000)][number % 2]
        passed[number % 2] += stage.hear(source, stage.media((net.public, 4000)))
        stage.now += 0.02
    assert passed == [750, 0]


def test_a_stream_behind_a_nat_may_move_even_while_the_window_is_open(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    stage.talk((net.nat, 31022), 20)
    stage.now += 1.5
    assert stage.hear((net.nat, 31023), stage.media((net.nat, 31022)))
    assert stage.latch.remote == (net.nat, 31023)


# Commands.


def test_a_command_that_repeats_the_address_reopens_nothing(net: Net, component: int) -> None:
    stage = strict(component, (net.private, 4000))
    stage.talk((net.nat, 31022), 600)
    believed = stage.latch.source
    stage.latch.signal((net.private, 4000), stage.now)
    assert stage.latch.settled
    assert stage.latch.source is believed
    for source in [(net.private, 4000), (net.private, 5000), (net.stranger, 4000)]:
        assert stage.talk(source, 20) == 0
    assert stage.hear((net.nat, 31022))


@pytest.mark.parametrize("port", [4000, 6000])
def test_media_of_an_exact_source_goes_to_a_changed_address_at_once(
    net: Net, component: int, port: int
) -> None:
    stage = latched(component, net)
    for new in [(net.nat, port), (net.public, 6000)]:
        stage.latch.signal(new, stage.now)
        assert stage.latch.remote == new
        assert stage.latch.source == (net.public, 4000)
        assert stage.latch.state is LatchState.PROVISIONAL


def test_the_former_source_is_forwarded_until_another_is_believed(net: Net, component: int) -> None:
    stage = latched(component, net)
    stage.latch.signal((net.nat, 6000), stage.now)
    assert stage.talk((net.public, 4000), 50) == 50
    assert stage.latch.remote == (net.nat, 6000)
    assert stage.hear((net.nat, 6000))
    assert stage.latch.settled
    assert not stage.hear((net.public, 4000))


def test_strangers_gain_nothing_from_a_changed_public_address(net: Net, component: int) -> None:
    stage = latched(component, net)
    stage.latch.signal((net.nat, 6000), stage.now)
    assert stage.talk((net.stranger, 6000), 200) == 0


def test_a_changed_address_lets_its_host_in_from_another_port(net: Net, component: int) -> None:
    stage = latched(component, net)
    stage.latch.signal((net.nat, 6000), stage.now)
    assert stage.talk((net.nat, 31022), 3) == 3
    assert stage.latch.remote == (net.nat, 31022)
    assert not stage.hear((net.public, 4000))


def test_the_party_may_still_send_from_its_old_port_while_it_moves(
    net: Net, component: int
) -> None:
    stage = latched(component, net)
    stage.latch.signal((net.public, 6000), stage.now)
    assert stage.talk((net.public, 4000), 25) == 25
    assert stage.latch.remote == (net.public, 6000)
    assert stage.hear((net.public, 6000), FAX)
    assert stage.latch.source == stage.latch.remote == (net.public, 6000)
    assert not stage.hear((net.public, 4000))


def test_late_packets_from_the_old_port_do_not_displace_the_new_one(
    net: Net, component: int
) -> None:
    stage = latched(component, net)
    stage.latch.signal((net.public, 6000), stage.now)
    assert stage.hear((net.public, 31022))
    assert not stage.hear((net.public, 4000))
    assert stage.latch.remote == (net.public, 31022)


def test_behind_a_nat_media_goes_on_to_the_believed_source_after_a_change_of_port(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.private, 4000))
    stage.talk((net.nat, 31022), 600)
    stage.latch.signal((net.private, 6000), stage.now)
    assert stage.latch.remote == (net.nat, 31022)
    assert stage.talk((net.nat, 31022), 10) == 10
    assert stage.latch.remote == (net.nat, 31022)


def test_behind_a_nat_the_new_source_takes_over_though_the_old_one_goes_on(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    stage.talk((net.nat, 31022), 600)
    stage.latch.signal((net.private, 6000), stage.now)
    assert stage.talk((net.nat, 31022), 25) == 25
    assert stage.converse((net.nat, 31022), (net.nat, 31050), packets=10) == [5, 6]
    assert stage.latch.remote == (net.nat, 31050)


def test_a_stranger_does_not_take_over_while_the_party_goes_on_behind_its_nat(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    stage.latch.payload_types = (0,)
    stage.talk((net.nat, 31022), 600)
    stage.latch.signal((net.private, 6000), stage.now)
    passed = stage.converse((net.nat, 31022), (net.stranger, 6000), packets=600)
    assert passed == [600, 0]
    assert stage.latch.remote == (net.nat, 31022)


def test_another_private_host_gets_the_media_at_once(net: Net, component: int) -> None:
    stage = strict(component, (net.private, 4000))
    stage.talk((net.nat, 31022), 600)
    other = "10.0.0.5" if net is V4 else "fd77::5"
    stage.latch.signal((other, 4000), stage.now)
    assert stage.latch.remote == (other, 4000)


def test_a_party_that_only_signals_another_private_host_is_answered_again_in_80_ms(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.private, 4000))
    stage.talk((net.nat, 31022), 600)
    other = "10.0.0.5" if net is V4 else "fd77::5"
    stage.latch.signal((other, 4000), stage.now)
    assert stage.talk((net.nat, 31022), 5) == 5
    assert stage.latch.remote == (net.nat, 31022)
    stage.now += 10
    assert stage.hear((net.nat, 31022))
    assert stage.latch.settled


def test_of_two_phones_behind_nats_the_new_one_takes_over_though_the_old_one_goes_on(
    net: Net,
) -> None:
    stage = strict(RTP, (net.private, 4000))
    stage.talk((net.nat, 31022), 600)
    other = "10.0.0.5" if net is V4 else "fd77::5"
    stage.latch.signal((other, 4000), stage.now)
    stage.converse((net.nat, 31022), (net.stranger, 31022), packets=10)
    assert stage.latch.remote == (net.stranger, 31022)


def test_a_command_that_names_the_believed_source_settles_it(net: Net, component: int) -> None:
    stage = strict(component, (net.private, 4000))
    stage.talk((net.nat, 31022), 10)
    stage.latch.signal((net.nat, 31022), stage.now)
    assert stage.latch.settled
    assert stage.latch.remote == (net.nat, 31022)
    assert not stage.hear((net.stranger, 9))


def test_a_command_that_names_the_host_of_the_believed_source_keeps_answering_it(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.private, 4000))
    stage.talk((net.nat, 31022), 600)
    stage.latch.signal((net.nat, 4000), stage.now)
    assert stage.latch.remote == (net.nat, 31022)
    assert stage.talk((net.nat, 31022), 600) == 600
    assert stage.latch.remote == (net.nat, 31022)


def test_after_a_rejected_change_the_former_source_is_answered_again(
    net: Net, component: int
) -> None:
    stage = latched(component, net)
    stage.latch.signal((net.public, 6000), stage.now)
    assert stage.talk((net.public, 4000), 120) == 120
    assert stage.latch.remote == (net.public, 4000)


def test_a_change_taken_back_leaves_no_trace(net: Net, component: int) -> None:
    stage = latched(component, net)
    stage.latch.signal((net.public, 6000), stage.now)
    stage.hear((net.public, 4000))
    stage.latch.signal((net.public, 4000), stage.now)
    assert stage.latch.settled
    assert stage.latch.remote == (net.public, 4000)
    assert stage.latch.relatches == 0


def test_if_nobody_comes_the_former_source_stays_believed(net: Net, component: int) -> None:
    stage = latched(component, net)
    stage.latch.signal((net.public, 6000), stage.now)
    assert stage.talk((net.public, 4000), 1200) == 1200
    assert stage.latch.settled
    assert stage.latch.relatches == 0
    assert stage.talk((net.stranger, 9), 20) == 0


def test_a_party_that_is_mute_when_it_moves_is_believed_whenever_it_speaks(
    net: Net, component: int
) -> None:
    stage = latched(component, net)
    stage.latch.signal((net.nat, 6000), stage.now)
    stage.now += 300
    assert stage.latch.remote == (net.nat, 6000)
    assert stage.hear((net.nat, 6000))
    assert stage.latch.settled


def test_a_mute_party_behind_a_nat_is_believed_whenever_it_speaks(net: Net, component: int) -> None:
    stage = latched(component, net)
    stage.latch.signal((net.private, 6000), stage.now)
    stage.now += 300
    assert stage.talk((net.nat, 6000), 5) == 1
    assert stage.latch.remote == (net.nat, 6000)


def test_media_follows_two_changes_in_a_row(net: Net, component: int) -> None:
    stage = latched(component, net)
    stage.latch.signal((net.public, 6000), stage.now)
    stage.latch.signal((net.public, 8000), stage.now + 0.1)
    assert stage.latch.remote == (net.public, 8000)
    assert stage.hear((net.public, 4000))
    assert stage.hear((net.public, 8000))
    assert stage.latch.settled


def test_early_media_of_two_forks_follows_the_signalling(net: Net, component: int) -> None:
    stage = strict(component, (net.public, 4000))
    stage.talk((net.public, 4000), 10)
    stage.latch.signal((net.nat, 4000), stage.now)
    assert stage.converse((net.public, 4000), (net.nat, 4000), packets=10) == [1, 10]
    assert stage.latch.remote == (net.nat, 4000)


def test_a_changed_address_opens_ten_seconds_for_the_exact_source(net: Net, component: int) -> None:
    for passed, expected in ((9.9, True), (10.1, False)):
        stage = latched(component, net)
        stage.latch.signal((net.nat, 6000), stage.now)
        began = stage.now
        stage.talk((net.nat, 31022), 10)
        stage.now = began + passed
        stage.hear((net.nat, 31022))
        assert stage.hear((net.nat, 6000)) is expected


def test_nothing_is_sent_to_a_party_that_refuses_the_medium(net: Net, component: int) -> None:
    stage = latched(component, net)
    stage.latch.signal((net.public, 0), stage.now)
    stage.talk((net.public, 4000), 200)
    assert stage.latch.remote is None


def test_an_address_signalled_before_completion_simply_replaces_the_other(
    net: Net, component: int
) -> None:
    latch = StrictLatch(component)
    latch.signal((net.public, 4000), 1.0)
    latch.signal((net.nat, 6000), 2.0)
    latch.complete(3.0)
    assert latch.remote == (net.nat, 6000)
    assert not latch.hear((net.public, 4000), FAX, 3.1)
    assert latch.hear((net.nat, 6000), FAX, 3.1)


# Asymmetric parties.


def test_an_asymmetric_party_may_send_from_any_port_and_is_answered_where_it_said(
    net: Net, component: int
) -> None:
    stage = asymmetric(component, (net.public, 4000))
    for port in (7000, 4000, 7002):
        assert stage.hear((net.public, port))
        assert stage.latch.remote == (net.public, 4000)
        assert stage.latch.source == (net.public, port)
        assert stage.latch.settled


def test_other_hosts_than_an_asymmetric_party_s_are_dropped(net: Net, component: int) -> None:
    stage = asymmetric(component, (net.private, 4000))
    assert stage.talk((net.nat, 4000), 100) == 0
    assert stage.hear((net.private, 7000))
    stage.now += 60
    assert stage.talk((net.nat, 4000), 100) == 0
    assert not stage.hear((net.private, 0))


def test_an_asymmetric_party_of_unknown_address_is_believed_like_a_foreign_source(
    net: Net, component: int
) -> None:
    stage = asymmetric(component, None)
    assert stage.talking((net.nat, 7000), 5) == [False] * 4 + [True]
    assert stage.latch.remote == (net.nat, 7000)
    stage.now += 20
    assert stage.hear((net.nat, 7000))
    assert not stage.hear((net.nat, 7002))


def test_an_asymmetric_party_moves_by_command_only(net: Net, component: int) -> None:
    stage = asymmetric(component, (net.public, 4000))
    stage.hear((net.public, 7000))
    stage.latch.signal((net.nat, 4000), stage.now)
    assert stage.latch.remote == (net.nat, 4000)
    assert stage.latch.source is None
    assert not stage.hear((net.public, 7000))
    assert stage.hear((net.nat, 7000))


def test_a_party_declared_asymmetric_in_mid_call_is_answered_where_it_said(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.public, 4000))
    stage.talk((net.public, 7000), 600)
    stage.latch.asymmetric = True
    stage.latch.signal((net.public, 4000), stage.now)
    assert stage.latch.remote == (net.public, 4000)
    assert stage.hear((net.public, 7000))
    assert stage.hear((net.public, 7002))
    assert stage.latch.remote == (net.public, 4000)


def test_a_party_declared_symmetric_in_mid_call_is_answered_where_it_sends_from(
    net: Net, component: int
) -> None:
    stage = asymmetric(component, (net.public, 4000))
    stage.talk((net.public, 7000), 600)
    stage.latch.asymmetric = False
    stage.latch.signal((net.public, 4000), stage.now)
    assert stage.talk((net.public, 7000), 120) == 120
    assert stage.latch.remote == (net.public, 7000)
