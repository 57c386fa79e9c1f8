"""Sippy's own client classes against the relay, over each of its transports."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e import loopback, media
from tests.e2e.checks import assert_heard, assert_told
from tests.e2e.media import Endpoint
from tests.e2e.phone import Phone
from tests.e2e.process import Process, wait_until
from tests.e2e.relay import Relay
from tests.e2e.sip import read_sdp

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(find_spec("sippy") is None, reason="the sippy package is not installed"),
]

CHILD = Path(__file__).with_name("sippy_child.py")
TCP_PORT = 22223
NOTIFY_PORT = 22224


class Sippy(Process):
    """The child process; :meth:`do` is one step of the conversation with it."""

    def __init__(self, folder: Path, control: str, caller: Phone, callee: Phone, *notify: str):
        sdps = []
        for who, phone in (("caller", caller), ("callee", callee)):
            path = folder / f"{who}.sdp"
            path.write_bytes(phone.describe().encode())
            sdps.append(str(path))
        argv = [sys.executable, str(CHILD), control, *sdps, caller.host, callee.host, *notify]
        super().__init__(argv, folder / "sippy.log")
        self._seen = 0

    def do(self, word: str, timeout: float = 5.0) -> Any:
        """Say ``word`` and wait for its result."""
        self.tell(word)
        return self.expect(word, timeout)

    def expect(self, word: str, timeout: float = 5.0) -> Any:
        """Wait for the next report, which must be of ``word``."""
        wait_until(lambda: len(self._reports()) > self._seen, f"{word}: {self.printed()}", timeout)
        report = self._reports()[self._seen]
        self._seen += 1
        assert report["word"] == word, self.printed()
        return report["result"]

    def _reports(self) -> list[dict[str, Any]]:
        lines = self.printed().split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith('{"word"')]


class Stage(NamedTuple):
    """A relay with one control socket of each kind."""

    relay: Relay
    controls: dict[str, str]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("sippy")
    controls = {
        "tcp": f"tcp:{loopback.RELAY}:{TCP_PORT}",
        "unix": f"unix:{folder / 'unix'}",
        "cunix": f"cunix:{folder / 'cunix'}",
    }
    with Relay(loopback.RELAY, folder, list(controls.values())) as relay:
        yield Stage(relay, {"udp": relay.control, **controls})
        assert relay.end() == 0
        relay.assert_had_no_accident()


@pytest.fixture
def phones() -> Iterator[tuple[Phone, Phone]]:
    caller, callee = Phone(loopback.CALLER), Phone(loopback.CALLEE)
    yield caller, callee
    caller.close()
    callee.close()


def local_address_towards(host: str) -> str:
    """The address from which this host would send to ``host``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, 9))
        return str(sock.getsockname()[0])


def negotiate(sippy: Sippy, caller: Phone, callee: Phone) -> None:
    """Create a session for both sides and let the phones speak."""
    sippy.do("create")
    callee.obey(read_sdp(sippy.do("caller").replace("\r\n", "\n")))
    caller.obey(read_sdp(sippy.do("callee").replace("\r\n", "\n")))
    caller.start()
    callee.start()


def mute(endpoints: Sequence[Endpoint], muted: bool) -> None:
    for endpoint in endpoints:
        endpoint.muted = muted


@pytest.mark.parametrize("transport", ["udp", "tcp", "unix", "cunix"])
def test_a_sippy_session_relays_until_it_is_deleted(
    stage: Stage, tmp_path: Path, phones: tuple[Phone, Phone], transport: str
) -> None:
    caller, callee = phones
    endpoints = [*caller.endpoints, *callee.endpoints]
    with Sippy(tmp_path, stage.controls[transport], caller, callee) as sippy:
        supported = sippy.expect("online", 10)
        # Notifications are offered only where a notification socket is configured.
        assert supported.pop("tnot") is False
        assert all(supported.values()), supported
        negotiate(sippy, caller, callee)
        media.run_for(endpoints, 1.2)
        mute(endpoints, True)
        media.run_for(endpoints, 0.1)
        ttl, from_caller, from_callee, relayed, dropped = sippy.do("stats")
        assert 0 < ttl <= 60
        assert from_caller == len(caller.endpoints[0].sent)
        assert from_callee == len(callee.endpoints[0].sent)
        assert relayed == from_caller + from_callee
        assert dropped == 0
        assert sippy.do("heartbeat") == 1
        sippy.do("delete")
        wait_until(lambda: stage.relay.count_sessions() == 0, "the session is deleted")
        ended = time.time()
        mute(endpoints, False)
        media.speak_on(endpoints)
        wait_until(lambda: sippy.do("heartbeat") == 0, "the client has heard of it")
        sippy.tell("end")
        wait_until(lambda: not sippy.running, "the client has ended")
        assert sippy.status == 0
    for listener, talker in ((caller, callee), (callee, caller)):
        assert_told(listener, local_address_towards(talker.host))
        assert_heard(listener, talker, ended)
    stage.relay.assert_is_clean()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_sippys_listener_is_told_of_a_session_that_fell_silent(
    tmp_path: Path, phones: tuple[Phone, Phone], kind: str
) -> None:
    caller, callee = phones
    notify = {
        "tcp": f"tcp:{loopback.LISTENER}:{NOTIFY_PORT}",
        "unix": f"unix:{tmp_path / 'notify'}",
    }[kind]
    with (
        Relay(loopback.OTHER_RELAY, tmp_path, options=["-n", notify, "-T", "1"]) as relay,
        Sippy(tmp_path, relay.control, caller, callee, notify) as sippy,
    ):
        assert sippy.expect("online", 10)["tnot"] is True
        negotiate(sippy, caller, callee)
        media.run_for([*caller.endpoints, *callee.endpoints], 0.5)
        assert sippy.expect("notified", 10) == "r 1"
        relay.assert_is_clean()
        sippy.tell("end")
        assert relay.end() == 0
