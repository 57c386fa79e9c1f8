"""A call over a SIP proxy, from within the network of a machine: ``place_call PROXY RELAY FOLDER``.

``RELAY`` is empty where both parties are told an address of this machine that is also their own.
It has to be a process of its own, as a network namespace is a process's. SIPp signals, both parties
speak, and what either said must have reached the other by way of the relay.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.e2e.calls import Call, run_to_the_end
from tests.e2e.checks import LEARNING, assert_heard, assert_told
from tests.e2e.phone import Phone

CALLER = "192.0.2.21"
CALLEE = "192.0.2.20"
"""Where the guides' SIP proxies send calls that they do not know better."""


def main(proxy: str, relay: str, folder: str) -> None:
    """Place it; raise AssertionError if it was not good."""
    caller, callee = Phone(CALLER), Phone(CALLEE)
    told = ([caller.describe()], [callee.describe()])
    with Call(Path(folder), proxy, (caller, "calls"), (callee, "answers"), *told) as call:
        ended = run_to_the_end(call)
    for listener, talker in ((caller, callee), (callee, caller)):
        assert_told(listener, relay or listener.host)
        assert_heard(listener, talker, ended, relayed_from=LEARNING)


if __name__ == "__main__":
    main(*sys.argv[1:])
