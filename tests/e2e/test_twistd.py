"""The relay as a plugin of twistd."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.e2e import loopback
from tests.e2e.calls import Call, run_to_the_end
from tests.e2e.checks import assert_heard, assert_told
from tests.e2e.kamailio import Kamailio
from tests.e2e.phone import Phone
from tests.e2e.relay import Relay

pytestmark = pytest.mark.e2e

# With "-c" the current folder is where plugins are looked for too, as with an installed twistd.
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


def test_a_relay_run_by_twistd_relays_a_call(tmp_path: Path, sip_peers: None) -> None:
    caller, callee = Phone(loopback.CALLER), Phone(loopback.CALLEE)
    program = [*TWISTD, "-n", "--pidfile=", "rtpproxy"]
    with (
        Relay(loopback.RELAY, tmp_path, program=program) as relay,
        Kamailio(tmp_path, relay.control) as proxy,
        Call(
            tmp_path,
            proxy.host,
            (caller, "calls"),
            (callee, "answers"),
            [caller.describe()],
            [callee.describe()],
        ) as call,
    ):
        ended = run_to_the_end(call)
        relay.assert_is_clean()
        # twistd ends itself with the signal that stopped it.
        assert relay.end() == -signal.SIGTERM
        relay.assert_had_no_accident()
    for listener, talker in ((caller, callee), (callee, caller)):
        assert_told(listener, loopback.RELAY)
        assert_heard(listener, talker, ended)
