"""Hardware addresses that change, on real devices: the path's table follows the kernel's."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtpproxy_tw.media.kernel import layout, rtnetlink
from rtpproxy_tw.media.kernel.ebpf import EbpfPath
from rtpproxy_tw.media.kernel.left import Left
from rtpproxy_tw.media.kernel.path import FlowId
from tests.kernel.frames import rtp
from tests.kernel.network import CALLEE, CALLEE6, CALLEE_SIDE, Namespace, Peer, Pump
from tests.kernel.relaying import PARTY, PORT, Relaying, flow_of, relaying

pytestmark = pytest.mark.kernel

Parties = tuple[Peer, Peer, Peer, Peer]

NEW = bytes.fromhex("02000000beef")
WRONG = bytes.fromhex("02000000dead")

WORDS = layout.HOP.size // 8

PATIENCE = 15.0
"""Seconds: more than the kernel takes to give a neighbour up, as these tests set it."""


@pytest.fixture
def relay() -> Iterator[Relaying]:
    with relaying() as made:
        yield made


def look_on(relay: Relaying) -> socket.socket:
    """Somebody who sees what leaves, so that all of it leaves by the device.

    The other end of a pair of devices takes what is handed to it whatever its address.
    """
    heard = frames(relay.net.relay, "rb")
    relay.settle()
    return heard


def text(address: bytes) -> str:
    return address.hex(":")


def own(where: Namespace, device: str) -> bytes:
    """A device's hardware address."""
    with where:
        requests = rtnetlink.Requests()
        (found,) = [link.address for link in requests.links() if link.name == device]
        requests.close()
    return found


def told(relay: Relaying, id: FlowId, path: EbpfPath | None = None) -> tuple[bytes, bytes] | None:
    """What the program believes of the flow's neighbour: its address, and the device's own."""
    path = path or relay.path
    place, words = path._flows[id].place, path._neighbours._words
    to, us = words[(place & 0xFFFF) * WORDS], words[(place & 0xFFFF) * WORDS + 1]
    if not place or to >> 48 != place >> 16 or us >> 48 != place >> 16:
        return None
    return to.to_bytes(8, "little")[:6], us.to_bytes(8, "little")[:6]


def ask_not(relay: Relaying, id: FlowId) -> None:
    """For a second no packet to that neighbour goes the kernel's way."""
    at = relay.path._flows[id].place & 0xFFFF
    relay.path._neighbours._words[at * WORDS + 2] = time.monotonic_ns()


def passes(parties: Parties, number: int = 1, seconds: float = 0.1) -> bool:
    """Whether a packet arrives; it does not come to the relay's socket."""
    caller, towards, _, callee = parties
    caller.send(rtp(number), towards.address)
    heard = callee.hear(seconds)
    assert towards.hear(0.0) is None
    assert heard is None or heard.payload == rtp(number)
    return heard is not None


def known(relay: Relaying, parties: Parties) -> FlowId:
    """A flow, and its neighbour is known."""
    id = relay.add(flow_of(parties))
    assert passes(parties, seconds=2.0)
    relay.settle()
    assert told(relay, id) == (own(relay.net.callee, "cb"), own(relay.net.relay, "rb"))
    ask_not(relay, id)
    return id


def frames(where: Namespace, device: str) -> socket.socket:
    """All that comes in there, header included."""
    with where:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        made.bind((device, 3))
    made.settimeout(2.0)
    return made


def header(heard: socket.socket, payload: bytes) -> bytes:
    """The two addresses of the frame with that payload."""
    while True:
        frame = heard.recv(2048)
        if frame.endswith(payload):
            return frame[:12]


def set_up(where: Namespace, **settings: int) -> None:
    """Write sysctls; a double underscore stands for a dot."""
    with where:
        for name, value in settings.items():
            path = "/proc/sys/net/" + name.replace("__", "/")
            Path(path).write_text(str(value))


@pytest.mark.parametrize("leaves", [4, 6])
@pytest.mark.parametrize("came", [4, 6])
def test_the_program_itself_addresses_frames(relay: Relaying, came: int, leaves: int) -> None:
    parties = relay.parties(came, leaves)
    known(relay, parties)
    heard = frames(relay.net.callee, "cb")
    with heard:
        for number in range(5):
            assert passes(parties, number, seconds=2.0)
            addresses = own(relay.net.callee, "cb") + own(relay.net.relay, "rb")
            assert header(heard, rtp(number)) == addresses


def test_frames_go_where_the_table_says_and_only_while_it_is_vouched_for(relay: Relaying) -> None:
    """A wrong address, put there by the test, shows which way they go."""
    onlooker = look_on(relay)
    parties = relay.parties()
    id = known(relay, parties)
    neighbours = relay.path._neighbours
    neighbours._hops.learn(rtnetlink.Neighbour(relay.net.relay.device("rb"), CALLEE, WRONG))
    ask_not(relay, id)
    assert not passes(parties)
    relay.path._table.vouch_until(time.monotonic_ns())
    assert passes(parties, seconds=2.0), "a process that stands still is not believed"
    relay.path._live_on()
    ask_not(relay, id)
    assert not passes(parties)
    with relay.net.relay:
        relay.path._refresh_all()
    assert passes(parties, seconds=2.0), "every ten seconds all is looked at anew"
    onlooker.close()


@pytest.mark.parametrize("version", [4, 6])
def test_a_neighbour_that_announces_another_address_is_followed_at_once(
    relay: Relaying, version: int
) -> None:
    parties = relay.parties(version, version)
    id = known(relay, parties)
    setting = f"ipv{version}__conf__cb__{'arp' if version == 4 else 'ndisc'}_notify"
    set_up(relay.net.callee, **{setting: 1})
    relay.net.callee.ip(f"link set cb address {text(NEW)}")
    relay.settle()
    assert told(relay, id) == (NEW, own(relay.net.relay, "rb"))
    ask_not(relay, id)
    assert passes(parties, seconds=2.0)


def test_a_neighbour_that_has_changed_in_silence_is_found_by_the_kernels_probing(
    relay: Relaying,
) -> None:
    """What the program sends by itself must not keep the kernel from noticing."""
    onlooker = look_on(relay)
    set_up(
        relay.net.relay,
        ipv4__neigh__rb__base_reachable_time_ms=400,
        ipv4__neigh__rb__delay_first_probe_time=1,
        ipv4__neigh__rb__retrans_time_ms=100,
    )
    parties = relay.parties()
    id = known(relay, parties)
    relay.net.callee.ip(f"link set cb address {text(NEW)}")
    deadline = time.monotonic() + PATIENCE
    number = lost = 0
    while not passes(parties, number, seconds=0.02):
        assert time.monotonic() < deadline, "it is never found"
        number, lost = number + 1, lost + 1
        relay.settle(0.02)
    relay.settle()
    assert lost, "nobody has told the relay"
    assert told(relay, id) == (NEW, own(relay.net.relay, "rb"))
    onlooker.close()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("line", ["del {} dev rb", "change {} dev rb nud failed"])
def test_a_neighbour_that_is_lost_is_asked_for_again(
    relay: Relaying, version: int, line: str
) -> None:
    parties = relay.parties(version, version)
    id = known(relay, parties)
    relay.net.relay.ip("neigh " + line.format(CALLEE if version == 4 else CALLEE6))
    assert passes(parties, 2, seconds=2.0), "before the relay hears of it, too"
    relay.settle()
    assert told(relay, id) is None
    assert passes(parties, 3, seconds=2.0)
    relay.settle()
    assert told(relay, id) is not None


def test_a_neighbour_that_nobody_answers_for_is_believed_no_more(relay: Relaying) -> None:
    parties = relay.parties()
    id = known(relay, parties)
    set_up(relay.net.relay, ipv4__neigh__rb__retrans_time_ms=100)
    set_up(relay.net.callee, ipv4__conf__cb__arp_ignore=8)
    relay.net.relay.ip(f"neigh change {CALLEE} dev rb nud probe")
    deadline = time.monotonic() + PATIENCE
    while told(relay, id) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        relay.settle(0.05)


def test_the_far_end_of_a_link_may_go_and_come_with_another_address(relay: Relaying) -> None:
    parties = relay.parties()
    id = known(relay, parties)
    relay.net.callee.ip("link set cb down", f"link set cb address {text(NEW)}")
    relay.settle()
    if id not in relay.withdrawn:
        assert told(relay, id) is None
    relay.net.callee.ip("link set cb up")
    relay.settle()
    if id in relay.withdrawn:
        relay.path.remove(id)
        id = relay.add(flow_of(parties))
    assert passes(parties, 2, seconds=2.0)
    relay.settle()
    assert told(relay, id) == (NEW, own(relay.net.relay, "rb"))


def test_the_devices_own_address_is_followed(relay: Relaying) -> None:
    parties = relay.parties()
    id = known(relay, parties)
    relay.net.relay.ip(f"link set rb address {text(NEW)}")
    relay.settle()
    heard = frames(relay.net.callee, "cb")
    with heard:
        assert passes(parties, 2, seconds=2.0)
        relay.settle()
        ask_not(relay, id)
        assert told(relay, id) == (own(relay.net.callee, "cb"), NEW)
        assert passes(parties, 3, seconds=2.0)
        assert header(heard, rtp(3)) == own(relay.net.callee, "cb") + NEW


def test_flows_behind_a_gateway_share_its_address_and_follow_the_route(relay: Relaying) -> None:
    net = relay.net
    # Another neighbour on the same link, with an address of its own; both lead to 203.0.113.9.
    net.callee.ip(
        f"link add link cb name cm address {text(NEW)} type macvlan mode bridge",
        "address add 198.51.100.10/32 dev cm",
        "link set cm up",
        "address add 203.0.113.9/32 dev lo",
    )
    set_up(net.callee, ipv4__conf__all__arp_ignore=1)
    net.relay.ip(f"route add 203.0.113.0/24 via {CALLEE}")
    caller, towards, out, _ = direct = relay.parties()
    far = net.socket(net.callee, "203.0.113.9", PARTY)
    first = known(relay, direct)
    other = net.socket(net.relay, towards.address[0], PORT + 10)
    parties = caller, other, out, far
    second = relay.add(flow_of(parties))
    assert relay.path._flows[second].place == relay.path._flows[first].place
    assert passes(parties)
    net.relay.ip("route change 203.0.113.0/24 via 198.51.100.10")
    relay.settle()
    assert relay.path._flows[second].place != relay.path._flows[first].place
    assert passes(parties, seconds=2.0)
    relay.settle()
    assert told(relay, second) == (NEW, own(net.relay, "rb"))
    heard = frames(net.callee, "cb")
    with heard:
        ask_not(relay, second)
        assert passes(parties, 7, seconds=2.0)
        assert header(heard, rtp(7))[:6] == NEW
    assert told(relay, first) == (own(net.callee, "cb"), own(net.relay, "rb"))
    relay.path.remove(second)
    assert (net.relay.device("rb"), "198.51.100.10") not in relay.path._neighbours._hops


def test_more_news_than_can_be_kept_are_as_good_as_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rtnetlink, "RECEIVE_BUFFER", 1)
    with relaying() as relay:
        parties = relay.parties()
        id = known(relay, parties)
        others = [
            f"neigh replace 198.51.100.{number} lladdr {text(WRONG)} dev rb"
            for number in range(50, 250)
        ]
        relay.net.relay.ip(*others, f"neigh replace {CALLEE} lladdr {text(NEW)} dev rb", *others)
        missed: list[bool] = []
        hear = relay.path._neighbours.missed
        (watcher,) = relay.pump.readers

        def tell(hears: bool) -> None:
            missed.append(hears)
            hear(hears)

        watcher._missed = tell
        relay.settle()
        assert missed == [True]
        assert told(relay, id) == (NEW, own(relay.net.relay, "rb"))


def test_a_path_that_hears_no_news_leaves_neighbours_to_the_kernel(relay: Relaying) -> None:
    parties = relay.parties()
    id = known(relay, parties)
    with relay.net.relay:
        relay.path._neighbours.missed(False)
    assert told(relay, id) is None
    relay.settle(12)
    assert told(relay, id) is None
    assert passes(parties, 2)


def test_only_neighbours_on_ethernet_have_a_place(relay: Relaying) -> None:
    caller, towards, _, _ = relay.parties()
    here = relay.net.socket(relay.net.relay, CALLEE_SIDE, PORT + 20)
    callee = relay.net.socket(relay.net.relay, CALLEE_SIDE, PARTY + 20)
    id = relay.add(flow_of((caller, towards, here, callee)))
    assert relay.path._flows[id].place == 0
    assert passes((caller, towards, here, callee))


def test_flows_of_a_process_before_get_places_of_their_own(relay: Relaying) -> None:
    if relay.path.method != "tcx":
        pytest.skip("a path that ends with its process")
    parties = relay.parties()
    id = known(relay, parties)
    flow, before = relay.path._flows[id].flow, relay.path._flows[id].place
    descriptors = {name: os.dup(it) for name, it in relay.path.descriptors().items()}
    pump = Pump()
    path = EbpfPath(
        pump, capacity=64, ring_octets=1 << 16, left=Left(dict(relay.path.shape()), descriptors)
    )
    with relay.net.relay:
        path.start()
    try:
        assert told(relay, id) is None, "nobody looks after the places of the process before"
        assert passes(parties, 2)
        with relay.net.relay:
            adopted = path.adopt(flow)
        assert adopted is not None
        assert path._flows[adopted].place != before
        expected = own(relay.net.callee, "cb"), own(relay.net.relay, "rb")
        assert told(relay, adopted, path) == expected
        content = path._table.read(path._flows[adopted].slot)
        assert layout.unpack_place(content) == path._flows[adopted].place
        assert passes(parties, 3)
        assert path.remove(adopted).packets == 3
    finally:
        path.stop()
