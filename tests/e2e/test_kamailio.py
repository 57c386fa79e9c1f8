"""Calls through Kamailio and its rtpproxy module, over UDP and over a UNIX socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e import loopback
from tests.e2e.calls import Call, run_calls, run_to_the_end
from tests.e2e.checks import AT_ONCE, LEARNING, assert_heard, assert_told, longest_pause
from tests.e2e.kamailio import Kamailio
from tests.e2e.phone import Phone
from tests.e2e.relay import Relay

pytestmark = pytest.mark.e2e

PRIVATE = "192.168.77.5"
"""What a telephone behind a NAT writes into its SDP."""


class Stage(NamedTuple):
    """A relay; a proxy that tells it whence the SIP messages came; one that believes the SDPs."""

    relay: Relay
    proxy: str
    trusting: str


@pytest.fixture(scope="module", params=["udp", "unix"])
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, sip_peers: None
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp(request.param)
    unix = f"unix:{folder / 'control'}"
    with Relay(loopback.RELAY, folder, [unix]) as relay:
        control = unix if request.param == "unix" else relay.control
        with (
            Kamailio(folder, control) as proxy,
            Kamailio(folder, control, flags="cor", host=loopback.TRUSTING_PROXY) as trusting,
        ):
            yield Stage(relay, proxy.host, trusting.host)
        assert relay.end() == 0
        relay.assert_had_no_accident()


@pytest.fixture
def stage(started: Stage) -> Iterator[Stage]:
    """The stage; whatever the test did, the relay must have nothing left of it."""
    yield started
    started.relay.assert_is_clean()


def test_both_parties_of_a_plain_call_hear_each_other(stage: Stage, tmp_path: Path) -> None:
    caller, callee = Phone(loopback.CALLER), Phone(loopback.CALLEE)
    with Call(
        tmp_path,
        stage.proxy,
        (caller, "calls"),
        (callee, "answers"),
        [caller.describe()],
        [callee.describe()],
    ) as call:
        ended = run_to_the_end(call)
    assert assert_told(caller, loopback.RELAY) != assert_told(callee, loopback.RELAY)
    assert_heard(caller, callee, ended)
    assert_heard(callee, caller, ended)


def test_wrong_ports_in_both_sdps_do_not_matter(stage: Stage, tmp_path: Path) -> None:
    caller, callee = Phone(loopback.CALLER, off=1000), Phone(loopback.CALLEE, off=2000)
    with Call(
        tmp_path,
        stage.proxy,
        (caller, "calls"),
        (callee, "answers"),
        [caller.describe()],
        [callee.describe()],
    ) as call:
        ended = run_to_the_end(call)
    # What comes before a party's own first packet can only go where its SDP pointed.
    for listener, talker in ((caller, callee), (callee, caller)):
        assert_told(listener, loopback.RELAY)
        assert_heard(listener, talker, ended)


@pytest.mark.parametrize("trusting", [False, True], ids=["source-known", "sdp-believed"])
def test_a_private_address_in_the_callers_sdp_does_not_matter(
    stage: Stage, tmp_path: Path, trusting: bool
) -> None:
    caller, callee = Phone(loopback.CALLER, says=PRIVATE), Phone(loopback.CALLEE)
    with Call(
        tmp_path,
        stage.trusting if trusting else stage.proxy,
        (caller, "calls"),
        (callee, "answers"),
        [caller.describe()],
        [callee.describe()],
    ) as call:
        ended = run_to_the_end(call)
    relayed_from = LEARNING if trusting else AT_ONCE
    for listener, talker in ((caller, callee), (callee, caller)):
        assert_told(listener, loopback.RELAY)
        assert_heard(listener, talker, ended, relayed_from=relayed_from)


@pytest.mark.parametrize("how", ["sendonly", "inactive", "null"])
def test_a_held_call_goes_on_at_the_same_ports(stage: Stage, tmp_path: Path, how: str) -> None:
    caller, callee = Phone(loopback.CALLER), Phone(loopback.CALLEE)
    answer = {"sendonly": "recvonly", "inactive": "inactive", "null": "sendrecv"}[how]
    hold = (
        caller.describe(version=2, null=True)
        if how == "null"
        else caller.describe(version=2, direction=how)
    )
    with Call(
        tmp_path,
        # The null address reaches the relay only where the SDP is believed.
        stage.trusting if how == "null" else stage.proxy,
        (caller, "holds"),
        (callee, "is_held"),
        [caller.describe(), hold, caller.describe(version=3)],
        [
            callee.describe(),
            callee.describe(version=2, direction=answer),
            callee.describe(version=3),
        ],
        length=0.6,
    ) as call:
        ended = run_to_the_end(call)
    for listener, talker in ((caller, callee), (callee, caller)):
        assert_told(listener, loopback.RELAY)
        assert_heard(listener, talker, ended)
    assert longest_pause(callee.endpoints[0]) > 0.3
    # Music on hold: the party that holds may speak unless it says otherwise.
    assert (longest_pause(caller.endpoints[0]) > 0.3) == (how == "inactive")


def test_the_callee_may_move_to_other_ports_and_hang_up(stage: Stage, tmp_path: Path) -> None:
    caller, callee = Phone(loopback.CALLER), Phone(loopback.CALLEE)
    with Call(
        tmp_path,
        stage.proxy,
        (caller, "calls_and_waits"),
        (callee, "answers_and_offers"),
        [caller.describe(), caller.describe(version=2)],
        [callee.describe(), callee.describe(version=2, moved=100)],
        length=0.6,
    ) as call:
        before = callee.endpoints[0].port
        ended = run_to_the_end(call)
    assert callee.endpoints[0].port == before + 100
    for listener, talker in ((caller, callee), (callee, caller)):
        assert_told(listener, loopback.RELAY)
        # What was on its way to the old port while the callee moved is lost.
        assert_heard(listener, talker, ended, lost_later=3)


def test_the_callee_may_make_the_first_offer(stage: Stage, tmp_path: Path) -> None:
    caller, callee = Phone(loopback.CALLER), Phone(loopback.CALLEE)
    with Call(
        tmp_path,
        stage.proxy,
        (caller, "calls_without_offer"),
        (callee, "answers"),
        [caller.describe()],
        [callee.describe()],
    ) as call:
        ended = run_to_the_end(call)
    for listener, talker in ((caller, callee), (callee, caller)):
        assert_told(listener, loopback.RELAY)
        assert_heard(listener, talker, ended)


def test_each_medium_has_its_ports_and_a_refused_one_does_no_harm(
    stage: Stage, tmp_path: Path
) -> None:
    kinds = ("audio", "video", "image")
    caller = Phone(loopback.CALLER, kinds)
    callee = Phone(loopback.CALLEE, kinds, refuses=("image",))
    with Call(
        tmp_path,
        stage.proxy,
        (caller, "calls"),
        (callee, "answers"),
        [caller.describe()],
        [callee.describe()],
    ) as call:
        ended = run_to_the_end(call)
    ports = {
        assert_told(phone, loopback.RELAY, medium)[1]
        for phone in (caller, callee)
        for medium in (0, 1)
    }
    assert len(ports) == 4
    for medium in (0, 1):
        assert_heard(caller, callee, ended, medium=medium)
        assert_heard(callee, caller, ended, medium=medium)
    assert caller.told[2] == set()
    assert caller.endpoints[2].heard == callee.endpoints[2].heard == []


@pytest.mark.parametrize(
    "scenarios", [("is_refused", "refuses"), ("cancels", "is_cancelled")], ids=["busy", "cancelled"]
)
def test_nothing_is_left_of_a_call_that_did_not_come_about(
    stage: Stage, tmp_path: Path, scenarios: tuple[str, str]
) -> None:
    caller, callee = Phone(loopback.CALLER), Phone(loopback.CALLEE)
    created = int(stage.relay.ask("G nsess_created"))
    with Call(
        tmp_path,
        stage.proxy,
        (caller, scenarios[0]),
        (callee, scenarios[1]),
        [caller.describe()],
    ) as call:
        call.place()
        run_calls([call])
        call.assert_signalled_well()
    assert int(stage.relay.ask("G nsess_created")) == created + 1
    assert stage.relay.count_sessions() == 0
    assert callee.told != [set()]
