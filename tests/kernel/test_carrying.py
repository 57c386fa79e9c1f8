"""Media through real devices: what the path carries, and what it leaves to the sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.kernel.frames import rtp
from tests.kernel.network import CALLEE_SIDE, CALLER_SIDE, SIDES
from tests.kernel.relaying import PARTY, PORT, Relaying, flow_of, relaying

pytestmark = pytest.mark.kernel


@pytest.fixture(params=["tcx", "clsact"])
def either(request: pytest.FixtureRequest) -> Iterator[Relaying]:
    """Attached in both ways."""
    with relaying(method=request.param) as made:
        yield made


@pytest.fixture
def relay() -> Iterator[Relaying]:
    with relaying() as made:
        yield made


@pytest.mark.parametrize("leaves", [4, 6])
@pytest.mark.parametrize("came", [4, 6])
def test_media_goes_from_party_to_party(either: Relaying, came: int, leaves: int) -> None:
    caller, towards, out, callee = parties = either.parties(came, leaves)
    id = either.add(flow_of(parties))
    for number in range(20):
        caller.send(rtp(number), towards.address)
        heard = callee.hear()
        assert heard is not None
        assert (heard.payload, heard.source) == (rtp(number), out.address)
        assert (heard.tos, heard.ttl) == (0xB8, 64)
    assert towards.is_quiet()
    sample = either.path.remove(id)
    assert (sample.packets, sample.octets, sample.rtp.received) == (20, 640, 20)


def test_after_removal_media_comes_to_the_socket(relay: Relaying) -> None:
    caller, towards, _, callee = parties = relay.parties()
    id = relay.add(flow_of(parties))
    relay.path.remove(id)
    caller.send(rtp(1), towards.address)
    assert towards.hear()
    assert callee.is_quiet()


def test_nothing_is_lost_doubled_or_overtaken_while_flows_come_and_go(relay: Relaying) -> None:
    caller, towards, out, callee = parties = relay.parties()
    flow = flow_of(parties)
    id, carried = None, 0
    callee.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    for number in range(120):
        if number % 30 == 10:
            id = relay.add(flow)
        elif number % 30 == 25:
            assert id is not None
            carried += relay.path.remove(id).packets
            id = None
        caller.send(rtp(number), towards.address)
        if id is None and (heard := towards.hear()):
            out.send(heard.payload, callee.address)
    assert callee.payloads(120) == [rtp(number) for number in range(120)]
    assert callee.is_quiet()
    assert carried == 60


def test_a_stranger_is_not_relayed_but_heard(relay: Relaying) -> None:
    _, towards, _, callee = parties = relay.parties()
    relay.add(flow_of(parties))
    stranger = relay.net.socket(relay.net.caller, parties[0].address[0], PARTY + 1)
    stranger.send(rtp(1), towards.address)
    heard = towards.hear()
    assert heard is not None
    assert heard.source == stranger.address
    assert callee.is_quiet()


def test_a_flood_of_strangers_ends_in_the_kernel_and_the_stream_goes_on() -> None:
    with relaying(budget=5) as relay:
        caller, towards, _, callee = parties = relay.parties()
        id = relay.add(flow_of(parties))
        stranger = relay.net.socket(relay.net.caller, parties[0].address[0], PARTY + 1)
        for number in range(50):
            stranger.send(b"flood", towards.address)
            caller.send(rtp(number), towards.address)
        assert callee.payloads(50) == [rtp(number) for number in range(50)]
        sample = relay.path.sample(id)
        # A second may begin anew within the test.
        assert sample.foreign in (5, 10)
        assert sample.foreign + sample.refused == 50
        assert len(towards.payloads(sample.foreign)) == sample.foreign
        assert towards.is_quiet()


@pytest.mark.parametrize("version", [4, 6])
def test_a_long_datagram_comes_in_fragments_and_to_the_socket(
    relay: Relaying, version: int
) -> None:
    caller, towards, _, callee = parties = relay.parties(version, version)
    relay.add(flow_of(parties))
    caller.send(bytes(3000), towards.address)
    heard = towards.hear()
    assert heard is not None
    assert len(heard.payload) == 3000
    assert callee.is_quiet()


def test_a_datagram_with_ip_options_comes_to_the_socket(relay: Relaying) -> None:
    caller, towards, _, callee = parties = relay.parties()
    relay.add(flow_of(parties))
    caller.socket.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x01\x01\x01\x01")
    caller.send(rtp(1), towards.address)
    assert towards.hear()
    assert callee.is_quiet()


def test_segments_that_travel_as_one_come_to_the_socket(relay: Relaying) -> None:
    udp_segment = 103
    caller, towards, _, callee = parties = relay.parties()
    relay.add(flow_of(parties))
    caller.socket.setsockopt(socket.IPPROTO_UDP, udp_segment, 100)
    caller.send(bytes(300), towards.address)
    assert [len(it) for it in towards.payloads(3)] == [100, 100, 100]
    assert callee.is_quiet()


@pytest.mark.parametrize("payload", [b"", b"\x00", rtp(1, octets=0), rtp(1, octets=1459)])
def test_short_and_long_datagrams_pass(relay: Relaying, payload: bytes) -> None:
    caller, towards, _, callee = parties = relay.parties()
    relay.add(flow_of(parties))
    caller.send(payload, towards.address)
    heard = callee.hear()
    assert heard is not None
    assert heard.payload == payload
    assert towards.is_quiet()


@pytest.mark.parametrize("version", [4, 6])
def test_a_wildcard_socket_is_as_good_as_any(relay: Relaying, version: int) -> None:
    _, towards, out, callee = SIDES[version]
    net = relay.net
    wildcard = "::" if version == 6 else "0.0.0.0"
    caller = net.socket(net.caller, SIDES[version][0], PARTY)
    slow = net.socket(net.relay, wildcard, PORT)
    leaves = net.socket(net.relay, wildcard, PORT + 2)
    sink = net.socket(net.callee, callee, PARTY)
    id = relay.add(flow_of((caller, slow, leaves, sink)))
    for host in (towards, out):
        relay.net.caller.ip(f"route replace {out} via {towards}")
        caller.send(rtp(1), (host, PORT))
        heard = sink.hear()
        assert heard is not None
        assert heard.source == (out, PORT + 2)
    assert slow.is_quiet()
    assert relay.path.sample(id).packets == 2


@pytest.mark.parametrize("version", [4, 6])
def test_a_call_of_this_relay_may_lead_to_another_one_of_it(relay: Relaying, version: int) -> None:
    caller, towards, out, callee = parties = relay.parties(version, version)
    net = relay.net
    second_in = net.socket(net.relay, towards.address[0], PORT + 4)
    second_out = net.socket(net.relay, out.address[0], PORT + 6)
    relay.add(flow_of(parties, to=second_in.address))
    relay.add(flow_of(parties, local=second_in.address, source=out.address, out=second_out.address))
    for number in range(5):
        caller.send(rtp(number), towards.address)
        heard = callee.hear()
        assert heard is not None
        assert (heard.payload, heard.source) == (rtp(number), second_out.address)
        assert (heard.tos, heard.ttl) == (0xB8, 64)
    assert towards.is_quiet()
    assert second_in.is_quiet()


@pytest.mark.parametrize("leaves", [4, 6])
@pytest.mark.parametrize("came", [4, 6])
def test_a_party_may_live_on_this_host(relay: Relaying, came: int, leaves: int) -> None:
    caller, towards, out, _ = parties = relay.parties(came, leaves)
    net = relay.net
    party = net.socket(net.relay, SIDES[leaves][1], PARTY)
    relay.add(flow_of(parties, to=party.address))
    caller.send(rtp(1), towards.address)
    heard = party.hear()
    assert heard is not None
    assert (heard.payload, heard.source) == (rtp(1), out.address)


def test_both_parties_may_live_on_this_host(relay: Relaying) -> None:
    net = relay.net
    parties = tuple(
        net.socket(net.relay, f"127.0.0.{number}", PORT + number) for number in range(1, 5)
    )
    caller, towards, out, callee = parties
    id = relay.add(flow_of((caller, towards, out, callee)))
    back = relay.add(flow_of((callee, out, towards, caller)))
    for number in range(10):
        caller.send(rtp(number), towards.address)
        callee.send(rtp(number + 100), out.address)
    assert callee.payloads(10) == [rtp(number) for number in range(10)]
    assert caller.payloads(10) == [rtp(number + 100) for number in range(10)]
    assert relay.path.sample(id).packets == relay.path.sample(back).packets == 10
    assert towards.is_quiet()


def test_two_flows_that_lead_to_each_other_end_in_a_socket(relay: Relaying) -> None:
    net = relay.net
    caller, towards, out, _ = parties = relay.parties()
    one = net.socket(net.relay, CALLER_SIDE, PORT + 4)
    other = net.socket(net.relay, CALLEE_SIDE, PORT + 6)
    # What comes to one leaves from other to one again.
    first = relay.add(flow_of(parties, to=one.address))
    loop = relay.add(
        flow_of(parties, local=one.address, source=out.address, out=out.address, to=one.address)
    )
    caller.send(rtp(1), towards.address)
    heard = one.hear()
    assert heard is not None
    assert heard.payload == rtp(1)
    assert relay.path.sample(first).packets == 1
    assert 50 < relay.path.sample(loop).packets < 70
    assert other.is_quiet()


def test_icmp_of_a_closed_port_does_no_harm(relay: Relaying) -> None:
    caller, towards, _, callee = parties = relay.parties()
    relay.add(flow_of(parties))
    callee.close()
    for number in range(3):
        caller.send(rtp(number), towards.address)
    again = relay.net.socket(relay.net.callee, *callee.address)
    caller.send(rtp(9), towards.address)
    heard = again.hear()
    assert heard is not None
    assert heard.payload == rtp(9)


def test_rtcp_flows_are_carried_too(relay: Relaying) -> None:
    caller, towards, _, callee = parties = relay.parties()
    id = relay.add(flow_of(parties, rtp=False))
    report = b"\x80\xc9\x00\x01\x00\x00\x00\x01"
    caller.send(report, towards.address)
    assert callee.payloads(1) == [report]
    assert relay.path.sample(id).rtp.errors == 0


def test_tapped_datagrams_come_to_the_tap_too(relay: Relaying) -> None:
    caller, towards, _, callee = parties = relay.parties()
    id = relay.add(flow_of(parties, tap=True))
    sent = [rtp(number, octets=octets) for number, octets in enumerate((0, 160, 400, 1200, 1459))]
    for payload in sent:
        caller.send(payload, towards.address)
    assert callee.payloads(5) == sent
    relay.settle(0.1)
    assert [(it[0], it[1], it[2]) for it in relay.taps] == [
        (id, payload, caller.address) for payload in sent
    ]
    assert [it[3] for it in relay.taps] == sorted(it[3] for it in relay.taps)


def test_a_tap_is_complete_when_it_ends(relay: Relaying) -> None:
    caller, towards, _, callee = parties = relay.parties()
    id = relay.add(flow_of(parties))
    for number in range(30):
        if number in (10, 20):
            relay.path.set_tap(id, number == 10)
        caller.send(rtp(number), towards.address)
        assert callee.hear()
    assert [it[1] for it in relay.taps] == [rtp(number) for number in range(10, 20)]
    relay.path.set_tap(id, True)
    caller.send(rtp(30), towards.address)
    assert callee.hear()
    relay.path.remove(id)
    assert relay.taps[-1][1] == rtp(30)


def test_a_tap_that_nobody_reads_loses_copies_and_no_media(relay: Relaying) -> None:
    caller, towards, _, callee = parties = relay.parties()
    id = relay.add(flow_of(parties, tap=True))
    for number in range(400):
        caller.send(rtp(number), towards.address)
        assert callee.hear()
    lost = relay.path.sample(id).tap_lost
    assert lost > 0
    relay.settle(0.1)
    assert len(relay.taps) == 400 - lost
    caller.send(rtp(400), towards.address)
    assert callee.hear()
    relay.settle(0.1)
    assert relay.taps[-1][1] == rtp(400)
