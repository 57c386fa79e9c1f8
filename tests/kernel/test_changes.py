"""The network changes under running flows, and others use the same devices."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rtpproxy_tw.media.kernel import attach, capabilities, rtnetlink
from rtpproxy_tw.media.kernel import bpf_syscall as bpf
from rtpproxy_tw.media.kernel.check import check
from rtpproxy_tw.media.kernel.ebpf import EbpfPath
from rtpproxy_tw.media.kernel.path import Unavailable
from tests.kernel.frames import Datagram, rtp
from tests.kernel.network import (
    CALLEE,
    CALLEE_SIDE,
    CALLER,
    Namespace,
    Peer,
    Pump,
    network,
    require_namespaces,
    until,
)
from tests.kernel.privileges import EVERY_NEEDED, in_thread
from tests.kernel.programs import counting
from tests.kernel.relaying import PARTY, PORT, Relaying, flow_of, relaying

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def relay() -> Iterator[Relaying]:
    with relaying() as made:
        yield made


def passes(parties: tuple[Peer, Peer, Peer, Peer], payload: bytes = rtp(1)) -> bool:
    """Whether the kernel carries a datagram now; if not, it came to the socket."""
    caller, towards, _, callee = parties
    caller.send(payload, towards.address)
    for _ in range(40):
        if callee.hear(0.05):
            return True
        if towards.hear(0.0):
            return False
    raise AssertionError("it is lost")


def test_a_smaller_mtu_of_the_device_counts_at_once(relay: Relaying) -> None:
    parties = relay.parties()
    relay.add(flow_of(parties))
    assert passes(parties, bytes(1400))
    relay.net.relay.ip("link set rb mtu 1300")
    relay.settle()
    assert not passes(parties, bytes(1400))
    assert passes(parties, bytes(1300 - 28))
    relay.net.relay.ip("link set rb mtu 1500")
    relay.settle()
    assert passes(parties, bytes(1400))


def test_the_mtu_of_a_route_counts(relay: Relaying) -> None:
    parties = relay.parties()
    relay.net.relay.ip(f"route replace {CALLEE}/32 dev rb mtu 600")
    relay.add(flow_of(parties))
    assert passes(parties, bytes(600 - 28))
    assert not passes(parties, bytes(601 - 28))


def test_a_learned_path_mtu_counts_after_a_while(relay: Relaying) -> None:
    net = relay.net
    parties = caller, towards, out, _ = relay.parties()
    # The callee lives behind a router with a narrow link.
    far = net.namespace("far")
    far.ip(
        f"link add f type veth peer name fb netns {net.callee.name}",
        "address add 203.0.113.9/24 dev f",
        "link set f up",
        "route add default via 203.0.113.1",
    )
    net.callee.ip("address add 203.0.113.1/24 dev fb", "link set fb mtu 1000 up")
    far.ip("link set f mtu 1000")
    with net.callee:
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    net.relay.ip(f"route add 203.0.113.0/24 via {CALLEE}")
    callee = net.socket(far, "203.0.113.9", PARTY)
    relay.add(flow_of((caller, towards, out, callee)))
    caller.send(bytes(1200), towards.address)
    assert callee.is_quiet()  # lost, but its ICMP error tells why
    relay.settle(11)
    assert not passes((caller, towards, out, callee), bytes(1200))
    assert passes((caller, towards, out, callee), bytes(900))
    assert parties[3].is_quiet()


def test_a_flow_follows_its_route(relay: Relaying) -> None:
    net = relay.net
    parties = relay.parties()
    relay.add(flow_of(parties))
    net.callee.ip(
        f"link add cb2 type veth peer name rb2 netns {net.relay.name}",
        "address add 203.0.113.9/24 dev cb2",
        "link set cb2 up",
    )
    net.relay.ip("address add 203.0.113.1/24 dev rb2", "link set rb2 up")
    assert passes(parties)
    net.relay.ip(f"route add {CALLEE}/32 via 203.0.113.9 src {CALLEE_SIDE}")
    net.callee.ip("link set cb down")
    net.callee.ip(f"address add {CALLEE}/32 dev cb2", f"route add {CALLEE_SIDE} dev cb2")
    relay.settle()
    assert passes(parties)


def test_policy_routing_by_source_is_followed(relay: Relaying) -> None:
    net = relay.net
    parties = relay.parties()
    net.callee.ip(
        f"link add cb2 type veth peer name rb2 netns {net.relay.name}",
        "address add 203.0.113.9/24 dev cb2",
        "link set cb2 up",
        f"route add {CALLEE_SIDE}/32 dev cb2",
    )
    net.relay.ip("address add 203.0.113.1/24 dev rb2", "link set rb2 up")
    id = relay.add(flow_of(parties))
    net.relay.ip(
        f"rule add from {CALLEE_SIDE} table 77",
        "route add 198.51.100.0/24 via 203.0.113.9 table 77",
    )
    relay.settle()
    assert relay.path._flows[id].hop.device == net.relay.device("rb2")
    assert passes(parties)


def test_a_flow_without_route_is_withdrawn_and_may_be_added_again(relay: Relaying) -> None:
    parties = caller, towards, _, _ = relay.parties()
    id = relay.add(flow_of(parties))
    assert passes(parties)
    relay.net.relay.ip("link set rb down")
    relay.settle()
    assert relay.withdrawn == [id]
    caller.send(rtp(2), towards.address)
    assert towards.hear()
    assert relay.path.samples()[id].packets == 1
    with relay.net.relay:
        assert relay.path.add(flow_of(parties)) is None
    assert relay.path.refusals["no route"] == 1
    assert relay.path.remove(id).packets == 1
    relay.net.relay.ip("link set rb up")
    relay.settle()
    relay.add(flow_of(parties))
    assert until(lambda: passes(parties))


def test_many_flows_are_withdrawn_in_turns(relay: Relaying) -> None:
    parties = relay.parties()
    host = parties[1].address[0]
    ids = [relay.add(flow_of(parties, local=(host, PORT + 2 * number))) for number in range(60)]
    relay.net.relay.ip("link set rb down")
    relay.settle()
    assert relay.withdrawn == ids


def test_devices_that_come_later_are_attended_to(relay: Relaying) -> None:
    net = relay.net
    parties = _, towards, out, callee = relay.parties()
    net.caller.ip(
        f"link add ca2 type veth peer name ra2 netns {net.relay.name}",
        "address add 203.0.113.9/24 dev ca2",
        "link set ca2 up",
    )
    net.relay.ip("address add 203.0.113.1/24 dev ra2", "link set ra2 up")
    relay.settle()
    assert relay.path.devices == {"lo", "ra", "rb", "ra2"}
    late = net.socket(net.caller, "203.0.113.9", PARTY)
    slow = net.socket(net.relay, "203.0.113.1", PORT)
    relay.add(flow_of((late, slow, out, callee)))
    assert passes((late, slow, out, callee))
    net.relay.ip("link del ra2")
    relay.settle()
    assert relay.path.devices == {"lo", "ra", "rb"}
    assert parties[1] is towards


def test_addresses_that_come_later_are_the_wildcards_too(relay: Relaying) -> None:
    net = relay.net
    caller, _, out, callee = relay.parties()
    slow = net.socket(net.relay, "0.0.0.0", PORT + 8)
    id = relay.add(flow_of((caller, slow, out, callee)))
    net.relay.ip("address add 192.0.2.77/24 dev ra")
    relay.settle()
    caller.send(rtp(1), ("192.0.2.77", PORT + 8))
    assert callee.hear()
    assert relay.path.sample(id).packets == 1
    net.relay.ip("address del 192.0.2.77/24 dev ra")
    relay.settle()
    assert "192.0.2.77" not in relay.path._hosts


def test_a_forgotten_neighbour_is_found_again_without_loss(relay: Relaying) -> None:
    caller, towards, _, callee = parties = relay.parties()
    relay.add(flow_of(parties))
    for number in range(5):
        relay.net.relay.ip("neigh flush dev rb")
        caller.send(rtp(number), towards.address)
        heard = callee.hear()
        assert heard is not None
        assert heard.payload == rtp(number)


def test_ipsec_keeps_everything_with_the_sockets(relay: Relaying) -> None:
    parties = relay.parties()
    id = relay.add(flow_of(parties))
    relay.net.relay.ip(
        f"xfrm policy add src {CALLEE_SIDE} dst {CALLEE} dir out"
        f" tmpl src {CALLEE_SIDE} dst {CALLEE} proto esp mode transport"
    )
    relay.settle(11)
    assert relay.withdrawn == [id]
    with relay.net.relay:
        assert relay.path.add(flow_of(parties, local=(CALLER, PORT + 8))) is None
    assert relay.path.refusals["IPsec policies"] == 1


def test_flows_that_differ_in_ports_are_asked_about_once_unless_ports_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with relaying() as relay:
        caller, _, out, callee = parties = relay.parties()
        first = relay.add(flow_of(parties))
        others = [relay.net.socket(relay.net.relay, "192.0.2.1", PORT + at) for at in (10, 12)]
        for other in others:
            relay.add(flow_of((caller, other, out, callee)))
        asked = 0
        ask = relay.path._requests.way

        def count(*question: object) -> rtnetlink.Way:
            nonlocal asked
            asked += 1
            return ask(*question)  # type: ignore[arg-type]  # passed on as they are

        monkeypatch.setattr(relay.path._requests, "way", count)
        relay.settle(11)
        assert asked == 1
        # Another neighbour for the one port: only a rule that asks for it leads there.
        relay.net.relay.ip(
            "route add table 77 198.51.100.0/24 via 198.51.100.77 dev rb",
            f"rule add sport {PORT + 2} ipproto udp lookup 77",
        )
        asked = 0
        relay.settle()
        assert asked == 3
        assert relay.path._flows[first].hop.via == "198.51.100.77"


# --- other programs on the same devices


@pytest.fixture(params=[("tcx", "tcx"), ("clsact", "tcx"), ("clsact", "clsact"), ("tcx", "clsact")])
def neighbours(request: pytest.FixtureRequest) -> Iterator[tuple[Relaying, Callable[[], int]]]:
    """Another program after ours on ``ra``: (how ours is attached, how the other one is)."""
    mine, other = request.param
    with relaying(method=mine) as relay:
        program, seen = counting(-1)
        with relay.net.relay:
            requests = rtnetlink.Requests()
            ra = relay.net.relay.device("ra")
            if other == "tcx":
                link = bpf.attach(program, ra)
            else:
                attach.Filters(requests).add(ra, program, "another")
            requests.close()
        yield relay, seen
        if other == "tcx":
            os.close(link)
        os.close(program)


def test_another_program_sees_what_ours_leaves(
    neighbours: tuple[Relaying, Callable[[], int]],
) -> None:
    relay, seen = neighbours
    caller, towards, _, _ = parties = relay.parties()
    before = seen()
    for _ in range(5):
        caller.send(b"not ours", ("192.0.2.1", 9))
        caller.send(rtp(1), towards.address)
    assert len(towards.payloads(5)) == 5
    assert seen() >= before + 10
    relay.add(flow_of(parties))
    assert passes(parties)
    assert relay.path.devices >= {"ra", "rb"}


def test_a_program_that_was_there_first_decides_first() -> None:
    with network() as net:
        program, seen = counting(2)  # drops everything
        with net.relay:
            link = bpf.attach(program, net.relay.device("ra"))
        relay = Relaying(net)
        caller, towards, _, callee = parties = relay.parties()
        id = relay.add(flow_of(parties))
        caller.send(rtp(1), towards.address)
        assert until(lambda: seen() > 0)
        assert callee.is_quiet()
        assert relay.path.sample(id).packets == 0
        os.close(link)
        os.close(program)
        assert passes(parties)
        relay.stop()


# --- life and death

CRASH = """
import os, sys
sys.path.insert(0, {root!r})
from rtpproxy_tw.media.kernel.check import check
from rtpproxy_tw.media.kernel.ebpf import EbpfPath
from rtpproxy_tw.media.kernel.path import Flow
from tests.kernel.network import Pump
path = EbpfPath(Pump(), capacity=8, ring_octets=1 << 12, method={method!r})
path.start()
assert path.add(Flow({local!r}, {source!r}, {out!r}, {to!r}))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("method", ["tcx", "clsact"])
def test_what_a_crash_leaves_is_removed_by_the_next_process(method: str) -> None:
    with network() as net:
        caller = net.socket(net.caller, CALLER, PARTY)
        towards = net.socket(net.relay, "192.0.2.1", PORT)
        out = net.socket(net.relay, CALLEE_SIDE, PORT + 2)
        callee = net.socket(net.callee, CALLEE, PARTY)
        parties = caller, towards, out, callee
        program = CRASH.format(
            root=str(ROOT),
            method=method,
            local=towards.address,
            source=caller.address,
            out=out.address,
            to=callee.address,
        )
        with net.relay:
            process = subprocess.Popen(
                [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin, process.stdout:
            if not process.stdout.readline():
                process.wait()
                pytest.skip("no eBPF here")
            assert passes(parties)
            process.send_signal(signal.SIGKILL)
            process.wait()
        if method == "clsact":
            assert passes(parties), "the filter outlives its process for a while"
        with net.relay:
            path = EbpfPath(Pump(), capacity=8, ring_octets=1 << 12)
            path.start()
            assert not passes(parties)
            assert path.add(flow_of(parties))
            assert passes(parties)
            path.stop()
            assert not passes(parties)


@pytest.mark.parametrize("method", ["tcx", "clsact"])
def test_stopping_leaves_nothing(method: str) -> None:
    with relaying(method=method) as relay:
        parties = relay.parties()
        relay.add(flow_of(parties))
        relay.stop()
        relay.stop()
        assert not passes(parties)
        with relay.net.relay:
            requests = rtnetlink.Requests()
            filters = attach.Filters(requests)
            assert not [it for link in requests.links() for it in filters.of(link.device)]
            requests.close()
        assert relay.pump.getDelayedCalls() == []
        assert relay.pump.readers == []


def test_a_relay_that_hangs_for_long_is_passed_by_no_more() -> None:
    with relaying(method="clsact") as relay:
        parties = relay.parties()
        relay.add(flow_of(parties))
        assert passes(parties)
        relay.path._table.serve_until(1)
        assert not passes(parties)
        relay.settle(2)
        assert passes(parties)


def test_without_privileges_it_says_so_and_what_would_help() -> None:
    def work() -> None:
        capabilities.give_up(*EVERY_NEEDED)
        path = EbpfPath(Pump())
        with pytest.raises(Unavailable) as caught:
            path.start()
        assert "CAP_BPF" in caught.value.remedy
        path.stop()

    in_thread(work)


def test_two_capabilities_are_enough() -> None:
    """Without CAP_PERFMON the verifier is stricter."""
    require_namespaces()
    namespace = Namespace("few")
    others = set(range(41)) - {capabilities.BPF, capabilities.NET_ADMIN}

    def work() -> None:
        capabilities.give_up(*others)
        verdict = check()
        assert verdict.works, str(verdict)

    try:
        in_thread(work, namespace)
    finally:
        namespace.delete()


def test_capabilities_can_be_given_up_once_it_runs(relay: Relaying) -> None:
    net = relay.net
    if relay.path.method != "tcx":
        pytest.skip("a clsact filter takes CAP_NET_ADMIN for each device")
    parties = relay.parties()

    def work() -> None:
        capabilities.give_up(*EVERY_NEEDED)
        id = relay.path.add(flow_of(parties))
        assert id is not None
        assert passes(parties)
        assert relay.path.remove(id).packets == 1
        assert relay.path.add(flow_of(parties)) is not None

    in_thread(work, net.relay)
    net.relay.ip("link add late type veth peer name later", "link set late up")

    def attend() -> None:
        capabilities.give_up(*EVERY_NEEDED)
        relay.pump.run()

    in_thread(attend, net.relay)
    assert "late" in relay.path.devices


# --- devices without link headers

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000


def test_media_may_come_and_go_by_a_tunnel(relay: Relaying) -> None:
    net = relay.net
    try:
        with net.relay:
            tunnel = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        pytest.skip("no tun device here")
    try:
        with net.relay:
            fcntl.ioctl(tunnel, TUNSETIFF, struct.pack("16sH14x", b"tun0", IFF_TUN | IFF_NO_PI))
        net.relay.ip("address add 203.0.113.1/24 dev tun0", "link set tun0 up")
        relay.settle()
        assert "tun0" in relay.path.devices
        caller, towards, out, callee = relay.parties()
        party, here = ("203.0.113.9", PARTY), ("203.0.113.1", PORT + 20)
        relay.add(flow_of((caller, towards, out, callee), local=here, source=party))
        relay.add(
            flow_of(
                (caller, towards, out, callee),
                local=out.address,
                source=callee.address,
                out=here,
                to=party,
            )
        )
        os.write(tunnel, bytes(Datagram(party, here, rtp(1)))[14:])
        heard = callee.hear()
        assert heard is not None
        assert (heard.payload, heard.source) == (rtp(1), out.address)
        callee.send(rtp(2), out.address)
        wanted = bytes(Datagram(here, party, rtp(2), tos=0xB8, ttl=64))[14:]
        for _ in range(20):
            assert select.select([tunnel], [], [], 2)[0]
            packet = os.read(tunnel, 2048)
            if packet[9] == 17 and packet[-32:] == rtp(2):
                break
        assert (packet[:4], packet[8:10], packet[12:]) == (wanted[:4], wanted[8:10], wanted[12:])
    finally:
        os.close(tunnel)
