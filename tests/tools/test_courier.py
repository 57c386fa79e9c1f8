"""What lies between a SIP proxy's datagrams and the relay's connection, on fakes."""

from __future__ import annotations

import argparse
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection

from rtpproxy_tw.control.access import LOOPBACK, Networks
from rtpproxy_tw.tools.courier import (
    MAX_REPLY,
    MOST_WAITING,
    PATIENCE,
    Courier,
    Datagrams,
    OneShot,
    Relay,
)
from rtpproxy_tw.tools.tlsproxy import Listening, listening, make_parser, place
from tests.control.test_datagrams import FakePort

PROXY = ("127.0.0.1", 40001)


class Wire(StringTransportWithDisconnection):
    """A connection that can be set up and aborted like one of TCP."""

    def setTcpNoDelay(self, on: bool) -> None:
        """See ITCPTransport."""

    def setTcpKeepAlive(self, on: bool) -> None:
        """See ITCPTransport."""

    def abortConnection(self) -> None:
        """See ITCPTransport."""
        self.loseConnection()

    def sent(self) -> bytes:
        """What was written since the last call."""
        written = self.value()
        self.clear()
        return written


class Between:
    """A courier with a UDP socket on one side, and a relay that a test plays on the other."""

    def __init__(self, *, connected: bool = True) -> None:
        self.clock = Clock()
        self.courier = Courier(self.clock)
        self.port = FakePort("127.0.0.1")
        self.datagrams = Datagrams(self.courier, self.clock, Networks(LOOPBACK))
        self.datagrams.makeConnection(cast(IUDPTransport, self.port))
        self.wire = Wire()
        if connected:
            self.connect()

    def connect(self) -> None:
        """There is a connection, whose other end has shown who it is."""
        self.wire = Wire()
        relay = Relay(self.courier)
        self.wire.protocol = relay
        relay.makeConnection(self.wire)
        relay.handshakeCompleted()

    def say(self, datagram: bytes, source: tuple[str, int] = PROXY) -> None:
        """A datagram comes from a SIP proxy."""
        self.datagrams.datagramReceived(datagram, source)

    def reply(self, octets: bytes) -> None:
        """The relay sends."""
        assert self.wire.protocol is not None
        self.wire.protocol.dataReceived(octets)

    def heard(self) -> list[bytes]:
        """What SIP proxies were sent since the last call."""
        sent, self.port.sent = self.port.sent, []
        return [reply for reply, _ in sent]

    def one_shot(self) -> Wire:
        """A client of the UNIX socket."""
        client, protocol = Wire(), OneShot(self.courier)
        client.protocol = protocol
        protocol.makeConnection(client)
        return client


def test_a_cookie_stays_here_and_comes_back_with_its_reply() -> None:
    between = Between()
    between.say(b"1_1 V")
    between.say(b"1_2 VF 20071218\n")
    assert between.wire.sent() == b"V\nVF 20071218\n"
    between.reply(b"2004")
    assert between.heard() == []
    between.reply(b"0107\n1\n")
    assert between.heard() == [b"1_1 20040107\n", b"1_2 1\n"]


def test_a_repeated_datagram_is_one_command_before_and_after_its_reply() -> None:
    between = Between()
    between.say(b"1_1 D c f")
    between.say(b"1_1 D c f")
    assert between.wire.sent() == b"D c f\n"
    between.reply(b"0\n")
    between.say(b"1_1 D c f")
    assert between.wire.sent() == b""
    assert between.heard() == [b"1_1 0\n", b"1_1 0\n"]


def test_the_lines_of_i_are_one_reply_and_the_next_one_is_not_mixed_up() -> None:
    between = Between()
    between.say(b"1_1 I")
    between.say(b"1_2 V")
    assert between.wire.sent() == b"I\nV\nV\n"
    between.reply(b"sessions created: 0\nactive sessions: 0\n20040107\n20040107\n")
    assert between.heard() == [
        b"1_1 sessions created: 0\nactive sessions: 0\n",
        b"1_2 20040107\n",
    ]


@pytest.mark.parametrize("end", [b"20040107\n", b"E3\n"])
def test_a_denied_i_has_one_line_whether_or_not_v_is_denied_too(end: bytes) -> None:
    between = Between()
    between.say(b"1_1 I")
    between.say(b"1_2 D c f")
    between.reply(b"E3\n" + end + b"0\n")
    assert between.heard() == [b"1_1 E3\n", b"1_2 0\n"]


def test_what_was_on_its_way_when_the_connection_broke_is_not_sent_again() -> None:
    between = Between()
    between.say(b"1_1 U c 192.0.2.1 4000 f")
    between.wire.loseConnection()
    between.say(b"1_2 V")
    between.connect()
    assert between.wire.sent() == b"V\n"
    between.reply(b"20040107\n")
    assert between.heard() == [b"1_2 20040107\n"]
    # The SIP proxy repeats it, if it still wants it.
    between.say(b"1_1 U c 192.0.2.1 4000 f")
    assert between.wire.sent() == b"U c 192.0.2.1 4000 f\n"


def test_without_a_connection_commands_wait_a_while_and_no_longer() -> None:
    between = Between(connected=False)
    between.say(b"1_1 V")
    client = between.one_shot()
    client.protocol.dataReceived(b"V\n")
    between.clock.pump([PATIENCE / 8] * 9)
    assert between.heard() == []
    assert (client.sent(), client.connected) == (b"", False)
    between.connect()
    assert between.wire.sent() == b""
    assert not between.clock.getDelayedCalls()


def test_a_relay_that_does_not_answer_is_left_and_its_late_replies_reach_nobody() -> None:
    between = Between()
    between.say(b"1_1 V")
    between.clock.pump([PATIENCE / 8] * 9)
    assert not between.wire.connected
    between.connect()
    between.say(b"1_2 VF 20071218")
    between.reply(b"1\n")
    assert between.heard() == [b"1_2 1\n"]


def test_replies_that_nobody_asked_for_or_that_never_end_break_the_connection() -> None:
    for octets in (b"0\n", b"x" * (MAX_REPLY + 1)):
        between = Between()
        between.reply(octets)
        assert not between.wire.connected


def test_only_so_many_commands_wait() -> None:
    between = Between(connected=False)
    for number in range(MOST_WAITING + 10):
        between.say(b"%d V" % number)
    between.connect()
    assert between.wire.sent() == b"V\n" * MOST_WAITING


@pytest.mark.parametrize(
    "datagram", [b"", b"cookie", b"1_1 V\nX", b"1_1 " + b"x" * 9000, b"c\0k V", b" \n"]
)
def test_what_is_no_command_with_a_cookie_goes_nowhere(datagram: bytes) -> None:
    between = Between()
    between.say(datagram)
    assert (between.wire.sent(), between.heard()) == (b"", [])


def test_who_is_not_on_this_host_is_not_heard() -> None:
    between = Between()
    between.say(b"1_1 V", ("192.0.2.1", 5060))
    assert between.wire.sent() == b""


def test_a_unix_client_has_its_reply_and_then_the_end() -> None:
    between = Between()
    client = between.one_shot()
    client.protocol.dataReceived(b"V")
    assert between.wire.sent() == b"V\n"
    between.reply(b"20040107\n")
    assert (client.sent(), client.connected) == (b"20040107\n", False)
    hasty = between.one_shot()
    hasty.protocol.dataReceived(b"V\nX\n")
    assert (hasty.sent(), between.wire.sent()) == (b"E5\n", b"")


@given(st.lists(st.binary(max_size=30), max_size=20), st.binary(max_size=100))
def test_whatever_comes_from_either_side_nothing_is_raised(
    datagrams: list[bytes], replies: bytes
) -> None:
    between = Between()
    for datagram in datagrams:
        between.say(datagram)
    between.reply(replies)
    between.clock.pump([1.0] * 10)
    assert len(between.datagrams._pending) == 0


@pytest.mark.parametrize(
    "text, expected",
    [
        ("relay.example.org", ("relay.example.org", 22222)),
        ("relay.example.org:443", ("relay.example.org", 443)),
        ("[2001:db8::1]:443", ("2001:db8::1", 443)),
        ("[2001:db8::1]", ("2001:db8::1", 22222)),
        ("2001:db8::1", ("2001:db8::1", 22222)),
    ],
)
def test_a_relay_is_named_by_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert place(text) == expected


def test_sockets_are_named_as_for_sip_proxies() -> None:
    assert listening("udp:127.0.0.1:22222") == Listening("udp", "127.0.0.1", 22222)
    assert listening("udp:[::1]:22222") == Listening("udp", "::1", 22222)
    assert listening("unix:/run/x") == Listening("unix", "/run/x")


GOOD = {"--listen": "unix:/x", "--to": "relay", "--cert": "/c", "--ca": "/a"}


@pytest.mark.parametrize(
    "option, text",
    [
        *(("--listen", text) for text in ("", "udp:127.0.0.1", "tcp:127.0.0.1:1", "udp:x:1")),
        *(("--listen", text) for text in ("unix:", "udp:127.0.0.1:0", "udp:127.0.0.1:99999")),
        *(("--to", text) for text in ("", ":1", "host:0", "host:x", "host:70000")),
        *(("--allow", text) for text in ("", "host", "192.0.2.0/33")),
    ],
)
def test_what_names_nothing_is_refused(
    option: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"{name}={value}" for name, value in (GOOD | {option: text}).items()]
    with pytest.raises(SystemExit):
        make_parser().parse_args(words)
    assert f"argument {option}: invalid" in capsys.readouterr().err


def test_the_command_line_wants_certificates(capsys: pytest.CaptureFixture[str]) -> None:
    parser: argparse.ArgumentParser = make_parser()
    with pytest.raises(SystemExit):
        parser.parse_args(["--listen", "unix:/x", "--to", "relay"])
    assert "--cert, --ca" in capsys.readouterr().err
