"""Calls through the Sippy B2BUA, a SIP element that terminates both sides of a call."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.e2e import loopback
from tests.e2e.calls import Call, run_calls, run_to_the_end
from tests.e2e.checks import assert_heard, assert_silent_from
from tests.e2e.kamailio import EXAMPLES
from tests.e2e.phone import Phone
from tests.e2e.process import Process, wait_until
from tests.e2e.relay import Relay

EXAMPLE = EXAMPLES / "sippy-b2bua"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(find_spec("sippy") is None, reason="the sippy package is not installed"),
    pytest.mark.skipif(
        shutil.which("sipp") is None, reason="sipp is not installed (Debian: sip-tester)"
    ),
]


@contextmanager
def b2bua(folder: Path, relay: Relay, notify: Path) -> Iterator[str]:
    """A B2BUA that sends every call to the callee. Its host; it knows the relay by then."""
    settings = {
        "SIP_ADDRESS": loopback.PROXY,
        "SIP_PORT": str(loopback.SIP_PORT),
        "ROUTE": f"{loopback.CALLEE}:{loopback.SIP_PORT}",
        "RELAY": relay.control,
        "NOTIFY": f"unix:{notify}",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    words = ["env", *(f"{name}={value}" for name, value in settings.items()), str(EXAMPLE)]
    with Process(words, folder / "b2bua.log") as process:
        wait_until(
            lambda: loopback.is_bound((loopback.PROXY, loopback.SIP_PORT)), "the B2BUA listens"
        )
        # Its heartbeat: from now on it takes the relay for usable.
        wait_until(lambda: "Ib" in relay.printed(), "the B2BUA watches the relay")
        yield loopback.PROXY
        assert process.running, process.printed()


def test_a_call_through_the_b2bua_is_relayed(tmp_path: Path) -> None:
    notify = tmp_path / "notify"
    caller, callee = Phone(loopback.CALLER), Phone(loopback.CALLEE)
    with (
        Relay(loopback.RELAY, tmp_path, options=["-n", f"unix:{notify}"]) as relay,
        b2bua(tmp_path, relay, notify) as host,
        Call(
            tmp_path,
            host,
            (caller, "calls"),
            (callee, "answers"),
            [caller.describe()],
            [callee.describe()],
        ) as call,
    ):
        ended = run_to_the_end(call)
        relay.assert_is_clean()
        assert relay.end() == 0
    assert_heard(caller, callee, ended)
    assert_heard(callee, caller, ended)


def test_the_b2bua_ends_a_call_that_fell_silent(tmp_path: Path) -> None:
    notify = tmp_path / "notify"
    caller, callee = Phone(loopback.CALLER), Phone(loopback.CALLEE)
    with (
        Relay(loopback.RELAY, tmp_path, options=["-n", f"unix:{notify}", "-T", "1"]) as relay,
        b2bua(tmp_path, relay, notify) as host,
        Call(
            tmp_path,
            host,
            (caller, "calls_until_ended"),
            (callee, "answers"),
            [caller.describe()],
            [callee.describe()],
        ) as call,
    ):
        call.place()
        run_calls([call], until=lambda: call.talking(20))
        for endpoint in call.endpoints:
            endpoint.muted = True
        silent = time.time()
        run_calls([call])
        call.assert_signalled_well()
        assert 0.5 < call.ended_at() - silent < 5
        relay.assert_is_clean()
        assert relay.end() == 0
    for endpoint in call.endpoints:
        assert_silent_from(endpoint, silent)
