"""The epoll plane: the contract of all planes, and what only connected ports can show."""

from __future__ import annotations

import errno
import gc
import os
import select
import socket
import weakref
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.logger import capturedLogs, formatEvent

from rtpproxy_tw.addresses import Address, LocalAddress
from rtpproxy_tw.interfaces import IFastPath
from rtpproxy_tw.latch import latch_factory
from rtpproxy_tw.media import mediaset, streamsocket
from rtpproxy_tw.media.connecting import HOLE, MISSED, SILENCE, TRY_AGAIN, disconnect
from rtpproxy_tw.media.epollplane import SHARES, EpollPlane
from rtpproxy_tw.media.fastpath import NullFastPath, Offloader
from rtpproxy_tw.media.kernel.path import Flow, FlowId, KernelPath, RtpState
from rtpproxy_tw.media.mediaset import BATCH
from rtpproxy_tw.media.relay import Relay
from rtpproxy_tw.media.streamsocket import LOOK_EVERY, StreamSocket
from rtpproxy_tw.media.udpport import BUDGET, bind_media
from rtpproxy_tw.session import Leg, SessionKey, new_session
from rtpproxy_tw.statistics import Totals
from tests.contracts import FOUR, SIX, MediaPlaneContract, rtp, session
from tests.kernel.fake import FakePath
from tests.media.test_plane import RealBench, RealPeer, pools

pytestmark = pytest.mark.network

WINDOW = 10.5
"""Seconds after which a latch that heard its party is settled."""


class EpollBench(RealBench):
    """The epoll plane on a reactor of its own, real loopback sockets and a clock set by hand."""

    low = 47100

    def __init__(
        self,
        *,
        connecting: bool = True,
        quickening: bool = True,
        pairs: int = 3,
        path: KernelPath | None = None,
    ) -> None:
        self.reactor = EPollReactor()
        self.open = []
        self.now = 100.0
        self.totals = Totals()
        fast_path: IFastPath = NullFastPath()
        if path is not None:
            fast_path = Offloader(
                path=path, now=lambda: self.now, totals=self.totals, tos=0, copying=False
            )
        self.relay = Relay(lambda: self.now, self.totals, fast_path=fast_path)
        self.epoll = EpollPlane(
            reactor=self.reactor,
            now=lambda: self.now,
            pools=pools(self.low, pairs),
            relay=self.relay,
            totals=self.totals,
            tos=0xB8,
            connecting=connecting,
            quickening=quickening,
            fast_path=fast_path,
        )
        self.plane = self.epoll
        self.legs: list[Leg] = []

    def port(self, leg: Leg) -> StreamSocket:
        """The RTP port of ``leg``."""
        assert isinstance(leg.rtp.sender, StreamSocket)
        return leg.rtp.sender

    def tos(self, leg: Leg) -> int:
        """See PlaneBench."""
        sock = self.port(leg).socket
        if sock.family == socket.AF_INET6:
            return sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
        return sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)

    def close(self) -> None:
        """See PlaneBench."""
        for leg in list(self.epoll._open):
            self.epoll.close(leg)
        for each in self.open:
            each.close()
        self.epoll.media.close()
        self.reactor.iterate(0)
        for reader in self.reactor.removeAll():
            reader.connectionLost(None)
        self.reactor._poller.close()


class TestEpollPlane(MediaPlaneContract):
    """With ports that are connected where they can be."""

    @pytest.fixture
    def bench(self) -> Iterator[EpollBench]:
        """See MediaPlaneContract."""
        bench = EpollBench()
        try:
            yield bench
        finally:
            bench.close()


class Call:
    """A complete session between two parties that go on sending."""

    def __init__(self, bench: EpollBench, policy: str = "strict", local: LocalAddress = FOUR):
        self.bench = bench
        self.session = new_session(SessionKey("call", "f"), 0.0, 60.0, latch_factory(policy))
        self.parties: list[RealPeer] = []
        self.sequence = 0
        host = "::1" if local is SIX else "127.0.0.1"
        for leg in self.session.legs:
            bench.plane.open(leg, local)
            party = RealPeer(bench, host)
            bench.open.append(party.socket)
            self.parties.append(party)
            for stream in leg.streams:
                stream.latch.loopback = True
            leg.rtp.latch.signal(party.address, bench.now)
        self.session.complete = True
        for leg in self.session.legs:
            for stream in leg.streams:
                stream.latch.complete(bench.now)
        self.host = host

    @property
    def caller(self) -> RealPeer:
        """The party at the caller's leg."""
        return self.parties[0]

    @property
    def callee(self) -> RealPeer:
        """The other one."""
        return self.parties[1]

    def talk(self, packets: int = 1, every: float = 0.02) -> None:
        """Both parties send so many packets, which all must arrive."""
        for _ in range(packets):
            self.bench.now += every
            self.sequence += 1
            for leg, party, other in zip(
                self.session.legs, self.parties, reversed(self.parties), strict=True
            ):
                datagram = rtp(self.sequence, id(party) & 0xFFFFFFFF)
                party.send(datagram, (self.host, leg.port))
                got = other.received()
                assert got == [(datagram, (self.host, leg.opposite.port))]

    def settle(self) -> None:
        """Go on until ports are as quick as they get."""
        self.talk(2)
        self.bench.now += WINDOW
        self.talk(4, LOOK_EVERY + 0.05)


@pytest.fixture
def bench() -> Iterator[EpollBench]:
    """With connecting ports."""
    made = EpollBench()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def unconnected() -> Iterator[EpollBench]:
    """Without."""
    made = EpollBench(connecting=False)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def crowded() -> Iterator[EpollBench]:
    """With connecting ports, and room for more than a call."""
    made = EpollBench(pairs=20)
    try:
        yield made
    finally:
        made.close()


class LatePath(FakePath):
    """A path as that of media processes, of which none is ready at first."""

    bench: EpollBench
    ready = False

    def add(self, flow: Flow, rtp: RtpState | None = None) -> FlowId | None:
        """Take the port over, as a media process does."""
        if not self.ready:
            return None
        port = self.bench.epoll.port_at(flow.local)
        assert port is not None
        port.suspend()
        return super().add(flow, rtp)


def test_streams_are_quick_until_a_media_process_is_ready_for_them() -> None:
    """A process starts with the first call, and is replaced when it dies: nobody need wait."""
    path = LatePath()
    path.bench = bench = EpollBench(path=path)
    try:
        call = Call(bench)
        call.settle()
        assert all(bench.port(leg).quick for leg in call.session.legs)
        call.talk(30)
        path.ready = True
        while not call.session.caller.rtp.offloaded:
            party = call.caller
            call.sequence += 1
            bench.now += 0.02
            party.send(
                rtp(call.sequence, id(party) & 0xFFFFFFFF), (call.host, call.session.caller.port)
            )
        assert bench.now < 200
        assert not any(bench.port(leg).quick for leg in call.session.legs)
        received = {it.flow.local[1]: it.analyzer.received for it in path._flows.values()}
        for leg in call.session.legs:
            # What was not worked out yet when the other direction was looked at is not forgotten.
            assert received[leg.port] == leg.rtp.accepted
            assert leg.rtp.analyzer is not None
            assert leg.rtp.analyzer.lost == 0
        assert call.session.caller.rtp.accepted == call.sequence
        bench.plane.release(call.session)
        assert [leg.rtp.offloaded for leg in call.session.legs] == [False, False]
    finally:
        bench.close()


def stranger(bench: EpollBench) -> RealPeer:
    """Somebody else."""
    made = RealPeer(bench, "127.0.0.1")
    bench.open.append(made.socket)
    return made


@pytest.mark.parametrize("local", [FOUR, SIX], ids=["IPv4", "IPv6"])
def test_a_settled_stream_is_quick_over_ipv4_connected_and_both_ways_go_on(
    bench: EpollBench, local: LocalAddress
) -> None:
    """Every packet arrives, from the same port as before, and is counted once."""
    call = Call(bench, local=local)
    assert not bench.port(call.session.caller).quick
    call.settle()
    assert all(bench.port(leg).quick for leg in call.session.legs)
    # IPv6 sockets cannot be disconnected again: the kernel would not let other hosts in any more.
    assert all(bench.port(leg).connected is (local is FOUR) for leg in call.session.legs)
    call.talk(100)
    bench.plane.refresh(call.session)
    for leg in call.session.legs:
        assert leg.rtp.accepted == leg.rtp.relayed == call.sequence
        assert leg.rtp.octets == 32 * call.sequence
        assert leg.rtp.last_heard == leg.last_active == bench.now
        assert leg.rtp.analyzer is not None
        assert leg.rtp.analyzer.received == call.sequence
        assert leg.rtp.analyzer.lost == 0
    assert bench.totals.npkts_rcvd == bench.totals.npkts_relayed == 2 * call.sequence


def test_the_kernel_keeps_strangers_from_a_connected_port(bench: EpollBench) -> None:
    """They are not counted any more, either: nobody sees them."""
    call = Call(bench)
    call.settle()
    other = stranger(bench)
    before = call.session.caller.rtp.ignored
    other.send(rtp(1, 666), ("127.0.0.1", call.session.caller.port))
    assert call.callee.received() == []
    assert call.session.caller.rtp.ignored == before
    call.talk()


def test_strangers_are_judged_and_counted_where_ports_are_not_connected(
    unconnected: EpollBench,
) -> None:
    """A quick port compares every source."""
    call = Call(unconnected)
    call.settle()
    port = unconnected.port(call.session.caller)
    assert port.quick
    assert not port.connected
    stranger(unconnected).send(rtp(1, 666), ("127.0.0.1", call.session.caller.port))
    assert call.callee.received() == []
    assert call.session.caller.rtp.ignored == 1
    assert port.quick
    call.talk()


def test_what_strangers_sent_before_a_port_was_connected_does_not_pass(bench: EpollBench) -> None:
    """It lies in the queue of a port that no longer asks who sent it."""
    call = Call(bench)
    call.talk(2)
    caller, other = call.session.caller, stranger(bench)
    port = bench.port(caller)
    bench.now += LOOK_EVERY
    to = ("127.0.0.1", caller.port)
    call.sequence += 1
    call.caller.socket.sendto(rtp(call.sequence, 5), to)
    other.socket.sendto(rtp(7, 666), to)
    bench.epoll.media._serve([(port.socket.fileno(), select.EPOLLIN)], bench.now)
    assert port.connected
    bench.now += LOOK_EVERY
    call.caller.socket.sendto(rtp(call.sequence + 1, 5), to)
    other.socket.sendto(rtp(8, 666), to)
    bench.pump(8)
    assert [got for got, _ in call.callee.received()] == [
        rtp(call.sequence, 5),
        rtp(call.sequence + 1, 5),
    ]
    assert caller.rtp.ignored == 1


def test_a_silent_party_is_heard_from_elsewhere(bench: EpollBench) -> None:
    """A NAT gave it another port: after a second of silence its stream goes on from there."""
    call = Call(bench)
    call.settle()
    leg = call.session.caller
    moved = stranger(bench)
    to = ("127.0.0.1", leg.port)
    datagram = rtp(call.sequence + 1, id(call.caller) & 0xFFFFFFFF)
    moved.send(datagram, to)
    assert call.callee.received() == []
    bench.now += SILENCE
    for _ in range(5):
        bench.epoll.watch()
    assert not bench.port(leg).connected
    moved.send(datagram, to)
    assert [got for got, _ in call.callee.received()] == [datagram]
    assert leg.rtp.latch.source == moved.address
    assert leg.rtp.latch.relatches == 1


def test_a_party_that_pauses_is_connected_again_when_it_goes_on(bench: EpollBench) -> None:
    """Silence suppression: nothing is lost before, meanwhile or afterwards."""
    call = Call(bench)
    call.settle()
    port = bench.port(call.session.caller)
    for _ in range(3):
        bench.now += SILENCE
        for _ in range(SHARES):
            bench.epoll.watch()
        assert port.quick
        assert not port.connected
        call.talk(1)
        assert port.connected
        call.talk(20)


def test_a_stream_that_comes_from_two_ports_by_turns_is_told_of(bench: EpollBench) -> None:
    """What is missing after a pause may have come from elsewhere: the port listens for a while."""
    call = Call(bench)
    call.settle()
    leg = call.session.caller
    port, other = bench.port(leg), stranger(bench)
    ssrc, to = id(call.caller) & 0xFFFFFFFF, ("127.0.0.1", leg.port)
    for _ in range(2):
        assert port.connected
        bench.now += HOLE
        call.sequence += MISSED
        call.talk()
        assert not port.connected
        assert port.quick
        for number in range(MISSED):
            other.send(rtp(call.sequence + 1 + number, ssrc), to)
        assert call.callee.received() == []
        call.sequence += MISSED
        call.talk()
        assert leg.rtp.refusals is not None
        assert (leg.rtp.refusals.source, leg.rtp.refusals.ssrc) == (other.address, ssrc)
        call.talk(20)
        assert not port.connected
        bench.now += TRY_AGAIN - 1.0
        call.talk(4, LOOK_EVERY + 0.05)
    assert leg.rtp.ignored == 2 * MISSED
    assert port.connected


@pytest.mark.parametrize(
    "pause, missed",
    [(HOLE, 0), (HOLE, MISSED - 1), (HOLE / 2, MISSED)],
    ids=["a pause", "a few lost in a pause", "lost without a pause"],
)
def test_a_pause_and_lost_packets_by_themselves_leave_a_port_connected(
    bench: EpollBench, pause: float, missed: int
) -> None:
    call = Call(bench)
    call.settle()
    for _ in range(5):
        bench.now += pause
        call.sequence += missed
        call.talk()
        assert all(bench.port(leg).connected for leg in call.session.legs)


class Refusing:
    """A socket that the kernel does not connect."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.asked: list[Address] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)

    def connect(self, address: Address) -> None:
        """No memory."""
        self.asked.append(address)
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def test_a_port_that_cannot_be_connected_does_without_and_is_tried_again(bench: EpollBench) -> None:
    call = Call(bench)
    port = bench.port(call.session.caller)
    refusing = Refusing(port.socket)
    with patch.object(port, "socket", refusing):
        call.settle()
        call.talk(4, LOOK_EVERY + 0.05)
        assert refusing.asked == [call.caller.address]
        assert port.quick
        assert not port.connected
    bench.now += TRY_AGAIN
    call.talk(4, LOOK_EVERY + 0.05)
    assert port.connected


def test_a_port_that_cannot_be_disconnected_is_told_of_and_goes_on(bench: EpollBench) -> None:
    """It hears its party as before, and others when it could be the next time."""
    call = Call(bench)
    call.settle()
    port = bench.port(call.session.caller)
    refused = OSError(errno.ENOMEM, "no memory")
    with patch.object(streamsocket, "disconnect", side_effect=refused), capturedLogs() as told:
        bench.plane.release(call.session)
    assert [formatEvent(event) for event in told] == 2 * [
        "a port cannot be disconnected: [Errno 12] no memory"
    ]
    assert not port.quick
    call.talk(4, LOOK_EVERY + 0.05)
    assert port.connected
    bench.plane.release(call.session)
    other = stranger(bench)
    other.send(rtp(1, 666), ("127.0.0.1", call.session.caller.port))
    assert call.session.caller.rtp.ignored == 1


def test_a_party_that_goes_on_stays_connected(bench: EpollBench) -> None:
    """However often it is looked at."""
    call = Call(bench)
    call.settle()
    for _ in range(20):
        call.talk(1, 0.2)
        bench.epoll.watch()
    assert all(bench.port(leg).connected for leg in call.session.legs)


def test_before_a_change_every_packet_is_judged_again(bench: EpollBench) -> None:
    """IMediaPlane.release: a re-INVITE may name another source."""
    call = Call(bench)
    call.settle()
    bench.plane.release(call.session)
    port = bench.port(call.session.caller)
    assert not port.quick
    assert not port.connected
    bench.plane.release(call.session)
    moved = stranger(bench)
    call.session.caller.rtp.latch.signal(moved.address, bench.now)
    moved.send(rtp(9, 9), ("127.0.0.1", call.session.caller.port))
    assert [got for got, _ in call.callee.received()] == [rtp(9, 9)]


def test_a_released_session_becomes_quick_by_itself(bench: EpollBench) -> None:
    """Nobody need say that the change is over."""
    call = Call(bench)
    call.settle()
    bench.plane.release(call.session)
    call.talk(4, LOOK_EVERY + 0.05)
    assert bench.port(call.session.caller).connected


def test_a_crashed_phone_closes_nothing(bench: EpollBench) -> None:
    """Its host answers with ICMP, which a connected port is told in place of being served."""
    call = Call(bench)
    call.settle()
    address = call.callee.address
    call.callee.socket.close()
    to = ("127.0.0.1", call.session.caller.port)
    for number in range(1, 11):
        call.caller.send(rtp(call.sequence + number, id(call.caller) & 0xFFFFFFFF), to)
    again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bench.open.append(again)
    again.bind(address)
    again.setblocking(False)
    call.callee.socket = again
    bench.pump()
    call.sequence += 10
    call.talk(3)


def test_a_connected_port_tells_that_its_party_cannot_be_reached(bench: EpollBench) -> None:
    """The leg that faces the party counts the errors, for whoever asks why it is deaf."""
    call = Call(bench)
    call.settle()
    call.callee.socket.close()
    to = ("127.0.0.1", call.session.caller.port)
    for number in range(1, 4):
        call.caller.send(rtp(call.sequence + number, id(call.caller) & 0xFFFFFFFF), to)
        bench.pump()
    assert call.session.callee.rtp.unreachable
    assert not call.session.caller.rtp.unreachable


def test_the_policy_rtpproxy_is_quick_without_being_connected(unconnected: EpollBench) -> None:
    """Its sources may change without a pause."""
    call = Call(unconnected, "rtpproxy")
    call.settle()
    assert unconnected.port(call.session.caller).quick
    call.talk(60)
    moved = stranger(unconnected)
    datagram = rtp(call.sequence + 1, id(call.caller) & 0xFFFFFFFF)
    moved.send(datagram, ("127.0.0.1", call.session.caller.port))
    assert [got for got, _ in call.callee.received()] == [datagram]


def test_ports_on_every_address_are_never_connected(bench: EpollBench) -> None:
    """Connecting would choose one address for them."""
    call = Call(bench, local=LocalAddress("0.0.0.0"))
    call.settle()
    port = bench.port(call.session.caller)
    assert port.quick
    assert not port.connected


def test_an_asymmetric_party_is_not_connected(bench: EpollBench) -> None:
    """What it sends comes from where it does not listen."""
    call = Call(bench)
    caller = call.session.caller
    other = stranger(bench)
    caller.rtp.latch.asymmetric = True
    caller.rtp.latch.signal((other.address[0], other.address[1]), bench.now)
    for number in range(20):
        bench.now += 1
        call.caller.send(rtp(number + 1), ("127.0.0.1", caller.port))
    assert len(call.callee.received()) == 20
    assert not bench.port(caller).connected


def test_packets_out_of_order_and_strange_ones_are_counted_as_ever(bench: EpollBench) -> None:
    """The same figures as on a port that judges each packet."""
    careful = EpollBench(quickening=False)
    careful.low = bench.low
    figures = []
    for plane in (bench, careful):
        call = Call(plane)
        call.settle()
        assert plane.port(call.session.caller).quick is (plane is bench)
        to = ("127.0.0.1", call.session.caller.port)
        first = call.sequence + 1
        ssrc = id(call.caller) & 0xFFFFFFFF
        for step in (0, 2, 1, 1, 3, 9, 10, 700, 701):
            plane.now += 0.02
            call.caller.send(rtp(first + step, ssrc), to)
        for odd in (b"", b"x" * 40, rtp(1, 5), b"\x90" + rtp(2, 5)[1:]):
            plane.now += 0.02
            call.caller.send(odd, to)
        stream = call.session.caller.rtp
        analyzer = stream.analyzer
        assert analyzer is not None
        figures.append(
            (
                [got for got, _ in call.callee.received()][:9] != [],
                (stream.accepted, stream.relayed, stream.octets, round(stream.longest_gap, 3)),
                (analyzer.received, analyzer.lost, analyzer.duplicates, analyzer.errors),
                (analyzer.ssrc_changes, analyzer.reordered, analyzer.seen),
                (analyzer.jitter_max, analyzer.jitter_mean),
            )
        )
        for leg in call.session.legs:
            plane.plane.close(leg)
        plane.epoll.media.close_retired()
    careful.close()
    assert figures[0] == figures[1]


def test_a_tap_gets_every_packet_from_its_release_on(bench: EpollBench) -> None:
    """A recording begins in the middle of a call."""
    heard: list[bytes] = []

    class Tap:
        def heard(self, stream: object, datagram: bytes, source: object) -> None:
            heard.append(datagram)

    call = Call(bench)
    call.settle()
    bench.plane.release(call.session)
    call.session.caller.rtp.taps = (Tap(),)  # type: ignore[assignment]  # only this method counts
    call.talk(70)
    assert len(heard) == 70
    assert not bench.port(call.session.caller).quick
    # The other direction is nobody else's business.
    assert bench.port(call.session.callee).quick


def test_a_queue_is_read_to_its_end_where_others_wait_for_that(bench: EpollBench) -> None:
    """The kernel may carry the stream on only then; it is longer than a turn."""
    call = Call(bench)
    there = [rtp(sequence) for sequence in range(1, 5 * BUDGET)]
    for datagram in there:
        call.caller.socket.sendto(datagram, ("127.0.0.1", call.session.caller.port))
    assert call.session.caller.rtp.sender is not None
    call.session.caller.rtp.sender.drain()
    assert [call.callee.socket.recv(100) for _ in there] == there


def test_one_flooded_port_leaves_the_others_their_turn(bench: EpollBench) -> None:
    """A turn takes one packet of each port, then the next of each, and has an end."""
    call = Call(bench)
    flooded = session(2)
    bench.plane.open(flooded.callee, FOUR)
    attacker = stranger(bench)
    for _ in range(2 * BATCH):
        attacker.socket.sendto(b"", ("127.0.0.1", flooded.callee.port))
    call.caller.socket.sendto(rtp(), ("127.0.0.1", call.session.caller.port))
    bench.pump(turns=1)
    assert [got for got, _ in call.callee.received()] == [rtp()]
    assert 0 < bench.totals.npkts_discard < BATCH


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two calls are enough to be behind with."""
    monkeypatch.setattr(mediaset, "GROUP", 4)
    monkeypatch.setattr(mediaset, "LEAST", 2)
    monkeypatch.setattr(mediaset, "BATCH", 4)


def waiting(bench: EpollBench, packets: int) -> list[Call]:
    """Two quick calls, with so many packets in each port's queue, in rotation."""
    calls = [Call(bench) for _ in range(2)]
    for call in calls:
        call.settle()
    for number in range(packets):
        for call in calls:
            for leg, party in zip(call.session.legs, call.parties, strict=True):
                datagram = rtp(call.sequence + 1 + number, id(party) & 0xFFFFFFFF)
                party.socket.sendto(datagram, (call.host, leg.port))
    return calls


def relayed(calls: list[Call]) -> list[int]:
    """How many packets each stream has relayed; all of them are in order."""
    counts = []
    for call in calls:
        for leg, party, other in zip(
            call.session.legs, call.parties, reversed(call.parties), strict=True
        ):
            got = [datagram for datagram, _ in _waits(other)]
            first = call.sequence + 1
            assert got == [rtp(first + n, id(party) & 0xFFFFFFFF) for n in range(len(got))]
            assert leg.rtp.sender is not None
            counts.append(len(got))
    return counts


def _waits(party: RealPeer) -> list[tuple[bytes, object]]:
    """What is there, without a turn of the relay's."""
    found = []
    while True:
        try:
            found.append(party.socket.recvfrom(2048))
        except BlockingIOError:
            return found


@pytest.mark.usefixtures("small_groups")
def test_a_relay_that_is_behind_reads_several_packets_of_each_port_in_a_row(
    crowded: EpollBench,
) -> None:
    """That is cheaper, and all are treated alike."""
    calls = waiting(crowded, 6)
    crowded.epoll.media.doRead()
    assert relayed(calls) == [mediaset.DEEP] * 4
    crowded.pump()
    assert relayed_rest(calls) == [6 - mediaset.DEEP] * 4
    for call in calls:
        crowded.plane.refresh(call.session)
        assert all(leg.rtp.relayed == leg.rtp.accepted for leg in call.session.legs)


def relayed_rest(calls: list[Call]) -> list[int]:
    """How many more have come since."""
    return [len(_waits(other)) for call in calls for other in reversed(call.parties)]


@pytest.mark.usefixtures("small_groups")
def test_one_long_queue_gets_no_more_turns_than_short_ones(crowded: EpollBench) -> None:
    """Several packets in a row are read where nearly all have some."""
    calls = waiting(crowded, 1)
    busy, party = calls[0].session.caller, calls[0].caller
    for number in range(5):
        datagram = rtp(calls[0].sequence + 2 + number, id(party) & 0xFFFFFFFF)
        party.socket.sendto(datagram, (calls[0].host, busy.port))
    crowded.epoll.media.doRead()
    assert relayed(calls) in ([1, 1, 1, 1], [2, 1, 1, 1])
    crowded.pump()
    assert sum(relayed_rest(calls)) in (4, 5)


@pytest.mark.usefixtures("small_groups")
def test_ports_whose_packets_are_judged_one_by_one_are_read_once_each(crowded: EpollBench) -> None:
    """RTCP is an example. To judge takes longer than what is saved by reading in a row."""
    calls = [Call(crowded) for _ in range(2)]
    for call in calls:
        for leg, party in zip(call.session.legs, call.parties, strict=True):
            for _ in range(2):
                party.socket.sendto(b"\x80\xc9\0\1abcd", (call.host, leg.port + 1))
    crowded.epoll.media.doRead()
    assert crowded.totals.npkts_rcvd == 4


def test_streams_that_begin_together_are_looked_at_apart(crowded: EpollBench) -> None:
    """A thousand looks in a row would be a gap in every call."""
    calls = [Call(crowded) for _ in range(8)]
    for call in calls:
        call.settle()
    crowded.now += 5.0
    looks = set()
    for _ in range(12):
        for call in calls:
            call.sequence += 1
            for leg, party in zip(call.session.legs, call.parties, strict=True):
                datagram = rtp(call.sequence, id(party) & 0xFFFFFFFF)
                party.socket.sendto(datagram, (call.host, leg.port))
        crowded.pump()
        crowded.now += 0.02
    for call in calls:
        for leg in call.session.legs:
            shortcut = crowded.port(leg)._shortcut
            assert shortcut is not None
            assert crowded.now - 0.02 < shortcut.look_at <= crowded.now + LOOK_EVERY + 0.05
            looks.add(shortcut.look_at)
    assert len(looks) > 8


def test_a_closed_session_is_gone_without_the_garbage_collector(bench: EpollBench) -> None:
    """No port keeps another one, nor the plane any."""
    call = Call(bench)
    call.settle()
    ports = [weakref.ref(bench.port(leg).socket) for leg in call.session.legs]
    gc.disable()
    try:
        for leg in call.session.legs:
            bench.plane.close(leg)
        bench.epoll.media.close_retired()
        assert [port() for port in ports] == [None, None]
        assert not len(bench.epoll.media)
    finally:
        gc.enable()


def test_sockets_of_a_session_are_closed_in_the_next_turn(bench: EpollBench) -> None:
    """Whoever ended it has been answered by then; meanwhile nothing passes any more."""
    call = Call(bench)
    call.settle()
    to, socks = call.session.caller.port, [bench.port(leg).socket for leg in call.session.legs]
    for leg in call.session.legs:
        bench.plane.close(leg)
    assert all(sock.fileno() >= 0 for sock in socks)
    call.caller.send(rtp(call.sequence + 1), ("127.0.0.1", to))
    assert call.callee.received() == []
    assert all(sock.fileno() < 0 for sock in socks)


def test_a_disconnected_socket_stays_where_it_is_bound() -> None:
    """And hears everybody again."""
    with bind_media("127.0.0.1", 47190, 0) as sock, bind_media("127.0.0.1", 47192, 0) as other:
        name = sock.getsockname()
        sock.connect(("127.0.0.1", 9))
        disconnect(sock)
        assert sock.getsockname() == name
        other.sendto(b"x", name)
        assert sock.recvfrom(9) == (b"x", other.getsockname())


def test_outlets_throw_away_what_arrives(bench: EpollBench) -> None:
    """Copies leave from there; nothing may pile up."""
    outlet = bench.epoll.outlet("127.0.0.1")
    other = stranger(bench)
    for _ in range(20):
        other.socket.sendto(b"x", outlet.address)
    bench.pump(40)
    assert outlet.send(1, b"copy", other.address)  # type: ignore[arg-type]  # RTP's number
    assert [got for got, _ in other.received()] == [b"copy"]
    for port in outlet._ports:
        with pytest.raises(BlockingIOError):
            port.socket.recv(1)
    outlet.close()
