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
from tests.faults.injection import AVAILABLE, Injection
from tests.faults.scenario import Parties, Proxy, play, prompt

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not AVAILABLE, reason="needs strace"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs to trace processes"),
]

HOST, CLIENT = loopback.host(86), loopback.host(87)

REFUSALS = {
    "socket": ("EMFILE", "ENOBUFS"),
    "bind": ("EADDRINUSE", "EACCES", "EADDRNOTAVAIL"),
    "setsockopt": ("ENOMEM",),
    "sendto": ("EPERM", "ENOBUFS", "ENETUNREACH"),
    "recvfrom": ("ECONNREFUSED", "ENOMEM"),
    "openat": ("EMFILE", "ENOSPC", "EIO"),
    "write": ("ENOSPC", "EIO"),
    "rename": ("EIO", "EROFS"),
    "unlink": ("EIO",),
    "fsync": ("EIO",),
    "newfstatat": ("EIO",),
    "pread64": ("EIO",),
    "epoll_ctl": ("ENOMEM",),
    "connect": ("ENETUNREACH",),
    "mkdir": ("ENOSPC",),
    "statfs": ("EIO",),
}

MOST = 60
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

    def descriptors(self) -> int:
        """How many the process has."""
        return len(os.listdir(f"/proc/{self.relay.pid}/fd"))


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "recordings").mkdir()
    prompt(folder)
    options = ["-r", str(folder / "recordings"), "--prompt-dir", str(folder), "-p", "/dev/null"]
    options += ["--record-min-free", "0", "--fast-path", "none", "--http", "none"]
    with Relay(HOST, folder, [], options) as relay:
        proxy = Proxy(CLIENT, (HOST, CONTROL_PORT))
        beside = Parties(proxy, CLIENT, HOST, "beside")
        ports = beside.set_up()
        made = Setting(relay, proxy, beside, ports, folder)
        assert beside.exchange(ports, ARRIVES) == 2
        play(proxy, CLIENT, HOST)  # what is done for the first time
        yield made
        assert proxy.ask("D beside a b") == "0"
        beside.close()
        proxy.close()


def wait_until_over(setting: Setting, descriptors: int) -> None:
    """As many as before, once the last file has been written."""
    wait_until(lambda: setting.descriptors() <= descriptors, "descriptors are closed", 5)
    assert setting.relay.count_sessions() == 1


@pytest.mark.parametrize("call, error", [(call, each[0]) for call, each in REFUSALS.items()])
def test_a_refusal_of_the_kernel_costs_what_it_refused_and_no_more(
    setting: Setting, call: str, error: str
) -> None:
    refuse(setting, call, error, SOME)


@pytest.mark.slow
@pytest.mark.parametrize("call, error", [(c, e) for c, each in REFUSALS.items() for e in each])
def test_every_refusal_of_the_kernel_costs_what_it_refused_and_no_more(
    setting: Setting, call: str, error: str
) -> None:
    refuse(setting, call, error, range(1, MOST))


def refuse(setting: Setting, call: str, error: str, uses: Iterable[int]) -> None:
    """Those ``uses`` of a call fail, one in each run of the scenario, until there are no more."""
    setting.proxy.ask("V")
    before = setting.descriptors()
    for when in uses:
        injection = Injection(setting.relay.pid, call, error, when, setting.folder / "strace")
        with injection:
            play(setting.proxy, CLIENT, HOST)
            heard = setting.beside.exchange(setting.ports, ARRIVES)
        # The refused call may have been one of the other call's own.
        assert heard >= 2 - injection.happened, (call, error, when)
        assert setting.beside.exchange(setting.ports, ARRIVES) == 2, (call, error, when)
        wait_until_over(setting, before)
        if not injection.happened:
            break
    else:
        raise AssertionError("it never ends")
    setting.relay.assert_had_no_accident()


def test_there_are_recordings_of_what_was_not_refused(setting: Setting) -> None:
    play(setting.proxy, CLIENT, HOST)
    wait_until(lambda: any((setting.folder / "recordings").glob("*.rtp")), "a recording", 5)
    assert shutil.disk_usage(setting.folder).free
