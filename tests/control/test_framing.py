"""Commands over streams: one a connection, or one a line; and clients that misbehave."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from rtpproxy_tw.commands import Number, Origin
from rtpproxy_tw.control.factories import ControlFactory, LinesFactory, OneShotFactory
from rtpproxy_tw.control.framing import (
    FIRST_COMMAND,
    LINES_PER_TURN,
    MAX_COMMAND,
    STALLED,
    ControlProtocol,
    Lines,
    OneShot,
)
from rtpproxy_tw.control.responder import Responder
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from rtpproxy_tw.statistics import Totals
from tests.control.test_responder import Echo

PEER = IPv4Address("TCP", "192.0.2.1", 40001)
HOST = IPv4Address("TCP", "192.0.2.9", 22222)


class Transport(StringTransport):
    """Remembers each write, and how it was ended; tells its producer of a full buffer."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(peerAddress=PEER, hostAddress=HOST)
        self.clock = clock
        self.writes: list[bytes] = []
        self.aborted = False
        self.protocol: ControlProtocol | None = None

    def write(self, data: bytes) -> None:
        """Remember ``data``."""
        self.writes.append(data)
        super().write(data)

    def abortConnection(self) -> None:
        """End at once."""
        self.aborted = True
        self.lose()

    def lose(self) -> None:
        """The connection is gone, whoever ended it."""
        assert self.protocol is not None
        self.protocol.connectionLost(Failure(ConnectionDone()))


class Turns(Clock):
    """A clock that, like a reactor, runs what is due now but not what that schedules."""

    def turn(self) -> None:
        """One turn of the reactor."""
        for call in [each for each in self.calls if each.getTime() <= self.seconds()]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class Server:
    """Control connections on fakes."""

    def __init__(self, factory: type[ControlFactory] = LinesFactory, kind: str = "tcp") -> None:
        self.clock = Turns()
        self.totals = Totals()
        self.echo = Echo()
        self.responder = Responder(
            dialect=RtpproxyDialect(), executor=self.echo, totals=self.totals, clock=self.clock
        )
        self.factory = factory(responder=self.responder, kind=kind, clock=self.clock)

    def connect(self) -> Transport | None:
        """A new connection, None if it is refused."""
        protocol = self.factory.buildProtocol(PEER)
        return None if protocol is None else self.attach(protocol)

    def attach(self, protocol: ControlProtocol) -> Transport:
        """Give ``protocol`` a transport."""
        transport = Transport(self.clock)
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return transport

    def say(self, transport: Transport, data: bytes) -> list[bytes]:
        """What is written when ``data`` arrives."""
        assert transport.protocol is not None
        before = len(transport.writes)
        transport.protocol.dataReceived(data)
        return transport.writes[before:]


def lines_of(transport: Transport) -> Lines:
    """The protocol of a line connection."""
    return cast(Lines, transport.protocol)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server) -> Transport:
    transport = server.connect()
    assert transport is not None
    return transport


@pytest.fixture
def unix() -> Server:
    return Server(OneShotFactory, kind="unix")


@pytest.fixture
def caller(unix: Server) -> Transport:
    transport = unix.connect()
    assert transport is not None
    return transport


# One command a connection.


@pytest.mark.parametrize("command", [b"V", b"V\n", b" V \r\n"])
def test_the_first_read_is_the_command_and_the_reply_ends_the_connection(
    unix: Server, caller: Transport, command: bytes
) -> None:
    assert unix.say(caller, command) == [b"1\n"]
    assert caller.disconnecting


@pytest.mark.parametrize(
    "data, reply",
    [
        (b"V\nV\n", b"E1\n"),
        (b"\n", b"E5\n"),
        (b"  ", b"E5\n"),
        (b"25752_4 V", b"E0\n"),
        (b"\0", b"E5\n"),
        (b"\xff" * 100, b"E0\n"),
        (b"D a " + b"f" * MAX_COMMAND, b"E5\n"),
        (b"x" * 65536, b"E5\n"),
    ],
)
def test_one_read_is_one_command_whatever_it_holds(
    unix: Server, caller: Transport, data: bytes, reply: bytes
) -> None:
    assert unix.say(caller, data) == [reply]
    assert caller.disconnecting


def test_what_comes_after_the_first_read_is_ignored(unix: Server, caller: Transport) -> None:
    unix.say(caller, b"V")
    assert unix.say(caller, b"X") == []
    assert len(unix.echo.commands) == 1


def test_a_caller_that_says_nothing_is_cut_off(unix: Server, caller: Transport) -> None:
    unix.clock.advance(FIRST_COMMAND - 1)
    assert not caller.aborted
    unix.clock.advance(1)
    assert caller.aborted
    assert unix.clock.getDelayedCalls() == []


def test_a_caller_that_does_not_take_its_reply_is_cut_off(unix: Server, caller: Transport) -> None:
    unix.say(caller, b"V")
    unix.clock.advance(STALLED)
    assert caller.aborted


def test_a_served_caller_leaves_nothing_behind(unix: Server, caller: Transport) -> None:
    unix.say(caller, b"V")
    caller.lose()
    assert unix.clock.getDelayedCalls() == []
    assert unix.factory.connections == set()


# One command a line.


def test_each_line_has_its_reply_in_order_and_the_connection_stays(
    server: Server, client: Transport
) -> None:
    server.echo.answers = [Number(1), Number(2), Number(3)]
    assert server.say(client, b"V\nI\nbogus\nG\n") == [b"1\n", b"2\n", b"E0\n", b"3\n"]
    assert not client.disconnecting


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_may_come_byte_by_byte(server: Server, client: Transport, end: bytes) -> None:
    for octet in b"V":
        assert server.say(client, bytes((octet,))) == []
    replies = [server.say(client, bytes((octet,))) for octet in end]
    assert replies[-1] == [b"1\n"]
    assert not any(replies[:-1])


def test_an_incomplete_line_waits(server: Server, client: Transport) -> None:
    assert server.say(client, b"V\nU a 127.0.0.1") == [b"1\n"]
    server.clock.advance(3600)
    assert server.say(client, b" 5000 f\n") == [b"1\n"]


@pytest.mark.parametrize("data", [b"\n", b"\r\n", b" \t\n"])
def test_an_empty_line_is_error_5(server: Server, client: Transport, data: bytes) -> None:
    assert server.say(client, data) == [b"E5\n"]


def test_a_cookie_on_a_stream_is_a_command(server: Server, client: Transport) -> None:
    assert server.say(client, b"25752_4 V\n") == [b"E0\n"]


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"V", b"bogus", b"", b"V x"]), max_size=30), st.randoms())
def test_how_the_bytes_are_cut_changes_nothing(lines: list[bytes], random: st.DataObject) -> None:
    expected = {b"V": b"1\n", b"bogus": b"E0\n", b"": b"E5\n", b"V x": b"E1\n"}
    server = Server()
    client = server.connect()
    assert client is not None
    data = b"".join(line + b"\n" for line in lines)
    while data:
        size = random.randint(1, len(data))  # type: ignore[attr-defined]  # a random.Random
        server.say(client, data[:size])
        data = data[size:]
        server.clock.advance(0)
    server.clock.pump([0] * 10)
    assert client.writes == [expected[line] for line in lines]
    client.lose()


def test_a_line_of_8191_octets_is_served(server: Server, client: Transport) -> None:
    line = b"D a ".ljust(MAX_COMMAND, b"f")
    assert server.say(client, line) == []
    assert server.say(client, b"\n") == [b"1\n"]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_longer_line_ends_the_connection_after_the_replies_before_it(
    server: Server, client: Transport, end: bytes
) -> None:
    assert server.say(client, b"V\n" + b"x" * (MAX_COMMAND + 1) + end) == [b"1\n"]
    assert client.disconnecting
    assert server.say(client, b"V\n") == []


def test_a_long_pipeline_lets_others_have_their_turn(server: Server, client: Transport) -> None:
    other = server.connect()
    assert other is not None
    assert len(server.say(client, b"V\n" * 1000)) == LINES_PER_TURN
    assert client.producerState == "paused"
    assert server.say(other, b"I\n") == [b"1\n"]
    server.clock.turn()
    assert len(client.writes) == 2 * LINES_PER_TURN
    for _ in range(98):
        assert client.producerState == "paused"
        server.clock.turn()
    assert client.writes == [b"1\n"] * 1000
    assert client.producerState == "producing"


def test_what_arrives_during_a_pipeline_comes_after_it(server: Server, client: Transport) -> None:
    server.say(client, b"V\n" * (LINES_PER_TURN + 1))
    server.say(client, b"bogus\n")
    server.clock.pump([0] * 3)
    assert client.writes == [b"1\n"] * (LINES_PER_TURN + 1) + [b"E0\n"]


def test_a_client_that_does_not_read_is_not_read_either(server: Server, client: Transport) -> None:
    assert client.producer is client.protocol
    lines_of(client).pauseProducing()
    assert client.producerState == "paused"
    assert server.say(client, b"V\n" * 5) == []
    assert server.echo.commands == []


def test_a_client_that_reads_again_is_served_again(server: Server, client: Transport) -> None:
    lines_of(client).pauseProducing()
    server.say(client, b"V\n" * 5)
    server.clock.advance(STALLED - 1)
    lines_of(client).resumeProducing()
    assert client.writes == [b"1\n"] * 5
    assert client.producerState == "producing"
    server.clock.advance(3600)
    assert not client.aborted


def test_a_full_buffer_stops_the_pipeline_at_once(server: Server, client: Transport) -> None:
    class Full(Echo):
        def execute(self, *_: object) -> Number:
            lines_of(client).pauseProducing()
            return Number(1)

    server.responder._executor = Full()
    assert server.say(client, b"V\n" * 5) == [b"1\n"]
    assert server.clock.getDelayedCalls()  # the limit of patience, and no turn
    server.clock.advance(0)
    assert client.writes == [b"1\n"]


def test_a_client_that_never_reads_is_cut_off(server: Server, client: Transport) -> None:
    lines_of(client).pauseProducing()
    server.say(client, b"V\n")
    server.clock.advance(STALLED)
    assert client.aborted
    assert server.echo.commands == []
    assert server.clock.getDelayedCalls() == []


def test_a_client_that_sends_no_more_still_has_its_replies(
    server: Server, client: Transport
) -> None:
    server.say(client, b"V\n" * 15 + b"incomplete")
    lines_of(client).readConnectionLost()
    assert not client.disconnecting
    server.clock.advance(0)
    assert client.writes == [b"1\n"] * 15
    assert client.disconnecting


def test_an_idle_client_that_sends_no_more_is_closed(server: Server, client: Transport) -> None:
    server.say(client, b"V\n")
    lines_of(client).readConnectionLost()
    assert client.disconnecting
    server.clock.advance(STALLED)
    assert client.aborted


def test_a_client_that_reads_no_more_is_closed(server: Server, client: Transport) -> None:
    server.say(client, b"V\n" * 15)
    lines_of(client).writeConnectionLost()
    assert client.disconnecting
    server.clock.pump([0] * 3)
    assert len(client.writes) == LINES_PER_TURN


def test_a_lost_connection_stops_its_pipeline(server: Server, client: Transport) -> None:
    server.say(client, b"V\n" * 100)
    client.lose()
    assert server.clock.getDelayedCalls() == []
    assert len(server.echo.commands) == LINES_PER_TURN


def test_a_connection_that_never_brings_a_line_is_cut_off(
    server: Server, client: Transport
) -> None:
    for _ in range(int(FIRST_COMMAND)):
        server.say(client, b"V")
        server.clock.advance(1)
    assert client.aborted


def test_a_connection_that_brought_a_line_may_stay_idle(server: Server, client: Transport) -> None:
    server.say(client, b"V\n")
    server.clock.advance(10**6)
    assert not client.aborted


def test_the_origin_names_both_hosts(server: Server, client: Transport) -> None:
    server.say(client, b"V\n")
    assert server.echo.commands[0][1] == Origin("tcp", "192.0.2.1", "192.0.2.9")


def test_a_local_connection_has_no_hosts() -> None:
    server = Server(kind="cunix")
    protocol = server.factory.buildProtocol(UNIXAddress("/run/x"))
    assert protocol is not None
    transport = Transport(server.clock)
    transport.peerAddr, transport.hostAddr = UNIXAddress(None), UNIXAddress("/run/x")
    transport.protocol = protocol
    protocol.makeConnection(transport)
    server.say(transport, b"V\n")
    assert server.echo.commands[0][1] == Origin("cunix")
    transport.lose()


def test_line_connections_can_be_half_closed_and_paused(client: Transport) -> None:
    verifyObject(IHalfCloseableProtocol, client.protocol)
    verifyObject(IPushProducer, client.protocol)


# Standard input and output.


def test_the_end_of_standard_input_is_told_once_after_the_last_reply() -> None:
    server, ends = Server(), []
    protocol = Lines(
        responder=server.responder,
        kind="stdio",
        clock=server.clock,
        idle=None,
        at_end=lambda: ends.append(len(transport.writes)),
    )
    transport = server.attach(protocol)
    server.clock.advance(3600)
    server.say(transport, b"V\n" * 15)
    protocol.readConnectionLost()
    assert ends == []
    server.clock.advance(0)
    assert ends == [15]
    assert not transport.disconnecting
    transport.lose()
    assert ends == [15]


def test_a_lost_standard_output_is_an_end_too() -> None:
    server, ends = Server(), []
    protocol = Lines(
        responder=server.responder,
        kind="stdio",
        clock=server.clock,
        idle=None,
        at_end=lambda: ends.append(True),
    )
    server.attach(protocol)
    protocol.writeConnectionLost()
    assert ends == [True]


def test_a_blocked_standard_output_is_an_end_some_day() -> None:
    server, ends = Server(), []
    protocol = Lines(
        responder=server.responder,
        kind="stdio",
        clock=server.clock,
        idle=None,
        at_end=lambda: ends.append(True),
    )
    server.attach(protocol)
    protocol.pauseProducing()
    server.clock.advance(STALLED)
    assert ends == [True]


# How many there may be.


@pytest.mark.parametrize("factory", [OneShotFactory, LinesFactory])
def test_the_hundredandfirst_connection_is_refused(factory: type[ControlFactory]) -> None:
    server = Server(factory)
    clients = [server.connect() for _ in range(100)]
    assert None not in clients
    assert server.connect() is None
    assert clients[0] is not None
    clients[0].lose()
    assert server.connect() is not None


def test_idle_connections_make_room_after_a_while(server: Server) -> None:
    for _ in range(100):
        server.connect()
    server.clock.advance(FIRST_COMMAND)
    assert server.connect() is not None


def test_connections_end_with_their_listener(server: Server, client: Transport) -> None:
    server.say(client, b"V\n")
    server.factory.stopFactory()
    assert client.disconnecting
    assert server.say(client, b"V\n") == []


def test_factories_are_quiet_and_make_what_they_are_named_for(server: Server, unix: Server) -> None:
    assert not server.factory.noisy
    assert isinstance(server.factory.buildProtocol(PEER), Lines)
    assert isinstance(unix.factory.buildProtocol(None), OneShot)
