"""Who may command at a listener, how much, and which commands."""

from __future__ import annotations

import ipaddress
from ipaddress import ip_address, ip_network
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection

from rtpproxy_tw.commands import Number, Text
from rtpproxy_tw.control.access import (
    LETTERS,
    LOOPBACK,
    MOST_SOURCES,
    Access,
    Budgets,
    Networks,
    letters_of,
    listed,
    network,
)
from rtpproxy_tw.control.datagrams import Datagrams
from rtpproxy_tw.control.factories import LinesFactory
from rtpproxy_tw.control.responder import Responder
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from rtpproxy_tw.statistics import Totals
from tests.control.test_datagrams import FakePort
from tests.control.test_responder import Echo

PROXY = "192.0.2.7"
STRANGER = "203.0.113.9"
ADDRESSES = st.ip_addresses()


class Ears:
    """A UDP listener and a TCP one with the same rules, on fakes."""

    def __init__(self, access: Access) -> None:
        self.clock = Clock()
        self.echo = Echo()
        self.access = access
        self.responder = Responder(
            dialect=RtpproxyDialect(), executor=self.echo, totals=Totals(), clock=self.clock
        )
        self.port = FakePort("192.0.2.1")
        self.datagrams = Datagrams(
            responder=self.responder, kind="udp", clock=self.clock, access=access
        )
        self.datagrams.makeConnection(cast(IUDPTransport, self.port))
        self.factory = LinesFactory(
            responder=self.responder, kind="tcp", clock=self.clock, access=access
        )

    def ask(self, datagram: bytes, host: str = PROXY) -> list[bytes]:
        """What is sent when ``datagram`` arrives from ``host``."""
        self.datagrams.datagramReceived(datagram, (host, 5060))
        sent, self.port.sent = self.port.sent, []
        return [reply for reply, _ in sent]

    def connect(self, host: str) -> StringTransportWithDisconnection | None:
        """A connection from ``host``, None where it is refused."""
        peer = IPv4Address("TCP", host, 40000)
        protocol = self.factory.buildProtocol(peer)
        if protocol is None:
            return None
        made = StringTransportWithDisconnection(peerAddress=peer)
        made.protocol = protocol
        protocol.makeConnection(made)
        return made


def test_addresses_are_canonical_before_they_are_looked_for() -> None:
    nets = Networks(["10.0.0.0/8", "fe80::/10", "2001:db8::/32"])
    for host in ("10.1.2.3", "::ffff:10.1.2.3", "::ffff:a01:203", "fe80::1%eth0", "2001:DB8:0::1"):
        assert host in nets
    for host in ("11.0.0.1", "::ffff:11.0.0.1", "::10.1.2.3", "2001:db9::1", "nonsense", ""):
        assert host not in nets


def test_a_network_in_the_guise_of_ipv6_is_the_ipv4_network() -> None:
    assert network("::ffff:10.0.0.0/104") == ip_network("10.0.0.0/8")
    assert network("::ffff:192.0.2.1") == ip_network("192.0.2.1/32")
    assert network("192.0.2.77/24") == ip_network("192.0.2.0/24")
    # Wider than what stands for IPv4: it holds other addresses as well.
    assert network("::/0") == ip_network("::/0")


@given(ADDRESSES, st.integers(0, 32))
def test_membership_does_not_depend_on_how_an_address_is_spelled(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, prefix: int
) -> None:
    plain = listed(str(address))
    nets = Networks([f"{plain}/{prefix}"])
    assert plain in nets
    assert f"{plain}%eth0" in nets
    if ":" not in plain:
        assert f"::ffff:{plain}" in nets
    assert listed(plain) == plain


@given(st.text())
def test_any_text_is_in_no_list_or_is_an_address(text: str) -> None:
    nets = Networks(["0.0.0.0/0", "::/0"])
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        assert text not in nets
    else:
        assert text in nets


def test_a_datagram_from_outside_is_met_with_silence_before_anything_is_parsed() -> None:
    ears = Ears(Access(admitted=Networks([PROXY])))
    assert ears.ask(b"1_1 V", STRANGER) == []
    assert ears.ask(b"bogus", STRANGER) == []
    assert ears.ask(b"1_1 V") == [b"1_1 1\n"]
    assert len(ears.echo.commands) == 1
    assert ears.access.refusals.stranger == 2


def test_a_connection_from_outside_is_closed_before_it_is_one() -> None:
    ears = Ears(Access(admitted=Networks([PROXY])))
    assert ears.connect(STRANGER) is None
    assert ears.connect(PROXY) is not None
    assert ears.access.refusals.stranger == 1


def test_a_source_beyond_its_budget_meets_silence_until_time_has_passed() -> None:
    ears = Ears(Access(budgets=Budgets(rate=10, burst=20)))
    answers = [ears.ask(b"%d_1 V" % each) for each in range(30)]
    assert [len(each) for each in answers] == [1] * 20 + [0] * 10
    assert ears.access.refusals.budget == 10
    assert ears.ask(b"x_1 V", "192.0.2.8") == [b"x_1 1\n"]  # another source has its own
    ears.clock.advance(0.5)
    assert [len(ears.ask(b"y%d V" % each)) for each in range(8)] == [1] * 5 + [0] * 3


def test_a_connection_beyond_its_budget_waits_and_loses_nothing() -> None:
    ears = Ears(Access(budgets=Budgets(rate=10, burst=3)))
    wire = ears.connect(PROXY)
    assert wire is not None
    assert wire.protocol is not None
    wire.protocol.dataReceived(b"V\n" * 5)
    assert wire.value() == b"1\n" * 3
    assert wire.producerState == "paused"
    ears.clock.pump([0.1] * 2)
    assert wire.value() == b"1\n" * 5
    assert wire.producerState == "producing"


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 40)), max_size=30))
def test_nobody_gets_more_than_the_burst_and_what_time_brings(
    steps: list[tuple[float, int]],
) -> None:
    budgets, now, had = Budgets(rate=5, burst=20), 0.0, 0
    for pause, tries in steps:
        now += pause
        had += sum(budgets.spend("a", now) == 0 for _ in range(tries))
        assert had <= 20 + 5 * now + 0.001


def test_budgets_of_ever_new_sources_take_bounded_memory_and_an_ipv6_host_has_one() -> None:
    budgets = Budgets(rate=1, burst=1)
    for number in range(3 * MOST_SOURCES):
        budgets.spend(str(number), 0.0)
    assert len(budgets._left) == MOST_SOURCES
    access = Access(budgets=Budgets(rate=1, burst=1))
    assert access.spend("2001:db8::1", 0.0) == 0
    assert access.spend("2001:db8::2:3", 0.0) > 0
    assert access.spend("2001:db8:0:1::1", 0.0) == 0


def test_a_clock_that_stands_still_or_no_limit_is_no_trouble() -> None:
    assert all(Budgets(0).spend("a", 0.0) == 0 for _ in range(100_000))
    budgets = Budgets(rate=1, burst=1)
    assert budgets.spend("a", 10.0) == 0
    assert budgets.spend("a", 9.0) > 0


@pytest.mark.parametrize("datagram", [b"1 I", b"1 G nsess_created", b"", b"1", b"1234567 I"])
def test_replies_to_strangers_are_at_most_three_times_what_they_sent(datagram: bytes) -> None:
    ears = Ears(Access(named=Networks(LOOPBACK)))
    ears.echo.answers = [Text("x" * 300)]
    assert sum(map(len, ears.ask(datagram))) <= 3 * len(datagram)


def test_who_is_named_or_on_loopback_has_the_whole_reply() -> None:
    for host in ("127.0.0.1", PROXY):
        ears = Ears(Access(named=Networks([*LOOPBACK, PROXY])))
        ears.echo.answers = [Text("x" * 300)]
        assert ears.ask(b"1 I", host) == [b"1 " + b"x" * 300 + b"\n"]


def test_what_sip_proxies_ask_is_answered_in_full_to_a_neighbour_nobody_named() -> None:
    ears = Ears(Access(named=Networks(LOOPBACK)))
    for command, answer, reply in (
        (b"25752_4 V", Number(20040107), b"25752_4 20040107\n"),
        (b"25752_5 VF 20071218", Number(1), b"25752_5 1\n"),
        (
            b"25752_6 Uc8,0 a@b 192.0.2.5 4000 tag;1",
            Text("40000 2001:db8:1234:5678:9abc:def0:1234:5678 6"),
            b"25752_6 40000 2001:db8:1234:5678:9abc:def0:1234:5678 6\n",
        ),
        (b"25752_7 Q a@b tag;1 totag;1", Text("60 1 2 3 4"), b"25752_7 60 1 2 3 4\n"),
    ):
        ears.echo.answers = [answer]
        assert ears.ask(command) == [reply]


@pytest.mark.parametrize("command", [b"X", b"D c f t", b"U c 192.0.2.1 4 f t && D", b"x"])
def test_a_denied_command_is_answered_with_e3_and_not_executed(command: bytes) -> None:
    ears = Ears(Access(denied=frozenset("XD")))
    assert ears.ask(b"1 " + command) == [b"1 E3\n"]
    wire = ears.connect(PROXY)
    assert wire is not None
    assert wire.protocol is not None
    wire.protocol.dataReceived(command + b"\n")
    assert wire.value() == b"E3\n"
    assert ears.echo.commands == []
    assert ears.responder.refusals.denied == 2


@pytest.mark.parametrize(
    "line, letters",
    [
        (b"U c 192.0.2.1 4 f", "U"),
        (b"U c 192.0.2.1 4 f t && L 192.0.2.1 4", "UL"),
        (b"U c 192.0.2.1 4 f t && C c2 f t", "UC"),
        (b"L c 192.0.2.1 4 f t && D", "LD"),
        (b"D c f t", "D"),
        (b"P c p 0 f t", "P"),
        (b"S c f t", "S"),
        (b"R c f t", "R"),
        (b"C c /x f t", "C"),
        (b"N c f t", "N"),
        (b"Q c f t && S ttl=3", "Q"),
        (b"G nsess_created", "G"),
        (b"I", "I"),
        (b"V", "V"),
        (b"VF 20040107", "V"),
        (b"X", "X"),
    ],
)
def test_each_command_has_its_letter_and_those_of_what_follows(line: bytes, letters: str) -> None:
    assert letters_of(RtpproxyDialect().parse(line)) == set(letters) <= set(LETTERS)
