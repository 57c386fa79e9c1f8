"""A running relay whose kernel refuses: each kind of call, at its first, second … use.

After every refusal the commands are answered, the call beside goes on, and when it is over there
are as many descriptors and sessions as before and no traceback in the log.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import loopback
from tests.e2e.process import wait_until
from tests.e2e.relay import CONTROL_PORT, Relay
from tests.faults.calls import ALONE, SPARED, SPARED_ALONE, Call
from tests.faults.injection import AVAILABLE, Injection, Trace
from tests.faults.scenario import Parties, Proxy, asked, play, prompt

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not AVAILABLE, reason="needs strace"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs to trace processes"),
]

HOST, CLIENT = loopback.host(86), loopback.host(87)

MOST = 150
"""Uses of one call in one scenario: enough for all of them."""

SOME = (1, 2, 3, 5, 8, 13, 21, 34, 55)
"""Uses that an ordinary run has fail, of one error each; slow ones have all of all errors."""

ARRIVES = 3.0
"""Seconds within which a packet that nothing is done to must have arrived."""


@dataclass
class Setting:
    """A relay, a client of it, and a call that goes on all the time."""

    relay: Relay
    proxy: Proxy
    beside: Parties
    ports: list[int]
    folder: Path

    def play(self, streams: bool = True) -> None:
        """The scenario: a whole call, and what others than SIP proxies ask."""
        prompt(self.folder)
        play(self.proxy, CLIENT, HOST)
        if not streams:
            return
        assert asked(self.folder / "control", "V") == "20040107\n"
        assert " 200 " in asked(self.folder / "http", "GET /metrics HTTP/1.0\r\n\r\n")

    def descriptors(self) -> int:
        """How many the process has."""
        return len(os.listdir(f"/proc/{self.relay.pid}/fd"))


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "recordings").mkdir()
    prompt(folder)
    (folder / "spool").mkdir()
    options = ["-r", str(folder / "recordings"), "-S", str(folder / "spool")]
    options += ["--prompt-dir", str(folder), "-p", "/dev/null", "--record-min-free", "0"]
    options += ["--record-calls", str(folder / "calls"), "--fast-path", "none"]
    options += ["--http", f"unix:{folder}/http"]
    with Relay(HOST, folder, [f"unix:{folder}/control"], options) as relay:
        proxy = Proxy(CLIENT, (HOST, CONTROL_PORT))
        beside = Parties(proxy, CLIENT, HOST, "beside")
        ports = beside.set_up()
        made = Setting(relay, proxy, beside, ports, folder)
        assert beside.exchange(ports, ARRIVES) == 2
        made.play()  # what is done for the first time
        yield made
        assert proxy.ask("D beside a b") == "0"
        beside.close()
        proxy.close()


def wait_until_over(setting: Setting, descriptors: int) -> None:
    """As many as before, once the last file has been written."""
    wait_until(lambda: setting.descriptors() <= descriptors, "descriptors are closed", 5)
    assert "\nactive sessions: 1\n" in setting.proxy.ask("I")


@pytest.mark.parametrize("call", ALONE, ids=lambda call: call.name)
def test_a_refusal_of_the_kernel_costs_what_it_refused_and_no_more(
    setting: Setting, call: Call
) -> None:
    refuse(setting, call, call.errors[0], SOME)


@pytest.mark.slow
@pytest.mark.parametrize("call, error", [(c, e) for c in ALONE for e in c.errors], ids=str)
def test_every_refusal_of_the_kernel_costs_what_it_refused_and_no_more(
    setting: Setting, call: Call, error: str
) -> None:
    refuse(setting, call, error, range(1, MOST))


def refuse(setting: Setting, call: Call, error: str, uses: Iterable[int]) -> None:
    """Those ``uses`` of a call fail, one in each run of the scenario, until there are no more."""
    setting.proxy.ask("V")
    before = setting.descriptors()
    for when in uses:
        injection = Injection(setting.relay.pid, call.calls, error, when, setting.folder / "strace")
        with injection:
            setting.play(streams=not call.datagrams_only)
            heard = setting.beside.exchange(setting.ports, ARRIVES)
            wait_until_over(setting, before)
            if call.now_and_then and when == 1:
                injection.wait()
        # The refused call may have been one of the other call's own.
        assert heard >= 2 - injection.happened, (call, error, when)
        assert setting.beside.exchange(setting.ports, ARRIVES) == 2, (call, error, when)
        wait_until_over(setting, before)
        if not injection.happened:
            break
    else:
        assert uses is SOME, "it never ends"
    assert when > 1, "the relay never does it"
    setting.relay.assert_had_no_accident()


def test_all_that_the_relay_calls_is_made_to_fail_or_cannot(setting: Setting) -> None:
    with Trace(setting.relay.pid, setting.folder / "strace") as trace:
        setting.play()
        setting.beside.exchange(setting.ports, ARRIVES)
    known = {*SPARED, *SPARED_ALONE}.union(*(call.names for call in ALONE))
    assert trace.calls() - known == set()
    assert {"recvfrom", "sendto", "openat", "write"} <= trace.calls()


def test_there_are_recordings_of_what_was_not_refused(setting: Setting) -> None:
    setting.play()
    wait_until(lambda: any((setting.folder / "recordings").glob("*.rtp")), "a recording", 5)
    assert shutil.disk_usage(setting.folder).free
