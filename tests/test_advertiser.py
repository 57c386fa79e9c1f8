"""Addresses that are learnt: from the interface or from a server, and again and again."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock

from rtpproxy_tw import stun
from rtpproxy_tw.addresses import Address, LocalAddress, LocalAddresses
from rtpproxy_tw.advertiser import (
    EVERY,
    SOON,
    Advertiser,
    NoAnswer,
    StunClient,
    ToldAddresses,
    telling,
)
from rtpproxy_tw.advertising import Policy, Told, policy_of
from rtpproxy_tw.commands import Allocated, Update
from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.reporting.exposition import text_of
from rtpproxy_tw.snapshot.kinds import Damaged
from tests.configuration.configuring import settings
from tests.fakes import Bench
from tests.test_negotiation import F

SERVER = ("203.0.113.1", 3478)
PUBLIC, OTHER = "198.51.100.7", "198.51.100.8"


class World:
    """An advertiser whose servers are asked by hand."""

    def __init__(
        self,
        *locals_: LocalAddress,
        server: Address | None = SERVER,
        route: str | None = "10.0.0.1",
    ) -> None:
        self.clock = Clock()
        self.told = Told()
        self.asked: list[tuple[str, Address, Deferred[str]]] = []
        self.changes: list[tuple[str, str, str]] = []
        self.locals = locals_
        self.advertiser = Advertiser(
            addresses=locals_,
            told=self.told,
            ask=self.ask,
            route=lambda host: route,
            clock=self.clock,
            server=server,
            changed=lambda local, before, now: self.changes.append((local.host, before, now)),
        )
        self.advertiser.startService()

    def ask(self, local: LocalAddress, server: Address) -> Deferred[str]:
        """Who asks waits."""
        answer: Deferred[str] = Deferred()
        self.asked.append((local.host, server, answer))
        return answer

    def answer(self, host: str) -> None:
        """The last question's answer."""
        self.asked[-1][2].callback(host)

    @property
    def advertised(self) -> list[str | None]:
        """What is told of each address."""
        return [self.told.current(local).advertised for local in self.locals]


@pytest.mark.parametrize(
    "text, policy",
    [
        ("auto", Policy(interface=True)),
        ("stun", Policy(interface=False)),
        ("stun:stun.test", Policy(interface=False, server=("stun.test", 3478))),
        ("stun:192.0.2.1:99", Policy(interface=False, server=("192.0.2.1", 99))),
        ("192.0.2.1", None),
        ("stun.example.com", None),
        (None, None),
    ],
)
def test_two_words_mean_that_the_address_is_learnt(text: str | None, policy: Policy | None) -> None:
    """Everything else is told as it is, as the original does."""
    assert policy_of(text) == policy


def test_an_address_that_nobody_has_to_be_asked_about_is_known_at_once() -> None:
    """The interface's own, if it is public."""
    world = World(LocalAddress(PUBLIC, "auto"))
    assert world.advertised == [PUBLIC]
    assert not world.asked


def test_a_wildcard_is_the_address_of_the_default_route() -> None:
    """A public one."""
    assert World(LocalAddress("0.0.0.0", "auto"), route=PUBLIC).advertised == [PUBLIC]


def test_without_a_server_a_private_address_is_told() -> None:
    """There is nobody to ask, and within the network it is right."""
    assert World(LocalAddress("10.0.0.1", "auto"), server=None).advertised == ["10.0.0.1"]


def test_a_private_address_is_told_as_a_server_sees_it() -> None:
    """Until then replies name the address itself."""
    world = World(LocalAddress("10.0.0.1", "auto"))
    assert world.advertised == [None]
    assert world.asked[0][:2] == ("10.0.0.1", SERVER)
    world.answer(PUBLIC)
    assert world.advertised == [PUBLIC]
    assert not world.changes


def test_stun_asks_even_about_public_addresses() -> None:
    """And its own server, where it names one."""
    world = World(LocalAddress(OTHER, "stun:192.0.2.9:5"))
    assert world.asked[0][:2] == (OTHER, ("192.0.2.9", 5))


def test_fixed_addresses_are_told_as_they_are() -> None:
    """And nobody is asked, nor any timer running."""
    world = World(LocalAddress("10.0.0.1", PUBLIC), LocalAddress("10.0.0.2"))
    assert world.advertised == [PUBLIC, None]
    assert not world.clock.getDelayedCalls()
    assert not list(world.advertiser.families())


def test_an_address_is_looked_at_again_and_a_change_is_told() -> None:
    """Once, when it happens."""
    world = World(LocalAddress("10.0.0.1", "stun"))
    world.answer(PUBLIC)
    world.clock.advance(EVERY)
    world.answer(PUBLIC)
    assert not world.changes
    world.clock.advance(EVERY)
    world.answer(OTHER)
    assert world.advertised == [OTHER]
    assert world.changes == [("10.0.0.1", PUBLIC, OTHER)]
    text = text_of(world.advertiser.families()).decode()
    assert "relay_advertised_changes_total 1" in text
    assert 'relay_advertised_known{address_id="10.0.0.1"} 1' in text


def test_a_server_that_does_not_answer_changes_nothing_and_is_asked_again_soon() -> None:
    """An address does not go because a server did."""
    world = World(LocalAddress("10.0.0.1", "stun"))
    world.answer(PUBLIC)
    world.clock.advance(EVERY)
    world.asked[-1][2].errback(NoAnswer("none"))
    assert world.advertised == [PUBLIC]
    assert world.advertiser.failures == 1
    world.clock.advance(SOON)
    assert len(world.asked) == 3


@pytest.mark.parametrize("host", ["127.0.0.1", "224.0.0.1", "0.0.0.0", "2001:db8::1"])
def test_an_answer_that_cannot_be_is_not_believed(host: str) -> None:
    """A broken server must not send media to nowhere."""
    world = World(LocalAddress("10.0.0.1", "stun"))
    world.answer(host)
    assert world.advertised == [None]
    assert world.advertiser.failures == 1


def test_nothing_is_left_when_it_stops() -> None:
    """Whoever was asked may answer or not."""
    world = World(LocalAddress("10.0.0.1", "stun"), LocalAddress("10.0.0.2", "stun"))
    world.answer(PUBLIC)
    world.advertiser.stopService()
    assert not world.clock.getDelayedCalls()
    assert all(answer.called for _, _, answer in world.asked)
    assert world.advertiser.failures == 0


def relay(told: Told, advertised: str = "auto") -> Bench:
    """A relay that takes media on one address."""
    bench = Bench(addresses=LocalAddresses((LocalAddress("127.0.0.1", advertised),)))
    bench.negotiator._locals.current = told.current
    return bench


def update(call_id: str = "one") -> Update:
    """A command that names a party."""
    return Update(call_id, "f", None, F)


def host_of(reply: object) -> str | None:
    """Of a reply to U."""
    assert isinstance(reply, Allocated)
    return reply.host


def test_new_replies_name_the_new_address_those_of_old_calls_as_well() -> None:
    """A re-INVITE brings an old call back."""
    told = Told()
    bench = relay(told)
    configured = LocalAddress("127.0.0.1", "auto")
    assert host_of(bench.do(update())) == "127.0.0.1"
    told.learn(configured, PUBLIC)
    assert host_of(bench.do(update())) == PUBLIC
    told.learn(configured, OTHER)
    assert host_of(bench.do(update())) == OTHER
    assert host_of(bench.do(update(call_id="another"))) == OTHER


def test_a_change_is_news_and_stands_in_the_timelines_of_its_calls() -> None:
    """Of those on that address."""
    bench = relay(Told())
    bench.do(update())
    news: list[tuple[str, str]] = []

    class Feed:
        def announce(self, kind: str, text: str) -> None:
            news.append((kind, text))

    changed = telling(bench.registry, Feed(), bench.clock.seconds)
    changed(LocalAddress("127.0.0.1"), PUBLIC, OTHER)
    changed(LocalAddress("10.9.9.9"), PUBLIC, OTHER)
    (session,) = bench.registry
    found = [entry.text for entry in session.timeline if entry.kind == "address"]
    assert found == [f"the relay is at {OTHER} now, no longer at {PUBLIC}"]
    assert news[0] == ("address", f"127.0.0.1 is told as {OTHER}, no longer as {PUBLIC}")


@pytest.mark.parametrize(
    "line, found",
    [
        ("-l 10.0.0.1=auto", ["auto"]),
        ("-l 10.0.0.1=stun:stun.test", ["stun:stun.test"]),
        ("-l a@10.0.0.1=stun:192.0.2.1:99 -l b@10.0.0.2=198.51.100.9", None),
        ("-l 10.0.0.1 -A auto", ["auto"]),
        ("-l 10.0.0.1/10.0.0.2 -A 10.0.0.1/stun:stun.test", ["10.0.0.1", "stun:stun.test"]),
        ("-l 10.0.0.1=stun --stun-server stun.test", ["stun"]),
        ("-l 10.0.0.1=stun.test", ["stun.test"]),
    ],
)
def test_policies_are_written_where_addresses_are(line: str, found: list[str] | None) -> None:
    """And fixed ones are what they were."""
    advertised = [local.advertised for local in settings(line).addresses.all()]
    assert advertised == (found or ["stun:192.0.2.1:99", "198.51.100.9"])


@pytest.mark.parametrize(
    "line, told",
    [
        ("-l 10.0.0.1=stun", "--stun-server HOST"),
        ("-l 10.0.0.1=stun:", "must be HOST"),
        ("-l 10.0.0.1=stun:a:0", "not a port"),
        ("-l 10.0.0.1=stun:[2001:db8::1]:5", "other family"),
        ("--stun-server :", "must be HOST"),
    ],
)
def test_what_cannot_be_asked_is_refused(line: str, told: str) -> None:
    """Before anything starts."""
    with pytest.raises(ConfigError, match=told):
        settings(line)


@given(
    st.lists(st.tuples(st.ip_addresses(v=4).map(str), st.none() | st.text(max_size=8)), max_size=5)
)
def test_who_goes_on_knows_what_was_known(places: list[tuple[str, str | None]]) -> None:
    """Of addresses that are learnt there, too."""
    locals_ = [LocalAddress(host, "auto", label) for host, label in places]
    old, new = Told(), Told()
    for local in locals_:
        old.learn(local, PUBLIC)
    packed = json.loads(json.dumps(ToldAddresses(old, locals_).pack(Luggage())))
    assert packed or not places
    ToldAddresses(new, locals_[:-1]).unpack(packed or [], Luggage(), 0.0)
    for local in locals_[:-1]:
        assert new.known(local) == PUBLIC
    assert new.entries() == old.entries()[: len(new.entries())]


def test_a_fixed_address_is_not_taken_from_a_relay_before() -> None:
    """The operator has written it down since; and what is damaged is refused."""
    told = Told()
    whole = ToldAddresses(told, [LocalAddress("10.0.0.1", OTHER)])
    whole.unpack([["10.0.0.1", None, PUBLIC]], Luggage(), 0.0)
    assert told.current(LocalAddress("10.0.0.1", OTHER)).advertised == OTHER
    for damaged in ([["10.0.0.1", None]], "x", [["nowhere", None, PUBLIC]], [[1, 2, 3]]):
        with pytest.raises(Damaged):
            whole.unpack(damaged, Luggage(), 0.0)


class Asking:
    """A real client on loopback, and a server that is a socket of the test."""

    def __init__(self) -> None:
        self.reactor: Any = EPollReactor()
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind(("127.0.0.1", 0))
        self.server.setblocking(False)
        client = StunClient(self.reactor, lambda count: b"i" * count)
        self.outcome: list[object] = []
        self.answer = client(LocalAddress("127.0.0.1", "stun"), self.server.getsockname())
        self.answer.addBoth(self.outcome.append)

    def turn_until(self, condition: Callable[[], object]) -> None:
        """Some turns of the reactor."""
        for _ in range(1000):
            self.reactor.iterate(0.002)
            if condition():
                return
        raise AssertionError("it did not happen")

    def close(self) -> None:
        """Leave nothing."""
        self.server.close()
        self.reactor.iterate(0)
        assert not self.reactor.getDelayedCalls()
        self.reactor.removeAll()
        self.reactor._poller.close()
        for reader in self.reactor._internalReaders:
            reader.connectionLost(None)


@pytest.mark.network
def test_a_server_is_asked_from_the_address_itself() -> None:
    """Answers to other questions, and those of others, are none."""
    asking = Asking()
    heard: list[tuple[bytes, Address]] = []

    def hear() -> bool:
        try:
            heard.append(asking.server.recvfrom(1500))
        except BlockingIOError:
            return False
        return True

    asking.turn_until(hear)
    request, client = heard[0]
    assert stun.parse(request)[0] == stun.REQUEST
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(stun.response(b"i" * 12, ("192.0.2.66", 1)), client)
    asking.server.sendto(stun.response(b"x" * 12, ("192.0.2.67", 1)), client)
    asking.server.sendto(b"rubbish", client)
    asking.server.sendto(stun.response(b"i" * 12, (PUBLIC, client[1])), client)
    asking.turn_until(lambda: asking.outcome)
    assert asking.outcome == [PUBLIC]
    asking.close()


@pytest.mark.network
def test_a_question_that_is_given_up_leaves_no_socket() -> None:
    """When the relay stops meanwhile."""
    asking = Asking()
    asking.answer.cancel()
    asking.turn_until(lambda: asking.outcome)
    asking.close()
