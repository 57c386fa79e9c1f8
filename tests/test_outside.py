"""The outside on real sockets: answers, probes, bounds; and what HTTP makes of them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor

from rtpproxy_tw import stun
from rtpproxy_tw.addresses import LocalAddress
from rtpproxy_tw.errors import RelayError
from rtpproxy_tw.outside import Outside
from rtpproxy_tw.probing import MOST_EXAMINATIONS, RATE, Wanted, read_probe
from rtpproxy_tw.probing import Refused as NotSent
from rtpproxy_tw.web.api import Refused
from rtpproxy_tw.web.outside import Examining

pytestmark = pytest.mark.network

COOKIE = bytes(range(16))
INET = socket.AF_INET


class World:
    """The outside on loopback, and a client."""

    def __init__(self) -> None:
        self.reactor: Any = EPollReactor()
        self.outside = Outside(self.reactor, [LocalAddress("127.0.0.1")], (46500, 46598))
        self.client = socket.socket(INET, socket.SOCK_DGRAM)
        self.client.bind(("127.0.0.1", 0))
        self.client.setblocking(False)
        self.port: int = self.client.getsockname()[1]

    def hear(self, turns: int = 200) -> bytes | None:
        """What comes to the client."""
        for _ in range(turns):
            self.reactor.iterate(0.002)
            try:
                return self.client.recv(2048)
            except BlockingIOError:
                continue
        return None

    def proof(self, told: dict[str, Any], name: str | None = None) -> bytes | None:
        """What asking brings."""
        attributes = {stun.USERNAME: (name or told["id"]).encode()}
        self.client.sendto(stun.request(b"t" * 12, attributes), (told["host"], told["port"]))
        answer = self.hear(50)
        if answer is None:
            return None
        assert stun.mapped_in(answer, b"t" * 12) == ("127.0.0.1", self.port)
        return stun.parse(answer)[2][stun.NONCE]

    def close(self) -> None:
        """Leave nothing."""
        self.outside.stop()
        self.client.close()
        self.reactor.iterate(0)
        assert not self.reactor.getDelayedCalls()
        assert not [each for each in self.reactor.removeAll() if hasattr(each, "protocol")]
        self.reactor._poller.close()
        for reader in self.reactor._internalReaders:
            reader.connectionLost(None)


@pytest.fixture
def world() -> Iterator[World]:
    """Closed at the end, with nothing left."""
    made = World()
    yield made
    made.close()


def test_probes_come_after_a_proof(world: World) -> None:
    """To the ports that were asked for, from the socket that was asked."""
    told = world.outside.begin(INET)
    assert told["closed"] == told["port"] + 1
    proof = world.proof(told)
    assert proof is not None
    answer = world.outside.send(told["id"], Wanted("127.0.0.1", COOKIE, (world.port,), 1000), proof)
    assert answer["probes"] == 1
    octets = world.hear()
    assert octets is not None
    assert (len(octets), read_probe(octets, COOKIE)) == (1000, world.port)


def test_whoever_does_not_know_the_examination_hears_nothing(world: World) -> None:
    """And nothing is sent without the proof."""
    told = world.outside.begin(INET)
    assert world.proof(told, "another name of as many letters") is None
    with pytest.raises(NotSent):
        world.outside.send(told["id"], Wanted("127.0.0.1", COOKIE, (world.port,)), b"\0" * 8)
    assert world.hear(20) is None


def test_what_is_over_is_over(world: World) -> None:
    """Its socket is closed, its name unknown."""
    told = world.outside.begin(INET)
    proof = world.proof(told)
    assert proof is not None
    assert world.outside.end(told["id"])
    assert not world.outside.end(told["id"])
    with pytest.raises(KeyError):
        world.outside.send(told["id"], Wanted("127.0.0.1", COOKIE, (world.port,)), proof)
    assert world.proof(told) is None


def test_there_are_only_so_many_at_a_time(world: World) -> None:
    for _ in range(MOST_EXAMINATIONS):
        world.outside.begin(INET)
    with pytest.raises(RelayError, match="under way"):
        world.outside.begin(INET)


def test_there_is_none_for_a_family_without_media(world: World) -> None:
    with pytest.raises(RelayError, match="family"):
        world.outside.begin(socket.AF_INET6)


def test_probes_are_paced(world: World) -> None:
    """A queue waits for its turn instead of filling the line."""
    told = world.outside.begin(INET)
    proof = world.proof(told)
    assert proof is not None
    for _ in range(4):
        answer = world.outside.send(
            told["id"], Wanted("127.0.0.1", COOKIE, (world.port,) * 512), proof
        )
    assert answer["waiting"] >= 4 * 512 - RATE / 2 - RATE


def refused(call: Callable[[], object]) -> tuple[int, str]:
    """How something is refused."""
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.status, caught.value.code


@pytest.mark.parametrize(
    "changes",
    [
        {"host": 5},
        {"proof": "xyz"},
        {"cookie": "0"},
        {"ports": "40000"},
        {"ports": [True]},
        {"ports": [1.5]},
        {"size": "long"},
        {"more": 1},
    ],
)
def test_a_body_that_is_none_is_refused(world: World, changes: dict[str, object]) -> None:
    examining = Examining(world.outside)
    body = {"host": "127.0.0.1", "proof": "00", "cookie": "00" * 16, "ports": [40000]}
    assert refused(lambda: examining.probe("x", {**body, **changes})) == (400, "bad-body")
    assert refused(lambda: examining.probe("x", body)) == (404, "no-such-examination")
    told = examining.begin({})
    assert refused(lambda: examining.probe(told["id"], body)) == (409, "not-sent")
    assert examining.end(told["id"]) == {"ended": True}
    assert refused(lambda: examining.end(told["id"])) == (404, "no-such-examination")


def test_a_relay_may_refuse_to_help() -> None:
    assert refused(lambda: Examining(None).begin({})) == (409, "not-examined")
    assert refused(lambda: Examining(None).begin({"family": {}})) == (400, "bad-body")
