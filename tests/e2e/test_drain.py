"""The end of a relay that drains, and of calls that outlast the time they were given."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e import loopback
from tests.e2e.process import wait_until
from tests.e2e.relay import Relay

pytestmark = pytest.mark.e2e


def ctl(api: Path, *words: str) -> str:
    """What ``rtpproxy-ctl`` prints."""
    argv = [sys.executable, "-m", "rtpproxy_tw.tools.ctl", "--api", str(api), *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout


def test_who_outlasts_the_limit_is_ended_and_told_of_as_by_a_timeout(tmp_path: Path) -> None:
    api, notices = tmp_path / "http", tmp_path / "notices"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(notices))
    listener.listen()
    listener.settimeout(10)
    options = ["-n", f"unix:{notices}", "--http", f"unix:{api}", "-p", "/dev/null"]
    with listener, Relay(loopback.RELAY, tmp_path, options=options) as relay:
        notify = f"unix:{notices} gone.1"
        assert relay.ask(f"U told 127.0.0.1 4000 f {notify}").split()[0].isdecimal()
        assert relay.ask("L told 127.0.0.1 4002 f t").split()[0].isdecimal()
        assert relay.ask("U mute 127.0.0.1 4000 f").split()[0].isdecimal()
        ctl(api, "drain", "--exit", "--limit", "1.5")
        assert relay.ask("U new 127.0.0.1 4000 f") == "E99"
        assert relay.ask(f"U told 127.0.0.1 4000 f t {notify}").split()[0].isdecimal()
        told = json.loads(ctl(api, "--json", "drain", "--status"))
        assert (told["draining"], told["sessions"], told["of"]) == (True, 2, 2)
        assert 0 < told["seconds_left"] <= 1.5
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            assert connection.recv(64).split() == [b"gone.1"]
        wait_until(lambda: not relay.running, "it ends with the last one")
        assert relay.status == 0


def test_a_relay_that_drains_without_a_limit_waits_for_the_last_call(tmp_path: Path) -> None:
    api = tmp_path / "http"
    options = ["--http", f"unix:{api}", "-p", "/dev/null"]
    with Relay(loopback.RELAY, tmp_path, options=options) as relay:
        assert relay.ask("U last 127.0.0.1 4000 f").split()[0].isdecimal()
        ctl(api, "drain", "--exit")
        time.sleep(0.5)
        assert relay.ask("L last 127.0.0.1 4002 f t").split()[0].isdecimal()
        assert relay.ask("D last f t") == "0"
        wait_until(lambda: not relay.running, "it ends with the last one")
        assert relay.status == 0
