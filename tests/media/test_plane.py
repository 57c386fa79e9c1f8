"""The plain media plane: its contract on fakes and on real sockets, and what only each can show."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.selectreactor import SelectReactor
from zope.interface.verify import verifyObject

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.errors import NoPortsLeft
from rtpproxy_tw.interfaces import IMediaPlane
from rtpproxy_tw.media.ports import ShuffledPool
from rtpproxy_tw.media.relay import Relay
from rtpproxy_tw.media.udpport import BUDGET, MediaPort, bind_media
from rtpproxy_tw.media.userspace import UserspacePlane
from rtpproxy_tw.session import Leg
from rtpproxy_tw.statistics import Totals
from tests.conftest import LoggedFailures
from tests.contracts import FOUR, MediaPlaneContract, Peer, rtp, session
from tests.fakes import FakeHost


def pools(low: int, pairs: int = 3) -> dict[int, ShuffledPool]:
    """So many pairs in each family."""
    return {
        family: ShuffledPool(low, low + 2 * (pairs - 1), random.Random(7).randrange)
        for family in (socket.AF_INET, socket.AF_INET6)
    }


class FakePeer:
    """A party on the fake host."""

    def __init__(self, bench: FakeBench, address: Address) -> None:
        self.bench = bench
        self.address = address

    def send(self, datagram: bytes, to: Address) -> None:
        """As the real port does: a failing protocol is told to the log once."""
        self.bench.deliver(datagram, self.address, to)

    def received(self) -> list[tuple[bytes, Address]]:
        """Find what was sent to us and take it away."""
        got: list[tuple[bytes, Address]] = []
        for local, port in self.bench.host.ports.items():
            got += [(datagram, local) for datagram, to in port.sent if to == self.address]
            port.sent = [(datagram, to) for datagram, to in port.sent if to != self.address]
        return got


class FakeBench:
    """The plane on a fake host."""

    low = 40000

    def __init__(self) -> None:
        self.host = FakeHost()
        self.relay = Relay(lambda: 0.0, Totals())
        self.plane: IMediaPlane = UserspacePlane(
            listen=self.host.listen, pools=pools(self.low), relay=self.relay, tos=0xB8
        )
        self._next = 5000

    def deliver(self, datagram: bytes, source: Address, to: Address) -> None:
        """Through MediaPort's own error handling, on a socket that gives this one datagram."""
        port = self.host.ports.get(to)
        if port is None:
            return
        real: Any = getattr(port, "real", None)
        if real is None:
            real = MediaPort(OneDatagram(to), port.protocol, None)  # type: ignore[arg-type]
            real.connected = True
            port.real = real  # type: ignore[attr-defined]
        real.socket.queue.append((datagram, source))
        real.doRead()

    def peer(self, host: str) -> FakePeer:
        """See PlaneBench."""
        self._next += 2
        return FakePeer(self, (host, self._next))

    def tos(self, leg: Leg) -> int:
        """See PlaneBench."""
        assert leg.local is not None
        return self.host.ports[leg.local.host, leg.port].tos

    def occupy(self, port: int) -> None:
        """See PlaneBench."""
        self.host.taken.add(port)

    def close(self) -> None:
        """Nothing to release."""


class OneDatagram:
    """A socket that gives what is queued and then would block."""

    def __init__(self, name: Address) -> None:
        self.name = name
        self.queue: list[tuple[bytes, Address]] = []

    def getsockname(self) -> Address:
        """The bound address."""
        return self.name

    def recvfrom(self, size: int) -> tuple[bytes, Address]:
        """The next datagram."""
        if not self.queue:
            raise BlockingIOError
        return self.queue.pop(0)


class TestFakePlane(MediaPlaneContract):
    """On fakes."""

    @pytest.fixture
    def bench(self) -> FakeBench:
        """See MediaPlaneContract."""
        return FakeBench()


class RealPeer:
    """A party with a real socket."""

    def __init__(self, bench: RealBench, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.bench = bench
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.setblocking(False)
        self.address = self.socket.getsockname()[:2]

    def send(self, datagram: bytes, to: Address) -> None:
        """Send and let the relay work."""
        self.socket.sendto(datagram, to)
        self.bench.pump()

    def received(self) -> list[tuple[bytes, Address]]:
        """Everything that has arrived."""
        got: list[tuple[bytes, Address]] = []
        while True:
            try:
                datagram, source = self.socket.recvfrom(65535)
            except BlockingIOError:
                return got
            got.append((datagram, source[:2]))


class RealBench:
    """The plane on a reactor of its own and real loopback sockets."""

    low = 47000

    def __init__(self) -> None:
        self.reactor: Any = EPollReactor()
        self.open: list[socket.socket] = []
        self.ports: dict[Address, MediaPort] = {}
        self.relay = Relay(self.reactor.seconds, Totals())
        self.plane: IMediaPlane = UserspacePlane(
            listen=self.listen, pools=pools(self.low), relay=self.relay, tos=0xB8
        )

    def listen(self, protocol: DatagramProtocol, host: str, port: int, tos: int) -> MediaPort:
        """As the wiring does it, and remembered."""
        made = MediaPort(bind_media(host, port, tos), protocol, self.reactor)
        made.startListening()
        self.ports[host, port] = made
        return made

    def pump(self, turns: int = 4) -> None:
        """Some turns of the reactor."""
        for _ in range(turns):
            self.reactor.iterate(0)

    def peer(self, host: str) -> Peer:
        """See PlaneBench."""
        made = RealPeer(self, host)
        self.open.append(made.socket)
        return made

    def tos(self, leg: Leg) -> int:
        """See PlaneBench."""
        assert leg.local is not None
        sock = self.ports[leg.local.host, leg.port].socket
        if ":" in leg.local.host:
            return sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
        return sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)

    def occupy(self, port: int) -> None:
        """See PlaneBench."""
        taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.open.append(taken)
        taken.bind(("127.0.0.1", port))

    def close(self) -> None:
        """See PlaneBench."""
        for port in self.ports.values():
            port.stopListening()
        for each in self.open:
            each.close()
        self.reactor.iterate(0)
        for reader in self.reactor.removeAll():
            reader.connectionLost(None)
        self.reactor._poller.close()


@pytest.mark.network
class TestRealPlane(MediaPlaneContract):
    """On real sockets."""

    @pytest.fixture
    def bench(self) -> Iterator[RealBench]:
        """See MediaPlaneContract."""
        bench = RealBench()
        try:
            yield bench
        finally:
            bench.close()

    def test_one_flooded_port_leaves_the_others_their_turn(self, bench: RealBench) -> None:
        """Even empty datagrams, which cost Twisted's own port nothing, end its turn."""
        made, caller, callee = self.call(bench)
        flooded = session(2)
        bench.plane.open(flooded.callee, FOUR)
        attacker = RealPeer(bench, "127.0.0.1")
        bench.open.append(attacker.socket)
        for _ in range(200):
            attacker.socket.sendto(b"", ("127.0.0.1", flooded.callee.port))
        assert isinstance(caller, RealPeer)
        caller.socket.sendto(rtp(), ("127.0.0.1", made.caller.port))
        bench.pump(turns=1)
        assert [got for got, _ in callee.received()] == [rtp()]
        discarded = bench.relay._totals.npkts_discard
        assert 0 < discarded <= BUDGET

    def test_a_queue_is_read_to_its_end_where_others_wait_for_that(self, bench: RealBench) -> None:
        """The kernel may carry the stream on only then; it is longer than a turn."""
        made, caller, callee = self.call(bench)
        assert isinstance(caller, RealPeer)
        assert isinstance(callee, RealPeer)
        there = [rtp(sequence) for sequence in range(1, 5 * BUDGET)]
        for datagram in there:
            caller.socket.sendto(datagram, ("127.0.0.1", made.caller.port))
        assert made.caller.rtp.sender is not None
        made.caller.rtp.sender.drain()
        assert [callee.socket.recv(100) for _ in there] == there

    def test_an_unreachable_party_closes_nothing(self, bench: RealBench) -> None:
        """ICMP port unreachable answers every packet to a crashed phone."""
        made, caller, callee = self.call(bench)
        assert isinstance(callee, RealPeer)
        callee.socket.close()
        for sequence in range(10):
            caller.send(rtp(sequence), ("127.0.0.1", made.caller.port))
        callee.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bench.open.append(callee.socket)
        callee.socket.bind(callee.address)
        callee.socket.setblocking(False)
        caller.send(rtp(11), ("127.0.0.1", made.caller.port))
        assert [got for got, _ in callee.received()] == [rtp(11)]


def test_the_plane_provides_its_interface() -> None:
    """All methods are there."""
    assert verifyObject(IMediaPlane, FakeBench().plane)


def test_no_descriptor_left_means_no_ports_left() -> None:
    """Another number would not help; the pair taken is given back."""
    bench = FakeBench()
    bench.host.descriptors = 1
    with pytest.raises(NoPortsLeft, match="Too many open files"):
        bench.plane.open(session().callee, FOUR)
    assert not bench.host.ports
    bench.host.descriptors = 100
    for number in range(3):
        bench.plane.open(session(number).callee, FOUR)


def test_short_packets_are_sent_twice_on_request_only(logged_failures: LoggedFailures) -> None:
    """The original's -2: below 128 octets."""
    bench = FakeBench()
    bench.relay._send_twice = True
    made, caller, callee = TestFakePlane().call(bench)
    for size, times in ((127, 2), (128, 1)):
        caller.send(b"\x00" * size, ("127.0.0.1", made.caller.port))
        assert len(callee.received()) == times


def test_a_refused_bind_closes_its_socket() -> None:
    """No error path leaves a descriptor behind (ResourceWarning is an error here)."""
    with pytest.raises(OSError, match="assign") as caught:
        bind_media("192.0.2.1", 40000, 0)
    assert caught.value.errno == errno.EADDRNOTAVAIL


class SelectBench(RealBench):
    """The same on the reactor that every system has."""

    low = 47300

    def __init__(self) -> None:
        super().__init__()
        self._epoll, self.reactor = self.reactor, SelectReactor()

    def close(self) -> None:
        """See PlaneBench."""
        for port in self.ports.values():
            port.stopListening()
        for each in self.open:
            each.close()
        for reactor in (self.reactor, self._epoll):
            reactor.iterate(0)
            for reader in reactor.removeAll():
                reader.connectionLost(None)
        self._epoll._poller.close()


@pytest.mark.network
class TestPlaneOnSelect(MediaPlaneContract):
    """Where there is no epoll: the plain plane is a reader of whichever reactor there is."""

    @pytest.fixture
    def bench(self) -> Iterator[SelectBench]:
        """See MediaPlaneContract."""
        bench = SelectBench()
        try:
            yield bench
        finally:
            bench.close()
