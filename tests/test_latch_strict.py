"""The policy ``strict`` while a call is set up: who is believed, when, and who never."""

from __future__ import annotations

from typing import cast

import pytest

from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.latch import LatchState, RtpproxyLatch, StrictLatch, latch_factory
from tests.datagrams import DTLS, FAX, RECEIVER_REPORT, SENDER_REPORT, STUN, ZRTP, rtp
from tests.latching import RTCP, RTP, V4, V6, Net, strict


@pytest.fixture(params=[V4, V6], ids=["ipv4", "ipv6"])
def net(request: pytest.FixtureRequest) -> Net:
    """The example hosts of an address family."""
    return cast(Net, request.param)


@pytest.fixture(params=[RTP, RTCP], ids=["rtp", "rtcp"])
def component(request: pytest.FixtureRequest) -> int:
    """1 for RTP, 2 for RTCP."""
    return cast(int, request.param)


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
