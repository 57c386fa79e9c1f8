"""The policy ``strict``, sentence by sentence."""

from __future__ import annotations

from typing import cast

import pytest

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.latch import LatchState, RtpproxyLatch, StrictLatch, latch_factory
from tests.datagrams import DTLS, FAX, RECEIVER_REPORT, SENDER_REPORT, STUN, ZRTP, rtp
from tests.latching import RTCP, RTP, V4, V6, Net, Stage


@pytest.fixture(params=[V4, V6], ids=["ipv4", "ipv6"])
def net(request: pytest.FixtureRequest) -> Net:
    """The example hosts of an address family."""
    return cast(Net, request.param)


@pytest.fixture(params=[RTP, RTCP], ids=["rtp", "rtcp"])
def component(request: pytest.FixtureRequest) -> int:
    """1 for RTP, 2 for RTCP."""
    return cast(int, request.param)


def strict(component: int, signalled: Address | None, *, loopback: bool = False) -> Stage:
    """A strict latch on its stage."""
    latch = StrictLatch(component)
    latch.loopback = loopback
    return Stage(latch, component, signalled)


# Set-up: rule 1, the exact source.


def test_media_goes_to_the_signalled_address_until_a_source_is_believed(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.public, 4000))
    assert stage.latch.remote == (net.public, 4000)
    assert stage.latch.source is None
    assert stage.latch.state is LatchState.EXPECTING


def test_without_a_signalled_address_media_goes_nowhere(component: int) -> None:
    assert strict(component, None).latch.remote is None


def test_to_port_0_nothing_is_sent(net: Net, component: int) -> None:
    assert strict(component, (net.public, 0)).latch.remote is None


@pytest.mark.parametrize(
    "datagram", [b"", b"\x80", b"\x00" * 11, rtp(), SENDER_REPORT, FAX, STUN, ZRTP, DTLS, b"\xc0"]
)
def test_the_exact_source_is_believed_by_its_first_datagram_whatever_it_is(
    net: Net, component: int, datagram: bytes
) -> None:
    stage = strict(component, (net.public, 4000))
    assert stage.hear((net.public, 4000), datagram)
    assert stage.latch.source == stage.latch.remote == (net.public, 4000)
    assert stage.latch.settled
    assert stage.latch.state is LatchState.LATCHED


def test_a_private_address_that_is_exact_is_believed_like_any_other(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.private, 4000))
    assert stage.hear((net.private, 4000))
    assert stage.latch.settled


@pytest.mark.parametrize("packets", [1, 2, 3, 100])
def test_during_set_up_the_exact_source_displaces_another_port_of_its_host(
    net: Net, component: int, packets: int
) -> None:
    stage = strict(component, (net.public, 4000))
    assert stage.talk((net.public, 5000), packets) == packets
    assert stage.hear((net.public, 4000))
    assert stage.latch.source == stage.latch.remote == (net.public, 4000)
    assert not stage.hear((net.public, 5000))


def test_during_set_up_the_exact_source_displaces_a_foreign_one(net: Net, component: int) -> None:
    stage = strict(component, (net.private, 4000))
    assert stage.talk((net.nat, 5000), 10) == 6
    assert stage.hear((net.private, 4000))
    assert stage.latch.remote == (net.private, 4000)
    assert not stage.hear((net.nat, 5000))


def test_after_set_up_a_confirmed_source_is_not_displaced_by_the_exact_one(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.public, 4000))
    stage.talk((net.public, 5000), 600)
    assert stage.latch.settled
    assert not stage.hear((net.public, 4000))
    assert stage.latch.remote == (net.public, 5000)


def test_an_unconfirmed_source_is_displaced_by_the_exact_one_at_any_time(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.public, 4000))
    stage.talk((net.public, 5000), 2)
    stage.now += 60
    assert stage.hear((net.public, 4000))
    assert stage.latch.remote == (net.public, 4000)


# Set-up: rule 2, another port of the signalled host.


def test_another_port_of_the_host_is_forwarded_and_answered_from_the_first_datagram(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.public, 4000))
    assert stage.talk((net.public, 5000), 1) == 1
    assert stage.latch.remote == (net.public, 5000)
    assert stage.latch.state is LatchState.PROVISIONAL


def test_the_third_datagram_confirms_it_and_shuts_out_further_ports(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.public, 4000))
    stage.talk((net.public, 5000), 3)
    assert not stage.hear((net.public, 6000))
    assert stage.latch.remote == (net.public, 5000)


def test_two_datagrams_do_not_confirm_it(net: Net, component: int) -> None:
    stage = strict(component, (net.public, 4000))
    stage.talk((net.public, 5000), 2)
    assert stage.hear((net.public, 6000))
    assert stage.latch.remote == (net.public, 6000)


def test_a_confirmed_source_is_settled_once_the_window_is_closed(net: Net, component: int) -> None:
    stage = strict(component, (net.public, 4000))
    stage.talk((net.public, 5000), 3)
    assert not stage.latch.settled
    stage.now += 10
    assert stage.hear((net.public, 5000))
    assert stage.latch.settled
    assert stage.latch.state is LatchState.LATCHED


def test_of_two_ports_both_pass_until_one_is_confirmed_and_the_source_does_not_flap(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.public, 4000))
    assert stage.converse((net.public, 5000), (net.public, 6000), packets=10) == [10, 2]
    assert stage.latch.source == stage.latch.remote == (net.public, 5000)
    assert stage.latch.relatches == 2


def test_a_stray_datagram_costs_the_party_nothing(net: Net, component: int) -> None:
    stage = strict(component, (net.public, 4000))
    stage.hear((net.public, 5000))
    assert stage.talk((net.public, 6000), 50) == 50
    assert stage.latch.remote == (net.public, 6000)


def test_an_inconsistent_source_of_the_host_is_forwarded_but_not_confirmed(net: Net) -> None:
    stage = strict(RTP, (net.public, 4000))
    for ssrc in range(20):
        assert stage.hear((net.public, 5000), rtp(ssrc * 1000, ssrc))
    assert stage.hear((net.public, 6000))


@pytest.mark.parametrize("datagram", [STUN, ZRTP, DTLS])
def test_handshakes_from_another_port_pass_but_do_not_confirm_it(
    net: Net, component: int, datagram: bytes
) -> None:
    stage = strict(component, (net.public, 4000))
    for _ in range(10):
        assert stage.hear((net.public, 5000), datagram)
    assert stage.hear((net.public, 6000))
    assert stage.latch.remote == (net.public, 6000)


@pytest.mark.parametrize("datagram", [b"", b"\x00" * 5, FAX, SENDER_REPORT, b"\x00" * 40])
def test_what_is_not_rtp_confirms_by_coming_from_the_same_source(
    net: Net, component: int, datagram: bytes
) -> None:
    stage = strict(component, (net.public, 4000))
    for _ in range(3):
        assert stage.hear((net.public, 5000), datagram)
    assert not stage.hear((net.public, 6000))


def test_a_silent_unconfirmed_port_does_not_keep_out_the_party_behind_its_nat(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.private, 4000))
    stage.hear((net.private, 5000))
    assert stage.talk((net.nat, 5000), 40) >= 14
    assert stage.latch.remote == (net.nat, 5000)


# Set-up: rule 3, another host.


def test_a_stranger_is_never_believed_where_the_signalled_address_is_public(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.public, 4000))
    for host in (net.stranger, net.nat, net.private, net.loopback):
        assert stage.talk((host, 4000), 200) == 0
    assert stage.latch.remote == (net.public, 4000)
    assert stage.hear((net.public, 4000))


@pytest.mark.parametrize(
    "signalled",
    [
        None,
        "10.1.2.3",
        "172.31.0.1",
        "192.168.1.9",
        "169.254.7.7",
        "100.64.0.1",
        "100.127.255.254",
        "fd12::1",
        "fe80::1",
    ],
)
def test_a_lone_source_is_believed_where_the_signalled_host_is_private_or_unknown(
    component: int, signalled: str | None
) -> None:
    net = V6 if signalled and ":" in signalled else V4
    stage = strict(component, (signalled, 4000) if signalled else None)
    assert stage.talking((net.nat, 31022), 6) == [False] * 4 + [True] * 2
    assert stage.latch.source == stage.latch.remote == (net.nat, 31022)


@pytest.mark.parametrize("signalled", ["100.63.255.255", "100.128.0.1", "172.32.0.1", "11.0.0.1"])
def test_addresses_beside_private_space_are_public(component: int, signalled: str) -> None:
    stage = strict(component, (signalled, 4000))
    assert stage.talk((V4.nat, 31022), 100) == 0


def test_until_believed_it_is_not_answered(net: Net, component: int) -> None:
    stage = strict(component, (net.private, 4000))
    for _ in range(4):
        stage.talk((net.nat, 31022), 1)
        assert stage.latch.remote == (net.private, 4000)
        assert stage.latch.state is LatchState.EXPECTING
    assert stage.hear((net.nat, 31022))
    assert stage.latch.state is LatchState.PROVISIONAL


def test_five_packets_must_span_60_ms(net: Net, component: int) -> None:
    stage = strict(component, (net.private, 4000))
    assert stage.talking((net.nat, 31022), 8, gap=0.01) == [False] * 6 + [True] * 2


@pytest.mark.parametrize("burst", [5, 100, 1000])
def test_a_burst_counts_as_one_packet(net: Net, component: int, burst: int) -> None:
    stage = strict(component, (net.private, 4000))
    for _ in range(4):
        assert stage.talk((net.nat, 31022), burst, gap=0.004 / burst) == 0
        stage.now += 0.1
    assert stage.hear((net.nat, 31022))


def test_60_ms_of_packets_closer_than_5_ms_are_one_burst_after_another(net: Net) -> None:
    # Video at a thousand packets a second, not a blind burst: it goes on, so it is counted.
    stage = strict(RTP, (net.private, 4000))
    assert 60 <= stage.talking((net.nat, 31022), 100, gap=0.001).index(True) <= 65


def test_another_ssrc_begins_the_count_anew(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    for ssrc in range(1, 20):
        for sequence in range(4):
            assert not stage.hear((net.nat, 31022), rtp(sequence, ssrc))
            stage.now += 0.02


@pytest.mark.parametrize("step", [51, 100, 32768, -51, -1000])
def test_a_jump_of_the_sequence_number_begins_the_count_anew(net: Net, step: int) -> None:
    stage = strict(RTP, (net.private, 4000))
    for sequence in range(100):
        assert not stage.hear((net.nat, 31022), rtp(sequence * step))
        stage.now += 0.02


@pytest.mark.parametrize("step", [1, 2, 50])
def test_lost_packets_and_a_wrap_do_not_disturb_the_count(net: Net, step: int) -> None:
    stage = strict(RTP, (net.private, 4000))
    verdicts = []
    for sequence in range(5):
        verdicts.append(stage.hear((net.nat, 31022), rtp(65533 + sequence * step)))
        stage.now += 0.02
    assert verdicts == [False] * 4 + [True]


def test_repeated_and_late_packets_count_neither_for_nor_against(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    verdicts = []
    for sequence in (10, 10, 10, 12, 11, 12, 13, 9, 14, 15):
        verdicts.append(stage.hear((net.nat, 31022), rtp(sequence)))
        stage.now += 0.02
    assert verdicts == [False] * 9 + [True]


@pytest.mark.parametrize(
    "datagram", [FAX, SENDER_REPORT, b"\x00" * 12, b"\x40" * 172, b"\xc0" * 20]
)
def test_what_is_not_rtp_is_consistent_by_coming_from_the_same_source(
    net: Net, component: int, datagram: bytes
) -> None:
    stage = strict(component, (net.private, 4000))
    verdicts = []
    for _ in range(5):
        verdicts.append(stage.hear((net.nat, 31022), datagram))
        stage.now += 0.02
    assert verdicts == [False] * 4 + [True]


@pytest.mark.parametrize(
    "datagram", [b"", b"\x80", b"\x00\x07\x01", RECEIVER_REPORT, b"\x00" * 11, STUN, ZRTP, DTLS]
)
def test_short_datagrams_and_handshakes_alone_never_make_a_foreign_source_believed(
    net: Net, component: int, datagram: bytes
) -> None:
    stage = strict(component, (net.private, 4000))
    for _ in range(200):
        assert not stage.hear((net.nat, 31022), datagram)
        stage.now += 0.02
    assert stage.latch.remote == (net.private, 4000)


@pytest.mark.parametrize("datagram", [b"", b"\x00" * 11, STUN, ZRTP, DTLS, b"\xc0" * 40])
def test_a_believed_source_may_send_anything(net: Net, component: int, datagram: bytes) -> None:
    stage = strict(component, (net.private, 4000))
    stage.talk((net.nat, 31022), 5)
    assert stage.hear((net.nat, 31022), datagram)
    stage.now += 20
    assert stage.hear((net.nat, 31022), datagram)
    assert stage.latch.settled
    assert stage.hear((net.nat, 31022), datagram)


def test_handshakes_of_a_foreign_source_do_not_disturb_its_count(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    verdicts = []
    for _ in range(5):
        assert not stage.hear((net.nat, 31022), STUN)
        verdicts.append(stage.hear((net.nat, 31022)))
        stage.now += 0.02
    assert verdicts == [False] * 4 + [True]


@pytest.mark.parametrize("listening", [True, False])
def test_a_loopback_address_tells_nothing_only_where_media_is_taken_on_loopback(
    net: Net, component: int, listening: bool
) -> None:
    stage = strict(component, (net.loopback, 4000), loopback=listening)
    assert stage.talk((net.nat, 31022), 6) == (2 if listening else 0)


def test_another_address_of_the_loopback_network_is_another_host(component: int) -> None:
    stage = strict(component, ("127.0.0.2", 4000), loopback=True)
    assert stage.talking(("127.0.0.3", 4000), 5) == [False] * 4 + [True]


def test_sources_that_can_be_no_party_are_never_believed(net: Net, component: int) -> None:
    stage = strict(component, (net.private, 4000))
    sources = [(host, 4000) for host in net.nobody]
    for source in [*sources, (net.nat, 0), (net.loopback, 4000), (net.private, 0)]:
        assert stage.talk(source, 100) == 0
    assert stage.latch.remote == (net.private, 4000)


def test_loopback_sources_are_believed_where_media_is_taken_on_loopback(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.private, 4000), loopback=True)
    assert stage.talk((net.loopback, 4000), 6) == 2


def test_a_signalled_loopback_address_is_believed_wherever_media_is_taken(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.loopback, 4000))
    assert stage.hear((net.loopback, 5000))
    assert stage.hear((net.loopback, 4000))


# The contest of foreign sources.


def test_a_competitor_prolongs_the_choice_to_half_a_second(net: Net, component: int) -> None:
    stage = strict(component, (net.private, 4000))
    waited, lost = stage.converse((net.nat, 31022), (net.stranger, 9), packets=100)
    assert lost == 0
    assert 100 - waited in (29, 30)  # ready with the fifth, then 0.5 s


def test_a_competitor_who_has_gone_does_not_prolong_it(net: Net, component: int) -> None:
    stage = strict(component, (net.private, 4000))
    stage.hear((net.stranger, 9))
    stage.now += 0.5
    assert stage.talk((net.nat, 31022), 5) == 1


def test_the_payload_type_that_was_offered_decides(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    stage.latch.payload_types = (8, 101)
    for sequence in range(40):
        stage.hear((net.stranger, 9), rtp(sequence, 1, payload_type=0))
        stage.hear((net.nat, 31022), rtp(sequence, 2, payload_type=8))
        stage.now += 0.02
    assert stage.latch.source == (net.nat, 31022)


def test_the_signalled_port_decides_against_the_payload_type(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    stage.latch.payload_types = (8,)
    for sequence in range(40):
        stage.hear((net.stranger, 9), rtp(sequence, 1, payload_type=8))
        stage.hear((net.nat, 4000), rtp(sequence, 2, payload_type=13))
        stage.now += 0.02
    assert stage.latch.source == (net.nat, 4000)


@pytest.mark.parametrize(
    "signalled, neighbour, stranger",
    [
        ("192.168.1.9", "192.168.1.200", "192.168.2.9"),
        ("fd00:1:2::9", "fd00:1:2:ffff::1", "fd00:1:3::9"),
    ],
)
def test_a_neighbour_of_the_signalled_host_is_preferred(
    component: int, signalled: str, neighbour: str, stranger: str
) -> None:
    stage = strict(component, (signalled, 4000))
    stage.converse((stranger, 9), (neighbour, 9), packets=40)
    assert stage.latch.source == (neighbour, 9)


def test_at_equal_scores_the_one_with_more_packets_wins(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    stage.hear((net.stranger, 9))
    for _ in range(60):
        stage.hear((net.nat, 31022))
        stage.now += 0.01
        stage.hear((net.nat, 31022))
        stage.now += 0.01
        stage.hear((net.stranger, 9))
    assert stage.latch.source == (net.nat, 31022)


def test_at_equal_scores_and_packets_the_first_one_heard_wins(net: Net, component: int) -> None:
    stage = strict(component, (net.private, 4000))
    stage.converse((net.nat, 31022), (net.stranger, 9), packets=40)
    assert stage.latch.source == (net.nat, 31022)


def test_during_set_up_a_better_candidate_displaces_a_foreign_source_when_ready(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    assert stage.talk((net.stranger, 9), 10) == 6
    leaked, won = stage.converse((net.stranger, 9), (net.nat, 4000), packets=10)
    assert leaked <= 5
    assert won == 6
    assert stage.latch.source == stage.latch.remote == (net.nat, 4000)
    assert stage.talk((net.stranger, 9), 100) == 0


def test_an_equal_candidate_does_not_displace_a_source_that_goes_on(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    stage.talk((net.nat, 31022), 10)
    assert stage.converse((net.nat, 31022), (net.stranger, 9), packets=600) == [600, 0]
    assert stage.latch.relatches == 0


def test_a_pause_in_speaking_is_not_enough_for_an_equal_candidate(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    stage.talk((net.nat, 31022), 200)
    assert stage.talk((net.stranger, 9), 190) == 0
    assert stage.hear((net.nat, 31022))


def test_an_intruder_who_stops_gives_way_to_the_party(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    stage.talk((net.stranger, 9), 5)
    stage.now += 0.5
    assert stage.talk((net.nat, 31022), 20) == 15
    assert stage.latch.remote == (net.nat, 31022)


def test_after_set_up_no_candidate_displaces_a_foreign_source(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    stage.talk((net.nat, 31022), 600)
    assert stage.latch.settled
    assert stage.talk((net.stranger, 4000), 200) == 0


def test_the_window_lasts_from_the_first_belief_where_that_comes_late(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    stage.now += 60
    stage.talk((net.stranger, 9), 10)
    stage.now += 5
    stage.talk((net.nat, 4000), 10)
    assert stage.latch.remote == (net.nat, 4000)


def test_the_signalled_host_displaces_a_foreign_source_during_set_up(
    net: Net, component: int
) -> None:
    stage = strict(component, (net.private, 4000))
    stage.talk((net.stranger, 9), 10)
    assert stage.hear((net.private, 5000))
    assert stage.latch.remote == (net.private, 5000)
    assert not stage.hear((net.stranger, 9))


# Sprays.


@pytest.mark.parametrize("burst", [1, 20])
def test_a_spray_over_all_ports_is_neither_forwarded_nor_answered(
    net: Net, component: int, burst: int
) -> None:
    stage = strict(component, (net.private, 4000))
    for port in range(1, 3000):
        assert stage.talk((net.stranger, port), burst, gap=0.0001) == 0
        assert stage.latch.remote == (net.private, 4000)
        stage.now += 0.001


@pytest.mark.parametrize("gap", [0.02, 0.001, 0.0002])
def test_a_spray_from_one_host_only_delays_the_party(net: Net, gap: float) -> None:
    stage = strict(RTP, (net.private, 4000))
    ports = iter(range(1024, 65536))
    until = stage.now
    while stage.now < 101.5:
        if stage.now >= until:
            stage.hear((net.nat, 31022))
            until += 0.02
        assert not stage.hear((net.stranger, next(ports)))
        stage.now += gap
    assert stage.latch.remote == (net.nat, 31022)


def test_a_spray_from_many_hosts_does_not_keep_the_party_out_for_ever() -> None:
    stage = strict(RTP, ("192.168.1.9", 4000))
    until = stage.now
    for number in range(1, 20000):
        if stage.now >= until:
            stage.hear((V4.nat, 31022))
            until += 0.02
        assert not stage.hear((f"203.{number >> 8}.{number & 255}.1", 9))
        stage.now += 0.001
    assert stage.latch.remote == (V4.nat, 31022)


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


def asymmetric(component: int, signalled: Address | None) -> Stage:
    """A party that does not send from where it receives."""
    latch = StrictLatch(component)
    latch.asymmetric = True
    return Stage(latch, component, signalled)


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


# RTCP and the host that RTP is believed at.


def test_rtcp_from_the_host_of_rtp_is_believed_from_any_port(net: Net) -> None:
    stage = strict(RTCP, (net.private, 4001))
    stage.latch.follow((net.nat, 31022), stage.now)
    assert stage.hear((net.nat, 555))
    assert stage.latch.remote == (net.nat, 555)
    stage.talk((net.nat, 555), 2)
    stage.now += 20
    assert stage.hear((net.nat, 555))
    assert stage.latch.settled


def test_rtcp_from_another_host_than_rtp_is_never_believed(net: Net) -> None:
    stage = strict(RTCP, (net.private, 4001))
    stage.latch.follow((net.nat, 31022), stage.now)
    for source in [(net.stranger, 31023), (net.private, 4001), (net.private, 9)]:
        assert stage.talk(source, 100) == 0


def test_rtcp_goes_beside_rtp_until_it_is_heard(net: Net) -> None:
    for signalled in ((net.private, 4001), None):
        stage = strict(RTCP, signalled)
        stage.latch.follow((net.nat, 31022), stage.now)
        assert stage.latch.remote == (net.nat, 31023)


def test_rtcp_goes_where_it_was_signalled_if_rtp_comes_from_that_host(net: Net) -> None:
    stage = strict(RTCP, (net.public, 4001))
    stage.latch.follow((net.public, 31022), stage.now)
    assert stage.latch.remote == (net.public, 4001)


def test_beside_the_last_port_there_is_none(net: Net) -> None:
    stage = strict(RTCP, (net.private, 4001))
    stage.latch.follow((net.nat, 65535), stage.now)
    assert stage.latch.remote == (net.private, 4001)


def test_an_rtcp_candidate_at_the_host_of_rtp_is_believed_at_once(net: Net) -> None:
    stage = strict(RTCP, (net.private, 4001))
    stage.converse((net.stranger, 9), (net.nat, 555), packets=2)
    assert stage.latch.source is None
    stage.latch.follow((net.nat, 31022), stage.now)
    assert stage.latch.source == stage.latch.remote == (net.nat, 555)
    assert not stage.hear((net.stranger, 9))


def test_rtcp_believed_at_another_host_is_given_up_when_rtp_is_believed(net: Net) -> None:
    stage = strict(RTCP, (net.private, 4001))
    assert stage.talk((net.stranger, 9), 6) == 2
    stage.latch.follow((net.nat, 31022), stage.now)
    assert stage.latch.source is None
    assert stage.latch.remote == (net.nat, 31023)
    assert not stage.hear((net.stranger, 9))


def test_rtcp_keeps_its_source_when_rtp_agrees_with_it(net: Net) -> None:
    stage = strict(RTCP, (net.public, 4001))
    stage.hear((net.public, 4001))
    stage.latch.follow((net.public, 4000), stage.now)
    assert stage.latch.settled
    assert stage.latch.source == (net.public, 4001)


def test_rtcp_may_move_within_its_host_when_rtp_did(net: Net) -> None:
    stage = strict(RTCP, (net.private, 4001))
    stage.latch.follow((net.nat, 31022), stage.now)
    stage.talk((net.nat, 555), 600)
    assert not stage.hear((net.nat, 777))
    stage.latch.follow((net.nat, 40000), stage.now)
    assert stage.hear((net.nat, 555))
    assert stage.latch.remote == (net.nat, 555)
    assert stage.hear((net.nat, 777))
    assert stage.latch.remote == (net.nat, 777)


def test_rtcp_that_did_not_move_with_rtp_settles_again(net: Net) -> None:
    stage = strict(RTCP, (net.private, 4001))
    stage.latch.follow((net.nat, 31022), stage.now)
    stage.talk((net.nat, 555), 600)
    stage.latch.follow((net.nat, 40000), stage.now)
    assert stage.talk((net.nat, 555), 6, gap=5.0) == 6
    assert stage.latch.settled


def test_rtcp_moves_to_the_new_host_of_rtp(net: Net) -> None:
    stage = strict(RTCP, (net.private, 4001))
    stage.latch.follow((net.nat, 31022), stage.now)
    stage.talk((net.nat, 555), 600)
    stage.latch.follow((net.stranger, 40000), stage.now)
    assert stage.latch.remote == (net.stranger, 40001)
    assert not stage.hear((net.nat, 555))
    assert stage.hear((net.stranger, 777))


def test_rtcp_of_a_changed_host_is_believed_before_its_rtp(net: Net) -> None:
    stage = strict(RTCP, (net.public, 4001))
    stage.latch.follow((net.public, 4000), stage.now)
    stage.talk((net.public, 4001), 3)
    stage.latch.signal((net.nat, 6001), stage.now)
    assert stage.latch.remote == (net.nat, 6001)
    assert stage.hear((net.public, 4001))
    assert stage.hear((net.nat, 6001))
    assert stage.latch.settled


def test_a_change_of_port_behind_a_nat_leaves_unheard_rtcp_beside_rtp(net: Net) -> None:
    stage = strict(RTCP, (net.private, 4001))
    stage.latch.follow((net.nat, 31022), stage.now)
    stage.latch.signal((net.private, 6001), stage.now)
    assert stage.latch.remote == (net.nat, 31023)


def test_a_change_of_port_moves_unheard_rtcp_of_a_reachable_host(net: Net) -> None:
    stage = strict(RTCP, (net.public, 4001))
    stage.latch.follow((net.public, 4000), stage.now)
    stage.latch.signal((net.public, 6001), stage.now)
    assert stage.latch.remote == (net.public, 6001)


def test_rtcp_of_an_asymmetric_party_stays_where_it_was_signalled(net: Net) -> None:
    stage = asymmetric(RTCP, (net.public, 4001))
    stage.latch.follow((net.public, 7000), stage.now)
    assert stage.hear((net.public, 7001))
    stage.latch.follow((net.public, 7002), stage.now)
    assert stage.latch.remote == (net.public, 4001)
    assert stage.hear((net.public, 7003))


# What the relay relies on.


def test_a_source_believed_anew_is_another_object_so_that_rtcp_hears_of_it(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    stage.talk((net.nat, 31022), 600)
    believed = stage.latch.source
    stage.hear((net.nat, 31022))
    assert stage.latch.source is believed
    stage.latch.signal(("10.0.0.5" if net is V4 else "fd77::5", 4000), stage.now)
    stage.talk((net.nat, 31022), 5)
    assert stage.latch.source == believed
    assert stage.latch.source is not believed


def test_the_source_changes_only_with_a_datagram_that_is_forwarded(net: Net) -> None:
    stage = strict(RTP, (net.private, 4000))
    for _ in range(60):
        for source in [(net.nat, 4000), (net.stranger, 9), (net.stranger, 10)]:
            before = stage.latch.source
            passed = stage.hear(source)
            assert stage.latch.source is before or passed
            stage.now += 0.007
    assert stage.latch.source == (net.nat, 4000)


@pytest.mark.parametrize(
    "policy, made", [("strict", StrictLatch), ("rtpproxy", RtpproxyLatch)], ids=str
)
def test_policies_are_chosen_by_name(policy: str, made: type) -> None:
    assert type(latch_factory(policy)(RTP)) is made


def test_an_unknown_policy_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'loose'"):
        latch_factory("loose")


@pytest.mark.parametrize("policy", ["strict", "rtpproxy"])
def test_latches_are_lean(policy: str) -> None:
    assert not hasattr(latch_factory(policy)(RTP), "__dict__")
