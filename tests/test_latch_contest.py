"""The policy ``strict`` where several foreign sources compete, a sprayer among them."""

from __future__ import annotations

from typing import cast

import pytest

from tests.datagrams import DTLS, STUN, ZRTP, rtp
from tests.latching import RTCP, RTP, V4, V6, Net, strict


@pytest.fixture(params=[V4, V6], ids=["ipv4", "ipv6"])
def net(request: pytest.FixtureRequest) -> Net:
    """The example hosts of an address family."""
    return cast(Net, request.param)


@pytest.fixture(params=[RTP, RTCP], ids=["rtp", "rtcp"])
def component(request: pytest.FixtureRequest) -> int:
    """1 for RTP, 2 for RTCP."""
    return cast(int, request.param)


# The contest of foreign sources.


def test_a_competitor_prolongs_the_choice_to_half_a_second(net: Net, component: int) -> None:
    stage = strict(component, (net.private, 4000))
    waited, lost = stage.converse((net.nat, 31022), (net.stranger, 9), packets=100)
    assert lost == 0
    assert 100 - waited in (29, 30)  # ready with the fifth, then 0.5 s


@pytest.mark.parametrize("datagram", [STUN, DTLS, ZRTP], ids=["STUN", "DTLS", "ZRTP"])
def test_a_stranger_who_only_shakes_hands_makes_nobody_wait(net: Net, datagram: bytes) -> None:
    stage = strict(RTP, (net.private, 4000))
    for number in range(5):
        assert not stage.hear((net.stranger, 9), datagram)
        assert stage.hear((net.nat, 31022)) is (number == 4)
        stage.now += 0.02


def test_a_spray_makes_nobody_wait(net: Net, component: int) -> None:
    stage = strict(component, (net.private, 4000))
    for number in range(5):
        assert not stage.hear((net.stranger, 9 + number))
        assert stage.hear((net.nat, 31022)) is (number == 4)
        stage.now += 0.02


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
