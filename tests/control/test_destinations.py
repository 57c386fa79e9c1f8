"""Where media is never sent, whatever a command says; U and L get their ports all the same."""

from __future__ import annotations

import pytest

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.commands import Allocated, Copy, Lookup, Origin, Remote, Update
from rtpproxy_tw.configuration.settings import ControlAddress
from rtpproxy_tw.control.access import Networks
from rtpproxy_tw.control.destinations import Destinations, special
from rtpproxy_tw.control_access import OwnPlaces
from rtpproxy_tw.errors import CommandError
from tests.fakes import Bench

OUTSIDE = LocalAddress("192.0.2.1")
INSIDE = LocalAddress("127.0.0.1")
EVERYWHERE = LocalAddress("0.0.0.0")


@pytest.mark.parametrize(
    "host, kind",
    [
        ("127.0.0.1", "loopback"),
        ("127.255.0.3", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::127.0.0.1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("::ffff:0.0.0.0", "unspecified"),
        ("169.254.169.254", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("ff02::1", "multicast"),
        ("64:ff9b::e000:1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("192.0.2.9", None),
        ("10.0.0.1", None),
        ("100.64.0.1", None),
        ("2001:db8::1", None),
        ("fd00::1", None),
        ("2002:c000:201::", None),
        ("64:ff9b::c000:201", None),
    ],
)
def test_no_spelling_hides_an_address_that_cannot_be_a_partys(host: str, kind: str | None) -> None:
    assert special(host) == kind
    refused = Destinations().refusal((host, 4000), OUTSIDE)
    assert (refused is not None) == (kind is not None)


def test_loopback_is_allowed_where_the_relay_itself_is_on_loopback() -> None:
    rules = Destinations()
    assert rules.refusal(("127.0.0.1", 4000), INSIDE) is None
    assert rules.refusal(("127.0.0.1", 4000), EVERYWHERE) is None
    assert rules.refusal(("127.0.0.1", 4000), OUTSIDE) == "a loopback address"
    # Nothing else becomes possible by it.
    assert rules.refusal(("169.254.169.254", 4000), INSIDE) == "a link-local address"


@pytest.mark.parametrize("host", ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1"])
def test_private_addresses_are_allowed_unless_they_are_denied(host: str) -> None:
    assert Destinations().refusal((host, 4000), OUTSIDE) is None
    assert Destinations(deny_private=True).refusal((host, 4000), OUTSIDE) == "a private address"
    assert Destinations(deny_private=True).refusal(("203.0.113.1", 4000), OUTSIDE) is None


def test_what_we_listen_on_ourselves_is_known_by_wildcards_too() -> None:
    ours = {("192.0.2.1", 40000), ("0.0.0.0", 50000), ("::", 50000)}
    places = OwnPlaces(
        [
            ControlAddress("udp", "192.0.2.1", 22222),
            ControlAddress("tcp", "0.0.0.0", 22223),
            ControlAddress("unix", "/run/x"),
        ],
        lambda host, port: (host, port & ~1) in ours,
        lambda host: host if host in ("192.0.2.1", "192.0.2.2", "2001:db8::1") else "192.0.2.1",
    )
    assert places("192.0.2.1", 22222)
    assert not places("192.0.2.2", 22222)
    assert places("192.0.2.2", 22223)
    assert places("127.0.0.5", 22223)
    assert not places("203.0.113.5", 22223)
    assert places("192.0.2.1", 40001)
    assert not places("192.0.2.2", 40000)
    assert places("192.0.2.2", 50000)
    assert places("2001:db8::1", 50001)
    assert not places("192.0.2.2", 50002)


def bench(host: str = "127.0.0.1") -> Bench:
    """A whole relay on fakes with the real rules."""
    made = Bench(addresses=LocalAddresses((LocalAddress(host),)))
    made.host.addresses = (*made.host.addresses, host)
    control = [ControlAddress("udp", "127.0.0.1", 22222)]
    made.negotiator._destinations = Destinations(
        is_own=OwnPlaces(control, made.plane.serves, lambda host: host)
    )
    return made


def update(host: str, port: int) -> Update:
    return Update("c", "f", None, Remote((host, port)))


@pytest.mark.parametrize(
    "address",
    [("127.0.0.1", 4000), ("169.254.169.254", 80), ("192.0.2.1", 40000), ("192.0.2.1", 40001)],
)
def test_u_and_l_get_ports_but_nothing_is_ever_sent_there(address: tuple[str, int]) -> None:
    relay = bench("192.0.2.1")
    first = relay.do(update(*address))
    assert first == Allocated(40000, "192.0.2.1")
    second = relay.do(Lookup("c", "f", "t", Remote(address)))
    assert second == Allocated(40002, "192.0.2.1")
    session = relay.registry.of_call("c")[0]
    assert session.caller.rtp.latch.remote is None
    assert (session.caller.rtp.ours is not None) == (address[0] == "192.0.2.1")
    assert session.callee.rtp.latch.remote is None
    assert session.callee.rtcp.latch.remote is None


def test_the_relays_own_ports_are_refused_while_they_are_open_and_no_longer() -> None:
    relay = bench()
    relay.do(update("127.0.0.1", 4000))
    own = relay.registry.of_call("c")[0].callee.port
    relay.do(Update("d", "f", None, Remote(("127.0.0.1", own))))
    assert relay.registry.of_call("d")[0].caller.rtp.latch.remote is None
    relay.do(Update("e", "f", None, Remote(("127.0.0.1", 22222))))
    assert relay.registry.of_call("e")[0].caller.rtp.latch.remote is None
    relay.do(Update("f", "f", None, Remote(("127.0.0.1", 50000))))
    assert relay.registry.of_call("f")[0].caller.rtp.latch.remote == ("127.0.0.1", 50000)
    assert relay.plane.serves("127.0.0.1", own)
    relay.registry.delete("c", "f", None, weak=False)
    assert not relay.plane.serves("127.0.0.1", own)
    relay.do(Update("g", "f", None, Remote(("127.0.0.1", own))))
    assert relay.registry.of_call("g")[0].caller.rtp.latch.remote == ("127.0.0.1", own)


def test_a_refused_address_leaves_the_one_before_as_it_was_and_is_in_the_timeline() -> None:
    relay = bench("192.0.2.1")
    relay.do(update("203.0.113.5", 4000))
    relay.do(update("169.254.1.1", 4000))
    leg = relay.registry.of_call("c")[0].caller
    assert leg.rtp.latch.remote == ("203.0.113.5", 4000)
    told = [each.text for each in relay.registry.of_call("c")[0].timeline]
    assert any("169.254.1.1 port 4000, a link-local address: refused" in text for text in told)


def test_copies_go_only_where_they_may() -> None:
    relay = bench()
    relay.dispatcher._copies = Networks(["127.0.0.0/8", "10.0.0.0/8"])
    relay.do(update("127.0.0.1", 4000))

    def copy(target: str) -> object:
        return relay.do(Copy("c", f"udp:{target}", "f", None), Origin())

    for target in ("203.0.113.1:4000", "169.254.169.254:80", "[2001:db8::1]:4000"):
        with pytest.raises(CommandError) as refused:
            copy(target)
        assert refused.value.code == 65
    assert not relay.recorders.copies
    copy("10.1.2.3:4000")
    assert list(relay.recorders.copies.values()) == [("10.1.2.3", 4000)]
