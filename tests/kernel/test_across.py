"""Packets that go right to the other end of a pair of devices, and who must not miss them."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from twisted.logger import capturedLogs, formatEvent

from rtpproxy_tw.media.kernel import attach, layout, onlookers, rtnetlink
from rtpproxy_tw.media.kernel import bpf_syscall as bpf
from rtpproxy_tw.media.kernel.onlookers import Onlookers, listened_to
from tests.kernel.bench_program import DEVICE, NEIGHBOUR, REDIRECT, Bench, new_bench
from tests.kernel.frames import Datagram, rtp
from tests.kernel.network import (
    CALLEE,
    CALLEE_SIDE,
    CALLER,
    CALLER_SIDE,
    Namespace,
    Network,
    Peer,
    network,
    require_namespaces,
)
from tests.kernel.programs import counting
from tests.kernel.relaying import PARTY, PORT, Relaying, flow_of, relaying

Parties = tuple[Peer, Peer, Peer, Peer]

PACKETS = 20

PAUSE = 0.02
"""Seconds; after that nothing of a stream is in a queue any more."""

SOURCE, LOCAL = ("192.0.2.9", 40000), ("192.0.2.1", 35000)
LEAVES, TO = ("192.0.2.1", 35002), ("192.0.2.8", 40000)

LIST = """\
sk               RefCnt Type Proto  Iface R Rmem   User   Inode
0000000000000000 3      3    0003   2     1 0      0      4711
0000000000000000 3      3    88cc   3     1 0      0      4712
0000000000000000 3      2    0003   5     1 0      0      4713
"""


# --- who listens


def test_only_who_is_given_all_protocols_hears_what_leaves() -> None:
    assert listened_to(LIST) == {2, 5}


class Filtered:
    """The filters at the way out of devices."""

    def __init__(self, *devices: int) -> None:
        self.devices = devices

    def look_at_egress(self, device: int) -> bool:
        """As Filters."""
        if device == 9:
            raise OSError(errno.ENODEV, "gone")
        return device in self.devices


def link(device: int, paired: bool = True) -> rtnetlink.Link:
    return rtnetlink.Link(device, f"d{device}", rtnetlink.ETHERNET, True, 1500, bytes(6), paired)


@contextmanager
def watching(
    monkeypatch: pytest.MonkeyPatch,
    count: Callable[[int], int],
    *filtered: int,
    listeners: str = "",
) -> Iterator[Onlookers]:
    """With so many programs at each device."""
    monkeypatch.setattr(bpf, "attached", lambda device, where: count(device))
    monkeypatch.setattr(Onlookers, "_read", lambda self: listeners)
    made = Onlookers(Filtered(*filtered))  # type: ignore[arg-type]  # what it needs of them
    yield made
    made.close()
    made.close()


def test_devices_with_programs_or_filters_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with watching(monkeypatch, lambda device: int(device == 2), 3) as looking:
        looking.follow([link(2), link(3), link(4), link(5, paired=False), link(9)])
        assert looking.unseen() == {4}


def test_without_the_power_to_look_the_last_answer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = True

    def count(device: int) -> int:
        if not allowed:
            raise PermissionError(errno.EPERM, "no")
        return int(device == 2)

    with watching(monkeypatch, count) as looking:
        looking.follow([link(2), link(3)])
        allowed = False
        looking.follow([link(2), link(3), link(4)])
        assert looking.unseen() == {3}, "of 4 nothing is known"
        looking.follow([link(2)])
        looking.follow([link(2), link(3)])
        assert looking.unseen() == frozenset(), "it may be another one"


def test_a_kernel_without_such_programs_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(device: int) -> int:
        raise OSError(errno.EINVAL, "no such place")

    with watching(monkeypatch, count) as looking:
        looking.follow([link(2)])
        assert looking.unseen() == {2}


@pytest.mark.parametrize("device", [2, 5])
def test_devices_that_are_listened_to_are_seen(
    monkeypatch: pytest.MonkeyPatch, device: int
) -> None:
    with watching(monkeypatch, lambda device: 0, listeners=LIST) as looking:
        looking.follow([link(device), link(3)])
        assert looking.unseen() == {3}


@pytest.mark.parametrize(
    "listeners",
    ["head\nnonsense\n", LIST.replace("  2  ", "  x  "), LIST.replace("  2  ", "  0  ")],
)
def test_one_who_listens_to_all_or_to_nobody_knows_what_leaves_nothing_unseen(
    monkeypatch: pytest.MonkeyPatch, listeners: str
) -> None:
    assert listeners != LIST
    with watching(monkeypatch, lambda device: 0, listeners=listeners) as looking:
        looking.follow([link(3)])
        assert looking.unseen() == frozenset()


def test_a_list_without_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onlookers, "LISTENERS", "/dev/zero")
    monkeypatch.setattr(bpf, "attached", lambda device, where: 0)
    made = Onlookers(Filtered())  # type: ignore[arg-type]  # what it needs of them
    made.follow([link(2)])
    assert made.unseen() == frozenset()
    made.close()


def test_a_host_without_the_list_has_nothing_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onlookers, "LISTENERS", "/nowhere/at/all")
    with watching(monkeypatch, lambda device: 0) as looking:
        looking.follow([link(2)])
        assert looking.unseen() == frozenset()


# --- the program


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = new_bench()
    yield made
    made.close()


@pytest.mark.kernel
def test_nothing_overtakes_a_packet_of_its_stream_that_went_by_the_device(bench: Bench) -> None:
    slot = bench.flow(LOCAL, SOURCE, LEAVES, TO, neighbour=NEIGHBOUR)
    place = int.from_bytes(bench.table.read(slot)[layout.HOP_AT : layout.HOP_AT + 4], "little")

    def went_across(number: int, pause: float = 0.0) -> bool:
        """Whether the next packet did, so long after the one before."""
        words, base = bench.table._words, slot * layout.SLOT_SIZE // 8
        words[base + layout.LAST_NS] -= round(pause * 1e9)
        assert bench.run(Datagram(SOURCE, LOCAL, rtp(number))).verdict == REDIRECT
        return bool(bench.table._short_words[slot * layout.SLOT_SIZE // 4 + layout.HELD_AT // 4])

    assert not went_across(1)
    bench.hops.across({DEVICE})
    assert not went_across(2), "the one before may still be in the queue"
    assert went_across(3, pause=PAUSE)
    assert went_across(4), "there is none in the queue"
    bench.ask(place)
    assert not went_across(5), "this one asks for the neighbour"
    assert not went_across(6)
    assert went_across(7, pause=PAUSE)
    bench.hops.across(frozenset())
    assert not went_across(8, pause=PAUSE)
    bench.hops.across({DEVICE})
    assert not went_across(9)
    bench.hops.across({DEVICE + 1})
    assert not went_across(10, pause=PAUSE), "another device"


# --- real devices


@pytest.fixture
def relay() -> Iterator[Relaying]:
    with relaying() as made:
        yield made


def counters(where: Namespace, device: str) -> tuple[int, int]:
    """Packets a device has received and sent."""
    command = ["ip", "-n", where.name, "-s", "-j", "link", "show", "dev", device]
    (told,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return told["stats64"]["rx"]["packets"], told["stats64"]["tx"]["packets"]


def send(parties: Parties, start: int = 0) -> None:
    """Some packets, which arrive in order."""
    caller, towards, _, callee = parties
    for number in range(start, start + PACKETS):
        caller.send(rtp(number), towards.address)
    assert callee.payloads(PACKETS) == [rtp(number) for number in range(start, start + PACKETS)]


def begin(relay: Relaying, came: int = 4, leaves: int = 4) -> Parties:
    """A call whose neighbour is known."""
    parties = relay.parties(came, leaves)
    relay.add(flow_of(parties))
    send(parties)
    relay.settle()
    send(parties)  # the first of these goes the kernel's way, and the others after it
    return parties


def by_the_device(relay: Relaying, parties: Parties) -> int:
    """How many of some packets leave by the device."""
    _, before = counters(relay.net.relay, "rb")
    arrived, _ = counters(relay.net.callee, "cb")
    time.sleep(PAUSE)
    send(parties)
    assert counters(relay.net.callee, "cb")[0] - arrived >= PACKETS, "whoever counts there"
    return counters(relay.net.relay, "rb")[1] - before


@pytest.mark.kernel
@pytest.mark.parametrize("leaves", [4, 6])
@pytest.mark.parametrize("came", [4, 6])
@pytest.mark.parametrize("method", ["auto", "clsact"])
def test_packets_go_right_to_the_other_end(method: str, came: int, leaves: int) -> None:
    with relaying(method=method) as relay:
        parties = begin(relay, came, leaves)
        assert by_the_device(relay, parties) < PACKETS


BRIDGE = "198.51.100.254"
BEYOND = "203.0.113.9"


class Bridged(Network):
    """All devices lead to a bridge in a host, as containers' do. Beyond the host is the callee."""

    def _build(self) -> None:
        self.caller, self.relay, self.host, self.callee = (
            self.namespace(role) for role in ("caller", "relay", "host", "callee")
        )
        self.host.ip(
            "link add bridge0 type bridge",
            "link set bridge0 up",
            f"address add {BRIDGE}/24 dev bridge0",
        )
        self._plug(self.caller, "ca", CALLER)
        self._plug(self.relay, "ra", CALLER_SIDE)
        self._plug(self.relay, "rb", CALLEE_SIDE)
        self.relay.ip(f"route add default via {BRIDGE}")
        self.callee.ip(
            f"link add cb type veth peer name out netns {self.host.name}",
            f"address add {BEYOND}/24 dev cb",
            "link set cb up",
            "route add default via 203.0.113.1",
        )
        self.host.ip("address add 203.0.113.1/24 dev out", "link set out up")
        with self.host:
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    def _plug(self, where: Namespace, device: str, host: str) -> None:
        port = f"p{device}"
        where.ip(
            f"link add {device} type veth peer name {port} netns {self.host.name}",
            f"address add {host}/24 dev {device}",
            f"link set {device} up",
        )
        self.host.ip(f"link set {port} master bridge0", f"link set {port} up")


@pytest.mark.kernel
@pytest.mark.parametrize("beyond", [False, True])
def test_a_bridge_at_the_other_end_hands_on_what_comes(beyond: bool) -> None:
    """To another of its ports, and to the host, which routes it on."""
    require_namespaces()
    net = Bridged()
    with ExitStack() as stack:
        stack.callback(net.close)
        if not beyond:
            net._plug(net.callee, "cd", CALLEE)
        relay = Relaying(net)
        stack.callback(relay.stop)
        parties = (
            net.socket(net.caller, CALLER, PARTY),
            net.socket(net.relay, CALLER_SIDE, PORT),
            net.socket(net.relay, CALLEE_SIDE, PORT + 2),
            net.socket(net.callee, BEYOND if beyond else CALLEE, PARTY),
        )
        relay.add(flow_of(parties))
        send(parties)
        relay.settle()
        send(parties)
        time.sleep(PAUSE)
        _, before = counters(net.relay, "rb")
        send(parties)
        assert counters(net.relay, "rb")[1] - before < PACKETS


@contextmanager
def listening(relay: Relaying, device: str) -> Iterator[Callable[[], int]]:
    """A packet socket, as of tcpdump."""
    with relay.net.relay:
        heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    if device:
        heard.bind((device, 3))
    heard.setblocking(False)
    seen = 0

    def count() -> int:
        nonlocal seen
        while True:
            try:
                _, (name, _, kind, *_) = heard.recvfrom(2048)
            except BlockingIOError:
                return seen
            seen += name == "rb" and kind == socket.PACKET_OUTGOING

    with heard:
        yield count


@contextmanager
def filtering(relay: Relaying) -> Iterator[Callable[[], int]]:
    """A filter that runs a program."""
    with ExitStack() as stack, relay.net.relay:
        program, seen = counting(-1)
        stack.callback(os.close, program)
        requests = rtnetlink.Requests()
        stack.callback(requests.close)
        filters = attach.Filters(requests)
        filters.add(relay.net.relay.device("rb"), program, "seen", attach.EGRESS)
        yield seen
        tc("filter del dev rb egress")


@contextmanager
def programmed(relay: Relaying) -> Iterator[Callable[[], int]]:
    """A program by TCX."""
    program, seen = counting(-1)
    with relay.net.relay:
        try:
            attached = bpf.attach(program, relay.net.relay.device("rb"), bpf.TCX_EGRESS)
        except OSError:
            pytest.skip("a kernel without TCX")
    yield seen
    os.close(attached)
    os.close(program)


@contextmanager
def queueing(relay: Relaying) -> Iterator[Callable[[], int]]:
    """A queueing discipline, which counts by itself."""
    with relay.net.relay:
        tc("qdisc add dev rb root pfifo")

        def count() -> int:
            with relay.net.relay:
                told = json.loads(tc("-s -j qdisc show dev rb root"))
            return int(told[0]["packets"])

        yield count
        tc("qdisc del dev rb root")


def tc(arguments: str) -> str:
    """What tc says."""
    done = subprocess.run(["tc", *arguments.split()], capture_output=True, text=True, check=True)
    return done.stdout


ONLOOKERS = {
    "a listener at the device": lambda relay: listening(relay, "rb"),
    "a listener at all": lambda relay: listening(relay, ""),
    "a filter": filtering,
    "a program": programmed,
    "a queue": queueing,
}


@pytest.mark.kernel
@pytest.mark.parametrize("who", ONLOOKERS)
def test_who_looks_at_what_leaves_sees_it(relay: Relaying, who: str) -> None:
    """Whoever comes while calls are going on, and as long as he stays."""
    parties = begin(relay)
    with ONLOOKERS[who](relay) as seen, capturedLogs() as log:
        relay.settle(11 if who == "a program" else 1.5)
        before = seen()
        assert by_the_device(relay, parties) >= PACKETS
        assert seen() - before >= PACKETS
    (told,) = log
    which = "ra, rb" if who == "a listener at all" else "rb"
    expected = f"streams leave by {which}, as something looks at what does"
    assert formatEvent(told) == expected
    with capturedLogs() as log:
        relay.settle(11)
    assert [formatEvent(it) for it in log] == [
        f"streams go from {which} right to the other end of the pair"
    ]
    send(parties)
    assert by_the_device(relay, parties) < PACKETS


@pytest.mark.kernel
def test_a_listener_elsewhere_changes_nothing(relay: Relaying) -> None:
    parties = begin(relay)
    with listening(relay, "ra"):
        relay.settle(1.5)
        assert by_the_device(relay, parties) < PACKETS


@pytest.mark.kernel
def test_only_pairs_that_lead_to_another_namespace_are_such() -> None:
    with network() as net:
        net.relay.ip("link add one type veth peer name two", "link add lone type bridge")
        with net.relay:
            tc("qdisc add dev ra root pfifo")
            requests = rtnetlink.Requests()
            found = {each.name: each.paired for each in requests.links()}
            requests.close()
    assert {name for name, paired in found.items() if paired} == {"rb"}
    assert found.keys() >= {"lo", "one", "two", "lone", "ra"}
