"""Commands over UDP: cookies, repetitions, and what cannot be sent."""

from __future__ import annotations

from typing import cast

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.task import Clock

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.commands import Number, Origin, Text
from rtpproxy_tw.control.datagrams import Datagrams
from rtpproxy_tw.control.responder import Responder
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from rtpproxy_tw.statistics import Totals
from tests.control.test_responder import Echo

KAMAILIO = ("192.0.2.1", 40001)
OPENSIPS = ("192.0.2.2", 40001)


class FakePort:
    """A bound UDP port that may be unable to send."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.sent: list[tuple[bytes, Address]] = []
        self.error: Exception | None = None

    def getHost(self) -> IPv4Address | IPv6Address:
        """Its local address."""
        kind = IPv6Address if ":" in self.host else IPv4Address
        return kind("UDP", self.host, 22222)

    def write(self, datagram: bytes, to: Address) -> None:
        """Send."""
        if self.error is not None:
            raise self.error
        self.sent.append((datagram, to))


class Listener:
    """A control socket on fakes."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.clock = Clock()
        self.totals = Totals()
        self.echo = Echo()
        self.port = FakePort(host)
        self.datagrams = Datagrams(
            responder=Responder(
                dialect=RtpproxyDialect(), executor=self.echo, totals=self.totals, clock=self.clock
            ),
            kind="udp",
            clock=self.clock,
        )
        self.datagrams.makeConnection(cast(IUDPTransport, self.port))

    def ask(self, datagram: bytes, source: Address = KAMAILIO) -> list[tuple[bytes, Address]]:
        """What is sent when ``datagram`` arrives."""
        self.datagrams.datagramReceived(datagram, source)
        sent, self.port.sent = self.port.sent, []
        return sent


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.mark.parametrize("datagram", [b"25752_4 V", b"25752_4 V\n", b" 25752_4\tV \r\n"])
def test_the_reply_follows_the_cookie_after_one_space(listener: Listener, datagram: bytes) -> None:
    assert listener.ask(datagram) == [(b"25752_4 1\n", KAMAILIO)]


@pytest.mark.parametrize(
    "datagram, reply",
    [
        (b"ck7 bogus", b"ck7 E0\n"),
        (b"ck3", b"ck3 E5\n"),
        (b"V", b"V E5\n"),
        (b"", b"E5\n"),
        (b" \n", b"E5\n"),
        (b"c\0k V", b"E5\n"),
        (b"ck V\0", b"ck E5\n"),
        (b"x" * 10000 + b" V", b"E5\n"),
        (b"ck D a " + b"f" * 65000, b"ck E5\n"),
        (b"%n\x1b[2J U", b"%n\x1b[2J E1\n"),
    ],
)
def test_errors_have_the_cookie_where_there_is_one(
    listener: Listener, datagram: bytes, reply: bytes
) -> None:
    assert listener.ask(datagram) == [(reply, KAMAILIO)]


def test_a_repeated_command_is_executed_once_and_answered_each_time(listener: Listener) -> None:
    listener.echo.answers = [Number(40000), Number(50000)]
    replies = [listener.ask(b"1_1 U a 127.0.0.1 5000 f") for _ in range(100)]
    assert replies == [[(b"1_1 40000\n", KAMAILIO)]] * 100
    assert len(listener.echo.commands) == 1
    totals = listener.totals
    assert (totals.ncmds_rcvd, totals.ncmds_repld, totals.ncmds_rcvd_ndups) == (1, 1, 99)


def test_errors_are_repeated_too(listener: Listener) -> None:
    assert listener.ask(b"1_1 bogus") == listener.ask(b"1_1 bogus")
    assert listener.totals.ncmds_errs == 1


def test_a_command_is_new_again_after_35_seconds(listener: Listener) -> None:
    listener.ask(b"1_1 V")
    listener.clock.advance(35)
    listener.ask(b"1_1 V")
    assert len(listener.echo.commands) == 1
    listener.clock.advance(1)
    listener.ask(b"1_1 V")
    assert len(listener.echo.commands) == 2


def test_the_same_cookie_of_two_proxies_means_two_commands(listener: Listener) -> None:
    listener.echo.answers = [Number(1), Number(2)]
    assert listener.ask(b"7_0 V", KAMAILIO) == [(b"7_0 1\n", KAMAILIO)]
    assert listener.ask(b"7_0 V", OPENSIPS) == [(b"7_0 2\n", OPENSIPS)]
    assert listener.ask(b"7_0 V", KAMAILIO) == [(b"7_0 1\n", KAMAILIO)]


def test_another_command_behind_the_same_cookie_is_executed(listener: Listener) -> None:
    listener.echo.answers = [Number(1), Text("info"), Number(2)]
    assert listener.ask(b"7_0 V") == [(b"7_0 1\n", KAMAILIO)]
    assert listener.ask(b"7_0 I") == [(b"7_0 info\n", KAMAILIO)]
    assert listener.ask(b"7_0 I") == [(b"7_0 info\n", KAMAILIO)]


@pytest.mark.parametrize("reply", [b"x 0\n", b"x E5", b"x 40000 127.0.0.1\n", b"E1 E0", b"1 1"])
def test_what_reads_like_a_reply_is_not_answered(listener: Listener, reply: bytes) -> None:
    assert listener.ask(reply) == []
    assert listener.datagrams.unanswered == 1
    assert listener.totals.ncmds_rcvd == 0


@pytest.mark.parametrize("first", [b"", b"x", b"x V", b"x I", b"x bogus", b"1_1 E", b"x U 1 2 3 4"])
def test_two_listeners_soon_stop_answering_each_other(first: bytes) -> None:
    near, far = Listener(), Listener()
    near.echo.answers = [Text("sessions created: 0\nactive sessions: 0")]
    datagrams = [first]
    for _ in range(5):
        for listener in (near, far):
            datagrams = [sent for each in datagrams for sent, _ in listener.ask(each)]
    assert datagrams == []


@pytest.mark.parametrize(
    "error", [OSError(101, "unreachable"), OSError(22, "invalid"), ValueError("no address")]
)
def test_what_cannot_be_sent_is_counted_and_forgotten(listener: Listener, error: Exception) -> None:
    listener.port.error = error
    assert listener.ask(b"1_1 V") == []
    assert listener.datagrams.unsent == 1
    listener.port.error = None
    assert listener.ask(b"1_1 V") == [(b"1_1 1\n", KAMAILIO)]
    assert len(listener.echo.commands) == 1


@pytest.mark.parametrize(
    "bound, source, origin",
    [
        ("127.0.0.1", ("192.0.2.1", 5), Origin("udp", "192.0.2.1", "127.0.0.1")),
        ("0.0.0.0", ("192.0.2.1", 5), Origin("udp", "192.0.2.1", None)),
        ("::", ("::ffff:192.0.2.1", 5), Origin("udp", "192.0.2.1", None)),
        ("2001:db8::1", ("2001:DB8::2", 5), Origin("udp", "2001:db8::2", "2001:db8::1")),
    ],
)
def test_a_command_comes_from_a_host_to_a_host(bound: str, source: Address, origin: Origin) -> None:
    listener = Listener(bound)
    listener.ask(b"1_1 V", source)
    assert listener.echo.commands[0][1] == origin
