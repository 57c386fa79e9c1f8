"""Two relays in one set of Kamailio's: calls are spread, and survive the death of one relay."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e import loopback
from tests.e2e.calls import Call, run_calls, run_to_the_end
from tests.e2e.checks import assert_heard, assert_silent_from, assert_told
from tests.e2e.kamailio import Kamailio
from tests.e2e.phone import Phone
from tests.e2e.relay import Relay

pytestmark = pytest.mark.e2e

RETRY_AFTER = 1
"""Seconds for which Kamailio leaves a dead relay alone."""


@pytest.fixture
def relays(tmp_path: Path, sip_peers: None) -> Iterator[list[Relay]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(Relay(host, tmp_path))
            for host in (loopback.RELAY, loopback.OTHER_RELAY)
        ]


@pytest.fixture
def proxy(tmp_path: Path, relays: list[Relay]) -> Iterator[str]:
    names = " ".join(relay.control for relay in relays)
    with Kamailio(tmp_path, names, retry_after=RETRY_AFTER) as kamailio:
        yield kamailio.host


def call_id_for(node: int, name: str) -> str:
    """A Call-ID with which Kamailio picks relay ``node`` of two: by the sum of its bytes."""
    return name + "ab"[(sum(name.encode()) + ord("a") + node) % 2]


def make_call(
    folder: Path, proxy: str, hosts: tuple[int, int], call_id: str, length: float
) -> Call:
    caller, callee = (Phone(loopback.host(number)) for number in hosts)
    return Call(
        folder,
        proxy,
        (caller, "calls"),
        (callee, "answers"),
        [caller.describe()],
        [callee.describe()],
        length=length,
        call_id=call_id,
    )


def assert_relayed(call: Call, relay: str, ended: float) -> None:
    for listener, talker in ((call.caller, call.callee), (call.callee, call.caller)):
        assert_told(listener, relay)
        assert_heard(listener, talker, ended)


def test_when_one_relay_dies_calls_go_on_over_the_other(
    tmp_path: Path, relays: list[Relay], proxy: str
) -> None:
    doomed, other = relays
    with (
        make_call(tmp_path / "a", proxy, (51, 52), call_id_for(0, "first"), 1.5) as on_doomed,
        make_call(tmp_path / "b", proxy, (53, 54), call_id_for(1, "second"), 1.5) as on_other,
        make_call(tmp_path / "c", proxy, (55, 56), call_id_for(0, "third"), 0.8) as afterwards,
    ):
        calls = [on_doomed, on_other, afterwards]
        on_doomed.place()
        on_other.place()
        run_calls(calls, until=lambda: on_doomed.talking(20) and on_other.talking(20))
        doomed.kill()
        killed = time.time()
        afterwards.place()
        run_calls(calls)
        for call in calls:
            call.assert_signalled_well()
    assert_relayed(on_other, other.host, on_other.ended_at())
    assert_relayed(afterwards, other.host, afterwards.ended_at())
    for phone in (on_doomed.caller, on_doomed.callee):
        assert_told(phone, doomed.host)
        assert_silent_from(phone.endpoints[0], killed)
    other.assert_is_clean()
    assert other.end() == 0


def test_a_relay_that_is_back_gets_calls_again(
    tmp_path: Path, relays: list[Relay], proxy: str
) -> None:
    doomed, other = relays
    doomed.kill()
    with make_call(tmp_path / "a", proxy, (51, 52), call_id_for(0, "without"), 0.5) as call:
        assert_relayed(call, other.host, run_to_the_end(call))
    (tmp_path / "again").mkdir()
    with Relay(doomed.host, tmp_path / "again") as revived:
        time.sleep(RETRY_AFTER + 1)
        with make_call(tmp_path / "b", proxy, (51, 52), call_id_for(0, "with"), 0.5) as call:
            assert_relayed(call, revived.host, run_to_the_end(call))
        revived.assert_is_clean()
        assert revived.end() == 0
    other.assert_is_clean()
    assert other.end() == 0
