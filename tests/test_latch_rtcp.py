"""The policy ``strict`` for RTCP, which agrees with RTP in its host."""

from __future__ import annotations

from typing import cast

import pytest

from tests.latching import RTCP, V4, V6, Net, asymmetric, strict


@pytest.fixture(params=[V4, V6], ids=["ipv4", "ipv6"])
def net(request: pytest.FixtureRequest) -> Net:
    """The example hosts of an address family."""
    return cast(Net, request.param)


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
