"""Relays of one cluster behind Kamailio, with SIPp: when its set changes, no call notices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from rtpproxy_tw.tools.ctl_client import Client, read_target
from tests.cluster.redis_server import PROGRAM, RedisServer
from tests.e2e import loopback
from tests.e2e.calls import Call, run_calls
from tests.e2e.checks import assert_heard, assert_told
from tests.e2e.kamailio import Kamailio
from tests.e2e.process import wait_until
from tests.e2e.relay import Relay
from tests.e2e.test_cluster import ONE, TWO, Nodes
from tests.e2e.test_relay_set import make_call

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(PROGRAM is None, reason="no redis-server here"),
]

THIRD = loopback.host(75)
"""A relay that is in Kamailio's set and not in the cluster."""


@pytest.fixture
def nodes(tmp_path: Path, sip_peers: None) -> Iterator[Nodes]:
    with RedisServer(tmp_path) as redis, ExitStack() as stack:
        made = Nodes(tmp_path, redis, stack)
        for host in (ONE, TWO):
            made.start(host)
        for host in (ONE, TWO):
            made.wait_for_owner(host, host)
            made.wait_for_both(host)
        yield made


def call_id(name: str, of_three: int, of_two: int) -> str:
    """A Call-ID that Kamailio gives to these of three and of two relays, by its bytes' sum."""
    for number in count():
        found = f"{name}{number}"
        total = sum(found.encode()) & 0xFF
        if (total % 3, total % 2) == (of_three, of_two):
            return found
    raise AssertionError


def forwarded(nodes: Nodes, host: str) -> int:
    """Commands that the relay there has passed on."""
    text = Client(read_target(f"{nodes.folder}/{host}.http")).fetch("/metrics").decode()
    found = re.search(r'^relay_cluster_commands_total\{result="forwarded"\} (\d+)', text, re.M)
    assert found is not None
    return int(found[1])


def assert_relayed(call: Call, relay: str) -> None:
    """Both parties heard each other to the end, over ``relay``."""
    ended = call.ended_at()
    for listener, talker in ((call.caller, call.callee), (call.callee, call.caller)):
        assert_told(listener, relay)
        assert_heard(listener, talker, ended)


def test_when_kamailio_spreads_calls_anew_every_bye_reaches_its_call(
    tmp_path: Path, nodes: Nodes
) -> None:
    with ExitStack() as stack:
        third = stack.enter_context(Relay(THIRD, tmp_path))
        relays = [nodes.relays[ONE], nodes.relays[TWO]]
        names = " ".join(relay.control for relay in (*relays, third))
        proxy = stack.enter_context(Kamailio(tmp_path, names)).host
        calls = [
            stack.enter_context(
                make_call(tmp_path / name, proxy, hosts, call_id(name, before, after), length)
            )
            for name, hosts, before, after, length in (
                ("a", (51, 52), 0, 1, 6.5),
                ("b", (53, 54), 1, 0, 6.5),
                ("c", (55, 56), 2, 0, 0.3),
            )
        ]
        for call in calls[:2]:
            call.place()
        run_calls(calls, until=lambda: all(call.talking(20) for call in calls[:2]))
        assert [relay.count_sessions() for relay in relays] == [1, 1]
        for call, host in zip(calls, (ONE, TWO), strict=False):
            nodes.wait_until_written(str(call._call_id), host)
        third.kill()
        calls[2].place()  # by this one Kamailio learns it
        run_calls(calls)
        for call in calls:
            call.assert_signalled_well()
        for call, relay in zip(calls, relays, strict=False):
            assert_relayed(call, relay.host)
        assert [relay.count_sessions() for relay in relays] == [0, 0]
        assert [forwarded(nodes, relay.host) >= 1 for relay in relays] == [True, True]


@pytest.mark.slow
def test_when_a_relay_dies_its_calls_are_heard_out_and_ended_at_the_other_one(
    tmp_path: Path, nodes: Nodes
) -> None:
    one, two = nodes.relays[ONE], nodes.relays[TWO]
    with (
        Kamailio(tmp_path, f"{one.control} {two.control}") as kamailio,
        make_call(tmp_path / "a", kamailio.host, (51, 52), call_id("a", 0, 0), 6.5) as call,
        make_call(tmp_path / "b", kamailio.host, (53, 54), call_id("b", 0, 0), 0.3) as teaching,
    ):
        call.place()
        run_calls([call], until=lambda: call.talking(20))
        assert one.count_sessions() == 1
        nodes.wait_until_written(str(call._call_id), ONE)
        one.kill()
        teaching.place()  # by this one Kamailio learns it
        run_calls([call, teaching])
        call.assert_signalled_well()
        heard = [endpoint.heard[-1].when for endpoint in call.endpoints]
        wait_until(lambda: two.count_sessions() == 0, "its BYE has ended it")
    # Both were heard until just before the BYE: the gap was in the middle.
    assert min(heard) > call.ended_at() - 0.5
    two.assert_had_no_accident()
