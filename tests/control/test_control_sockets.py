"""Control sockets on a real reactor: what only kernels and transports can get wrong."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor

from rtpproxy_tw.commands import Command, Origin, Reply, Text
from rtpproxy_tw.control.datagrams import OCTETS_PER_TURN, Datagrams
from rtpproxy_tw.control.factories import LinesFactory, OneShotFactory
from rtpproxy_tw.control.framing import MAX_COMMAND
from rtpproxy_tw.control.listeners import UnixPort
from rtpproxy_tw.control.responder import Responder
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from rtpproxy_tw.statistics import Totals
from tests.control.test_responder import Echo

pytestmark = pytest.mark.network


class Relay:
    """Control sockets on a reactor of its own, which turns while the test waits."""

    def __init__(self, directory: Path) -> None:
        self.reactor: Any = EPollReactor()
        self.directory = directory
        self.totals = Totals()
        self.echo = Echo()
        self.responder = Responder(
            dialect=RtpproxyDialect(),
            executor=self.echo,
            totals=self.totals,
            clock=self.reactor,
        )
        self.ports: list[Any] = []
        self.clients: list[socket.socket] = []
        self.factories: list[LinesFactory | OneShotFactory] = []

    def serve_path(self, kind: str) -> str:
        """Serve ``unix`` or ``cunix``; returns the path."""
        made = OneShotFactory if kind == "unix" else LinesFactory
        factory = made(responder=self.responder, kind=kind, clock=self.reactor)
        path = str(self.directory / kind)
        self.factories.append(factory)
        port = UnixPort(os.fsencode(path), factory, 64, 0o660, self.reactor)
        port.startListening()
        self.ports.append(port)
        return path

    def serve_tcp(self, limit: int = 100) -> tuple[str, int]:
        """Serve ``tcp``; returns the address."""
        factory = LinesFactory(
            responder=self.responder, kind="tcp", clock=self.reactor, limit=limit
        )
        self.factories.append(factory)
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.ports.append(port)
        return "127.0.0.1", port.getHost().port

    def serve_udp(self) -> tuple[str, int]:
        """Serve ``udp``; returns the address."""
        protocol = Datagrams(responder=self.responder, kind="udp", clock=self.reactor)
        port = self.reactor.listenUDP(0, protocol, interface="127.0.0.1", maxPacketSize=65535)
        self.ports.append(port)
        return "127.0.0.1", port.getHost().port

    def client(self, where: str | tuple[str, int], buffer: int = 0) -> socket.socket:
        """A connected non-blocking client; ``buffer`` is its receive buffer."""
        made = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
        if buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.clients.append(made)
        made.settimeout(5)
        made.connect(where)
        made.setblocking(False)
        return made

    def until(self, done: Callable[[], object], seconds: float = 10.0) -> None:
        """Turn the reactor until ``done`` says so."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, "waited too long"
            self.reactor.iterate(0.002)

    def read(self, client: socket.socket, octets: int = 2**20) -> bytes:
        """What the client reads until it has so many octets or the connection ends."""
        data = bytearray()

        def ended() -> bool:
            try:
                more = client.recv(65536)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True
            data.extend(more)
            return not more or len(data) >= octets

        self.until(ended)
        return bytes(data)

    def close(self) -> None:
        """Stop; nothing may be left in the reactor."""
        for client in self.clients:
            client.close()
        for port in self.ports:
            port.stopListening()
        self.until(lambda: not any(each.connections for each in self.factories))
        self.until(lambda: not any(getattr(port, "connected", False) for port in self.ports))
        assert not self.reactor.getDelayedCalls()
        assert not self.reactor.removeAll()
        self.reactor._poller.close()
        for reader in self.reactor._internalReaders:
            reader.connectionLost(None)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    made = Relay(tmp_path)
    with contextlib.closing(made):
        yield made


def test_a_unix_client_has_its_reply_and_then_the_end(relay: Relay) -> None:
    client = relay.client(relay.serve_path("unix"))
    client.send(b"V")
    assert relay.read(client) == b"1\n"


def test_a_unix_client_may_shut_its_side_down_first(relay: Relay) -> None:
    client = relay.client(relay.serve_path("unix"))
    client.send(b"V")
    client.shutdown(socket.SHUT_WR)
    assert relay.read(client) == b"1\n"


@pytest.mark.parametrize("kind", ["unix", "cunix"])
def test_descriptors_that_a_client_passes_are_not_kept(relay: Relay, kind: str) -> None:
    """Its command is answered; the other end of what it passed is closed as soon as its own is."""
    client = relay.client(relay.serve_path(kind))
    passed, kept = socket.socketpair()
    with kept:
        with passed:
            socket.send_fds(client, [b"V\n"], [passed.fileno()])
        assert relay.read(client, 2) == b"1\n"
        kept.setblocking(False)
        assert kept.recv(1) == b""


@pytest.mark.parametrize("command", [b"V", b""])
def test_a_unix_client_that_does_not_wait_does_no_harm(relay: Relay, command: bytes) -> None:
    path = relay.serve_path("unix")
    for _ in range(50):
        client = relay.client(path)
        client.send(command)
        client.close()
    client = relay.client(path)
    client.send(b"V")
    assert relay.read(client) == b"1\n"
    assert relay.totals.ncmds_errs == 0


@pytest.mark.parametrize("kind", ["cunix", "tcp"])
def test_a_line_client_that_sends_no_more_has_all_its_replies(relay: Relay, kind: str) -> None:
    client = relay.client(relay.serve_tcp() if kind == "tcp" else relay.serve_path(kind))
    client.send(b"V\n" * 500 + b"incomplete")
    client.shutdown(socket.SHUT_WR)
    assert relay.read(client) == b"1\n" * 500


def test_a_line_client_may_talk_in_single_octets(relay: Relay) -> None:
    client = relay.client(relay.serve_tcp())
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for octet in b"V\r\nI\r\n":
        client.send(bytes((octet,)))
        relay.reactor.iterate(0)
    assert relay.read(client, 4) == b"1\n1\n"


def test_a_line_that_is_too_long_ends_the_connection(relay: Relay) -> None:
    client = relay.client(relay.serve_tcp())
    client.send(b"V\n" + b"x" * (MAX_COMMAND + 1))
    assert relay.read(client) == b"1\n"


def test_others_are_served_during_a_pipeline_of_100000_lines(relay: Relay) -> None:
    path = relay.serve_path("cunix")
    greedy, modest = relay.client(path), relay.client(path)
    pending = memoryview(b"V\n" * 100_000)
    replies = answers = 0
    modest.send(b"I\n")

    def turn() -> bool:
        nonlocal pending, replies, answers
        with contextlib.suppress(BlockingIOError):
            pending = pending[greedy.send(pending) :]
        with contextlib.suppress(BlockingIOError):
            replies += greedy.recv(65536).count(b"\n")
        with contextlib.suppress(BlockingIOError):
            assert modest.recv(10) == b"1\n"
            answers += 1
            modest.send(b"I\n")
        return replies >= 10_000

    relay.until(turn, 30)
    # Ten commands of the one, then one of the other.
    assert answers > 100


def test_a_client_that_never_reads_costs_little_memory_and_is_cut_off(relay: Relay) -> None:
    class Wordy(Echo):
        def execute(self, command: Command, origin: Origin) -> Reply:
            return Text("x" * 1000)

    relay.responder._executor = Wordy()
    client = relay.client(relay.serve_tcp(), buffer=4096)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    totals, sent, still = relay.totals, 0, 0
    while still < 200:
        done = totals.ncmds_rcvd
        with contextlib.suppress(BlockingIOError):
            sent += client.send(b"G\n" * 30_000)
        relay.reactor.iterate(0)
        still = still + 1 if totals.ncmds_rcvd == done else 0
    # What was executed is less than was sent; what was answered is in the kernel's buffers.
    assert totals.ncmds_rcvd < sent / len(b"G\n") / 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
    assert relay.factories[0].connections
    relay.reactor.getDelayedCalls()[0].reset(0)
    relay.until(lambda: not relay.factories[0].connections)


def test_a_connection_too_many_is_closed_at_once(relay: Relay) -> None:
    where = relay.serve_tcp(limit=2)
    clients = [relay.client(where) for _ in range(3)]
    assert relay.read(clients[2]) == b""
    clients[0].send(b"V\n")
    assert relay.read(clients[0], 2) == b"1\n"


def test_connections_end_with_their_listener(relay: Relay) -> None:
    client = relay.client(relay.serve_tcp())
    client.send(b"V\n")
    assert relay.read(client, 2) == b"1\n"
    relay.ports[0].stopListening()
    assert relay.read(client) == b""


def test_a_datagram_is_answered_once_executed_to_its_sender(relay: Relay) -> None:
    where = relay.serve_udp()
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
        for client in (one, two):
            client.setblocking(False)
            client.bind(("127.0.0.1", 0))
            for _ in range(3):
                client.sendto(b"7_0 V", where)
        for client in (one, two):
            assert relay.read(client, 18) == b"7_0 1\n" * 3
    assert len(relay.echo.commands) == 2
    assert relay.totals.ncmds_rcvd_ndups == 4


def test_datagrams_of_any_length_are_survived(relay: Relay) -> None:
    where = relay.serve_udp()
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.bind(("127.0.0.1", 0))
        for datagram in (b"", b"\n", b"x" * 65_507, b"a D c " + b"f" * 60_000, b"a \0", b"b V"):
            client.sendto(datagram, where)
        expected = b"E5\nE5\nE5\na E5\na E5\nb 1\n"
        assert relay.read(client, len(expected)) == expected


def test_a_flood_of_datagrams_is_worked_off_in_portions(relay: Relay) -> None:
    where = relay.serve_udp()
    assert relay.ports[0].maxThroughput == OCTETS_PER_TURN
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        for count in range(100):
            client.sendto(b"%d D c " % count + b"f" * 1000, where)
        relay.until(lambda: relay.totals.ncmds_rcvd)
        assert 0 < relay.totals.ncmds_rcvd < 50
