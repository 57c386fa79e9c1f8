"""What the program does with single packets, run by the kernel on request."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from rtpproxy_tw.addresses import family_of
from rtpproxy_tw.media.kernel import layout
from tests.kernel.bench_program import (
    DROP,
    NEIGHBOUR,
    NEXT,
    OWN,
    REDIRECT,
    Bench,
    hosts_of,
    new_bench,
)
from tests.kernel.frames import ETHERNET, Datagram, ones, rtp

pytestmark = pytest.mark.kernel

HERE, PEER = hosts_of(4)
OUT, FAR = "198.51.100.1", "198.51.100.9"
OUT6, FAR6 = "2001:db8:1::1", "2001:db8:1::9"

LOCAL, SOURCE = (HERE, 35000), (PEER, 40000)
LEAVES, TO = (OUT, 36000), (FAR, 41000)

CAME = Datagram(SOURCE, LOCAL, rtp(1))


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = new_bench()
    yield made
    made.close()


@pytest.mark.parametrize("payload", [rtp(7), rtp(8, octets=160), rtp(9, octets=161), b"", b"x"])
@pytest.mark.parametrize("family_out", [4, 6])
@pytest.mark.parametrize("family_in", [4, 6])
def test_what_leaves_is_what_a_socket_would_have_sent(
    bench: Bench, family_in: int, family_out: int, payload: bytes
) -> None:
    here, peer = hosts_of(family_in)
    out, far = (OUT, FAR) if family_out == 4 else (OUT6, FAR6)
    bench.flow((here, 35000), (peer, 40000), (out, 36000), (far, 41000))
    came = Datagram((peer, 40000), (here, 35000), payload, tos=0x20, ttl=3, id=77)
    left = Datagram((out, 36000), (far, 41000), payload, tos=0xB8, ttl=64)
    if family_in == family_out == 4:
        left = left.but(id=77)
    elif family_in == 6:
        left = left.but(id=0)
    run = bench.run(came)
    assert run.verdict == REDIRECT
    assert run.packet[14:] == bytes(left)[14:]
    assert run.packet[12:14] == bytes(left)[12:14]


@pytest.mark.parametrize("octets", [20, 161])
@pytest.mark.parametrize("family_out", [4, 6])
@pytest.mark.parametrize("family_in", [4, 6])
def test_what_leaves_is_a_whole_frame_where_the_neighbour_is_known(
    bench: Bench, family_in: int, family_out: int, octets: int
) -> None:
    here, peer = hosts_of(family_in)
    leaves, to = ((OUT, 36000), (FAR, 41000)) if family_out == 4 else ((OUT6, 36000), (FAR6, 41000))
    bench.flow((here, 35000), (peer, 40000), leaves, to, neighbour=NEIGHBOUR)
    payload = rtp(7, octets=octets)
    left = Datagram(leaves, to, payload, tos=0xB8, ttl=64, id=0)
    if family_in == family_out == 4:
        left = left.but(id=0x1234)
    run = bench.run(Datagram((peer, 40000), (here, 35000), payload))
    assert (run.verdict, run.packet) == (REDIRECT, NEIGHBOUR + OWN + bytes(left)[12:])


def is_addressed(bench: Bench) -> bool:
    """Whether the program itself says where the next packet goes; if not, the kernel does."""
    run = bench.run(CAME)
    assert run.verdict == REDIRECT
    assert run.packet[:12] in (NEIGHBOUR + OWN, bytes(12))
    assert run.packet[14:] == bytes(Datagram(LEAVES, TO, CAME.payload, tos=0xB8, ttl=64))[14:]
    return run.packet[:12] != bytes(12)


def place_of(bench: Bench, slot: int) -> int:
    return layout.unpack_place(bench.table.read(slot))


def test_once_a_second_a_packet_goes_the_kernels_way(bench: Bench) -> None:
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO, neighbour=NEIGHBOUR)
    bench.ask(place_of(bench, slot))
    assert [is_addressed(bench) for _ in range(4)] == [False, True, True, True]


def test_an_address_that_nobody_vouches_for_is_not_used(bench: Bench) -> None:
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO, neighbour=NEIGHBOUR)
    bench.table.vouch_until(bench.sample(slot).last_ns)
    assert not is_addressed(bench)
    bench.table.vouch_until(bench.sample(slot).last_ns + 10**9)
    assert is_addressed(bench)


def test_an_address_that_is_known_no_more_is_not_used(bench: Bench) -> None:
    bench.flow(LOCAL, SOURCE, LEAVES, TO, neighbour=NEIGHBOUR)
    assert is_addressed(bench)
    bench.hops.forget()
    assert not is_addressed(bench)


def test_a_place_that_another_neighbour_has_got_is_not_used(bench: Bench) -> None:
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO, neighbour=NEIGHBOUR)
    place = place_of(bench, slot)
    bench.table.point(slot, place + (1 << 16))
    assert not is_addressed(bench)
    bench.table.point(slot, place & 0xFFFF)
    assert not is_addressed(bench)
    bench.table.point(slot, place)
    assert is_addressed(bench)


def test_every_checksum_comes_out_right(bench: Bench) -> None:
    bench.flow(LOCAL, SOURCE, LEAVES, TO)
    for value in range(0, 65536, 517):
        payload = b"\x80\x00" + value.to_bytes(2, "big") + bytes(20)
        left = Datagram(LEAVES, TO, payload, tos=0xB8, ttl=64)
        assert bench.run(CAME.but(payload=payload)).packet[14:] == bytes(left)[14:]


@pytest.mark.parametrize("family", [4, 6])
def test_a_checksum_that_looks_unfinished_by_chance_comes_out_right(
    bench: Bench, family: int
) -> None:
    """It is what a sender leaves to its device, the sum of addresses, protocol and length."""
    here, peer = hosts_of(family)
    out, far = (OUT, FAR) if family == 4 else (OUT6, FAR6)
    bench.flow((here, 35000), (peer, 40000), (out, 36000), (far, 41000))
    payload = rtp(1)[:-2]
    hosts = [socket.inet_pton(family_of(host), host) for host in (peer, here)]
    pseudo = b"".join(hosts) + struct.pack("!HH", 17, 8 + len(payload) + 2)
    udp = struct.pack("!HHH", 40000, 35000, 8 + len(payload) + 2) + payload
    unfinished = ones(pseudo) ^ 0xFFFF
    # What brings ones(pseudo + udp + word) to the same value.
    word = ones(struct.pack("!HH", unfinished, ones(pseudo + udp) ^ 0xFFFF))
    payload += struct.pack("!H", word)
    came = Datagram((peer, 40000), (here, 35000), payload)
    at = 14 + (20 if family == 4 else 40) + 6
    assert bytes(came)[at : at + 2] == unfinished.to_bytes(2, "big")
    left = Datagram((out, 36000), (far, 41000), payload, tos=0xB8, ttl=64)
    if family == 6:
        left = left.but(id=0)
    assert bench.run(came).packet[14:] == bytes(left)[14:]


def test_a_datagram_without_checksum_leaves_without_one(bench: Bench) -> None:
    bench.flow(LOCAL, SOURCE, LEAVES, TO)
    left = Datagram(LEAVES, TO, CAME.payload, tos=0xB8, ttl=64, checksum=False)
    assert bench.run(CAME.but(checksum=False)).packet[14:] == bytes(left)[14:]


def test_a_datagram_without_checksum_is_no_ipv6_datagram(bench: Bench) -> None:
    slot = bench.flow(LOCAL, SOURCE, (OUT6, 36000), (FAR6, 41000))
    came = CAME.but(checksum=False)
    run = bench.run(came)
    assert (run.verdict, run.packet) == (NEXT, bytes(came))
    assert bench.sample(slot).handed_up == 1


def test_fragmentable_datagrams_stay_so(bench: Bench) -> None:
    bench.flow(LOCAL, SOURCE, LEAVES, TO)
    left = Datagram(LEAVES, TO, CAME.payload, tos=0xB8, ttl=64, fragment=0)
    assert bench.run(CAME.but(fragment=0)).packet[14:] == bytes(left)[14:]


def test_packets_and_octets_of_payload_are_counted(bench: Bench) -> None:
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO)
    for number in range(5):
        bench.run(CAME.but(payload=rtp(number)))
    sample = bench.sample(slot)
    assert (sample.packets, sample.octets) == (5, 5 * 32)
    assert 0 < sample.gap_ns <= sample.last_ns


@pytest.mark.parametrize("source", [("192.0.2.8", 40000), (PEER, 40001)])
def test_another_source_is_left_to_the_socket(bench: Bench, source: tuple[str, int]) -> None:
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO)
    came = CAME.but(source=source)
    run = bench.run(came)
    assert (run.verdict, run.packet) == (NEXT, bytes(came))
    assert bench.sample(slot).foreign == 1
    assert bench.sample(slot).packets == 0


def test_a_flood_from_another_source_ends_in_the_kernel(bench: Bench) -> None:
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO, budget=3)
    stranger = CAME.but(source=("192.0.2.8", 1))
    verdicts = [bench.run(stranger).verdict for _ in range(10)]
    assert verdicts == [NEXT] * 3 + [DROP] * 7
    assert bench.run(CAME).verdict == REDIRECT
    sample = bench.sample(slot)
    assert (sample.foreign, sample.refused, sample.packets) == (3, 7, 1)


def with_header(at: int, value: int) -> bytes:
    """CAME with one octet of the frame changed, and no checksum made anew."""
    frame = bytearray(bytes(CAME))
    frame[at] ^= value
    return bytes(frame)


UNTOUCHED = {
    "another port": CAME.but(to=(HERE, 35001)),
    "another address": CAME.but(to=("192.0.2.2", 35000)),
    "a first fragment": CAME.but(fragment=0x2000),
    "a later fragment": CAME.but(fragment=0x0010),
    "IP options": CAME.but(options=b"\x01\x01\x01\x01"),
    "a damaged IP header": with_header(14 + 8, 1),
    "TCP": with_header(14 + 9, 17 ^ 6),
    "a UDP length that is not the packet's": with_header(14 + 20 + 5, 1),
    "cut short": bytes(CAME)[:-1],
    "no room for UDP": bytes(CAME)[: 14 + 27],
    "another protocol": ETHERNET + b"\x08\x06" + bytes(46),
    "a tag of a VLAN": ETHERNET + b"\x81\x00\x00\x07" + bytes(CAME)[12:],
    "for another station": b"\x02" + bytes(CAME)[1:],
    "for all stations": b"\xff" * 6 + bytes(CAME)[6:],
}


@pytest.mark.parametrize("kind", UNTOUCHED)
def test_what_is_not_ours_goes_on_untouched(bench: Bench, kind: str) -> None:
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO)
    frame = bytes(UNTOUCHED[kind])  # type: ignore[call-overload]
    run = bench.run(frame)
    assert run.verdict == NEXT
    # The harness takes a tag out of the frame before the program sees it.
    assert run.packet[-20:] == frame[-20:]
    assert bench.sample(slot).packets == 0


def test_extension_headers_go_up(bench: Bench) -> None:
    here, peer = hosts_of(6)
    bench.flow((here, 35000), (peer, 40000), (OUT6, 36000), (FAR6, 41000))
    frame = bytes(Datagram((peer, 40000), (here, 35000), rtp(1)))
    extended = frame[:20] + b"\x3c" + frame[21:54] + b"\x11\x00" + bytes(6) + frame[54:]
    extended = extended[:18] + (len(extended) - 54).to_bytes(2, "big") + extended[20:]
    assert bench.run(extended).verdict == NEXT


@pytest.mark.parametrize("octets", [1472, 1473])
def test_what_does_not_fit_the_way_out_goes_up(bench: Bench, octets: int) -> None:
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO, mtu=1500)
    run = bench.run(CAME.but(payload=bytes(octets)))
    assert run.verdict == (REDIRECT if octets == 1472 else NEXT)
    assert bench.sample(slot).handed_up == (octets > 1472)


@pytest.mark.parametrize("octets", [1452, 1453])
def test_ipv6_leaves_twenty_octets_less_room(bench: Bench, octets: int) -> None:
    bench.flow(LOCAL, SOURCE, (OUT6, 36000), (FAR6, 41000), mtu=1500)
    run = bench.run(CAME.but(payload=bytes(octets)))
    assert run.verdict == (REDIRECT if octets == 1452 else NEXT)


def test_a_wildcard_takes_what_is_sent_to_any_address_of_this_host(bench: Bench) -> None:
    bench.own(HERE)
    slot = bench.flow(("0.0.0.0", 35000), SOURCE, LEAVES, TO)
    assert bench.run(CAME).verdict == REDIRECT
    assert bench.run(CAME.but(to=("127.0.0.9", 35000))).verdict == REDIRECT
    assert bench.run(CAME.but(to=("192.0.2.77", 35000))).verdict == NEXT
    assert bench.sample(slot).packets == 2


def test_a_wildcard_of_ipv6_does_too(bench: Bench) -> None:
    here, peer = hosts_of(6)
    bench.own(here)
    bench.flow(("::", 35000), (peer, 40000), (OUT6, 36000), (FAR6, 41000))
    came = Datagram((peer, 40000), (here, 35000), rtp(1))
    assert bench.run(came).verdict == REDIRECT
    assert bench.run(came.but(to=("2001:db8::77", 35000))).verdict == NEXT


def test_an_exact_address_goes_before_a_wildcard(bench: Bench) -> None:
    bench.own(HERE)
    any_address = bench.flow(("0.0.0.0", 35000), SOURCE, LEAVES, TO)
    exact = bench.flow(LOCAL, SOURCE, LEAVES, TO)
    assert bench.run(CAME).verdict == REDIRECT
    assert (bench.sample(any_address).packets, bench.sample(exact).packets) == (0, 1)


@pytest.mark.parametrize("first", [0, 1])
def test_a_port_may_have_one_flow_or_several_in_turn(bench: Bench, first: int) -> None:
    hosts = (HERE, "192.0.2.2")
    slots = [bench.flow((host, 35000), SOURCE, LEAVES, TO) for host in hosts]
    frames = [CAME.but(to=(host, 35000)) for host in hosts]
    assert [bench.run(frame).verdict for frame in frames] == [REDIRECT, REDIRECT]
    bench.table.remove(slots[first])
    other = 1 - first
    assert bench.run(frames[first]).verdict == NEXT
    assert bench.run(frames[other]).verdict == REDIRECT
    again = bench.flow((hosts[first], 35000), SOURCE, LEAVES, TO)
    assert [bench.run(frame).verdict for frame in frames] == [REDIRECT, REDIRECT]
    assert bench.sample(again).packets == 1
    assert bench.sample(slots[other]).packets == 3


def test_nothing_is_counted_after_a_flow_is_removed(bench: Bench) -> None:
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO)
    bench.run(CAME)
    assert layout.unpack_sample(bench.table.remove(slot)).packets == 1
    assert bench.run(CAME).verdict == NEXT
    assert bench.sample(slot).packets == 1


def test_a_used_slot_begins_with_nothing(bench: Bench) -> None:
    for _ in range(20):
        slot = bench.flow(LOCAL, SOURCE, LEAVES, TO)
        bench.run(CAME)
        assert layout.unpack_sample(bench.table.remove(slot)).packets == 1


def test_a_stream_is_left_alone_once_its_relay_is_gone(bench: Bench) -> None:
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO)
    bench.table.serve_until(bench.sample(slot).last_ns + 1)
    assert bench.run(CAME).verdict == NEXT


def test_what_stays_on_this_host_grows_old(bench: Bench) -> None:
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO, is_local=True, via=None)
    assert bench.run(CAME.but(ttl=9)).packet[22] == 8
    assert bench.run(CAME.but(ttl=1)).verdict == NEXT
    assert bench.sample(slot).handed_up == 1


def test_rtcp_is_relayed_without_rtp_statistics(bench: Bench) -> None:
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO, flags=0)
    assert bench.run(CAME.but(payload=b"\x80\xc9\x00\x01" + bytes(4))).verdict == REDIRECT
    assert bench.sample(slot).packets == 1
    assert bench.sample(slot).rtp.errors == 0


def test_flows_are_found_in_slots_with_large_numbers_too() -> None:
    bench = new_bench(capacity=layout.SEVERAL + 2)
    try:
        slots = [bench.flow((HERE, port), SOURCE, LEAVES, TO, flags=0) for port in range(1, 8, 2)]
        assert min(slots) < layout.SEVERAL - 1 < max(slots)
        for port, slot in zip(range(1, 8, 2), slots, strict=True):
            assert bench.run(CAME.but(to=(HERE, port))).verdict == REDIRECT
            assert bench.sample(slot).packets == 1
    finally:
        bench.close()


def test_rtcp_on_the_port_of_rtp_is_no_rtp(bench: Bench) -> None:
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO)
    assert bench.run(CAME.but(payload=b"\x80\xc9\x00\x01" + bytes(20))).verdict == REDIRECT
    assert (bench.sample(slot).rtp.received, bench.sample(slot).rtp.errors) == (0, 1)


def test_what_follows_a_packet_that_went_up_waits_for_it(bench: Bench) -> None:
    flags = layout.RTP_FLAG | layout.ORDERED_FLAG
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO, flags=flags, mtu=500)
    first, long, after = (rtp(number, octets=size) for number, size in enumerate((20, 600, 20)))
    assert bench.run(Datagram(SOURCE, LOCAL, first)).verdict == NEXT
    bench.table.passed(slot, first, None)
    assert bench.run(Datagram(SOURCE, LOCAL, first)).verdict == REDIRECT
    assert bench.run(Datagram(SOURCE, LOCAL, long)).verdict == NEXT
    assert bench.run(Datagram(SOURCE, LOCAL, after)).verdict == NEXT
    for sent in (long, after):
        assert bench.table.is_held(slot)
        bench.table.passed(slot, sent, None)
    assert bench.run(Datagram(SOURCE, LOCAL, after)).verdict == REDIRECT
