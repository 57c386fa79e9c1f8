"""The end of a relay that drains, and of calls that outlast the time they were given."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rtpproxy_tw.tools.ctl_client import Client, Refused, read_target
from tests.e2e import loopback
from tests.e2e.process import wait_until
from tests.e2e.relay import Relay, command_line

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


def is_ready(api: Path) -> bool:
    """What ``/readyz`` says. Fails where it refuses for another reason than draining."""
    try:
        Client(read_target(str(api))).fetch("/readyz")
    except Refused as refused:
        if "no new sessions" not in str(refused):
            raise
        return False
    return True


def draining(api: Path) -> int:
    """``relay_draining``."""
    text = Client(read_target(str(api))).fetch("/metrics").decode()
    found = re.search(r"^relay_draining (\d)", text, re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_usr1_refuses_new_calls_serves_those_there_and_does_not_end_the_relay(
    tmp_path: Path,
) -> None:
    api = tmp_path / "http"
    options = ["--http", f"unix:{api}", "-p", "/dev/null"]
    with Relay(loopback.RELAY, tmp_path, options=options) as relay:
        assert (is_ready(api), draining(api)) == (True, 0)
        assert relay.ask("U there 127.0.0.1 4000 f").split()[0].isdecimal()
        os.kill(relay.pid, signal.SIGUSR1)
        wait_until(lambda: not is_ready(api), "it drains")
        assert draining(api) == 1
        assert relay.ask("U new 127.0.0.1 4000 f") == "E99"
        for command in ("L there 127.0.0.1 4002 f t", "U there 127.0.0.1 4000 f t"):
            assert relay.ask(command).split()[0].isdecimal()
        assert ctl(api, "drain", "--status").startswith("no new sessions are taken; 1 are left")
        assert relay.ask("D there f t") == "0"
        time.sleep(0.3)
        assert relay.ask("U new 127.0.0.1 4000 f") == "E99"
        ctl(api, "drain", "--off")
        assert (is_ready(api), draining(api)) == (True, 0)
        assert relay.ask("U new 127.0.0.1 4000 f").split()[0].isdecimal()
        assert relay.end() == 0


def test_hup_ends_the_relay_with_its_last_call(tmp_path: Path) -> None:
    api = tmp_path / "http"
    options = ["--http", f"unix:{api}", "-p", "/dev/null"]
    with Relay(loopback.RELAY, tmp_path, options=options) as relay:
        assert relay.ask("U last 127.0.0.1 4000 f").split()[0].isdecimal()
        os.kill(relay.pid, signal.SIGHUP)
        wait_until(lambda: not is_ready(api), "it drains")
        assert relay.ask("U new 127.0.0.1 4000 f") == "E99"
        for command in ("L last 127.0.0.1 4002 f t", "U last 127.0.0.1 4000 f t"):
            assert relay.ask(command).split()[0].isdecimal()
        assert relay.running
        assert relay.ask("D last f t") == "0"
        wait_until(lambda: not relay.running, "it ends with the last one")
        assert relay.status == 0


@pytest.mark.slow
def test_systemd_is_told_how_far_it_is(tmp_path: Path) -> None:
    api, notices = tmp_path / "http", tmp_path / "notify"
    systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.bind(str(notices))
    systemd.settimeout(15)
    program = ["env", f"NOTIFY_SOCKET={notices}", *command_line()]
    options = ["--http", f"unix:{api}", "-p", "/dev/null"]
    with systemd, Relay(loopback.RELAY, tmp_path, options=options, program=program) as relay:
        for name in ("one", "two"):
            assert relay.ask(f"U {name} 127.0.0.1 4000 f").split()[0].isdecimal()
        ctl(api, "drain", "--exit", "--limit", "60")
        assert relay.ask("D one f") == "0"
        told = b""
        while b"left" not in told:
            told = systemd.recv(4096)
        wanted = (
            rb"STATUS=1 of 2 sessions left, ended in \d+ s; ends with the last, takes no new ones"
        )
        assert re.match(wanted, told), told
        assert b"EXTEND_TIMEOUT_USEC=" in told
        assert relay.ask("D two f") == "0"
        wait_until(lambda: not relay.running, "it ends with the last one")
