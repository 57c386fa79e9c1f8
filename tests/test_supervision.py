"""What systemd hears of a relay."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from rtpproxy_tw.supervision import (
    Notified,
    State,
    Supervision,
    Supervisor,
    described,
    supervisor_of,
)

LONG = 60.0
"""Seconds; a relay that takes longer hangs."""


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(LONG)
        yield listening


def heard(systemd: socket.socket) -> list[str]:
    """What came, without waiting for more."""
    systemd.setblocking(False)
    lines: list[str] = []
    while True:
        try:
            lines += systemd.recv(4096).decode().splitlines()
        except BlockingIOError:
            return lines


def supervisor(systemd: socket.socket, watchdog: float | None = None) -> Supervisor:
    """systemd, as the relay sees it."""
    return Supervisor(systemd.getsockname(), watchdog)


def test_without_systemd_nobody_is_told_anything() -> None:
    """No environment, no socket."""
    nobody = supervisor_of({}, 1)
    assert not nobody.present
    assert not nobody.tell("READY=1")


def test_an_abstract_address_begins_with_an_at_sign() -> None:
    """As environ(7) cannot hold the zero octet."""
    name = f"rtpproxy-tw-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        assert supervisor_of({"NOTIFY_SOCKET": f"@{name}"}, 1).tell("READY=1")
        assert listening.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"WATCHDOG_USEC": "5000000"}, 5.0),
        ({"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "7"}, 5.0),
        ({"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_counts_where_it_is_meant_for_this_process(
    environment: dict[str, str], expected: float | None
) -> None:
    """sd_watchdog_enabled(3)."""
    assert supervisor_of(environment, 7).watchdog == expected


def test_a_socket_that_has_gone_is_complained_of_once(tmp_path: Path) -> None:
    """And nothing is raised: the relay runs on."""
    gone = Supervisor(str(tmp_path / "nobody"))
    assert not gone.tell("READY=1")
    assert not gone.tell("WATCHDOG=1")


def test_descriptors_go_with_the_message(systemd: socket.socket) -> None:
    """The descriptor store of systemd takes them."""
    read, write = os.pipe()
    assert supervisor(systemd).tell("FDSTORE=1", "FDNAME=m", descriptors=[write])
    message, received, _, _ = socket.recv_fds(systemd, 100, 5)
    os.write(received[0], b"x")
    assert message == b"FDSTORE=1\nFDNAME=m"
    assert os.read(read, 2) == b"x"
    for descriptor in (read, write, *received):
        os.close(descriptor)
    with pytest.raises(ValueError, match="254"):
        supervisor(systemd).tell("FDSTORE=1", descriptors=[0] * 254)


def test_a_start_is_told_to_systemd_and_to_the_starter(systemd: socket.socket) -> None:
    """A failure becomes the unit's status, in one line."""
    told: list[str] = []

    class Listening:
        def ready(self) -> None:
            told.append("ready")

        def failed(self, sentence: str) -> None:
            told.append(sentence)

    starter = Notified(Listening(), supervisor(systemd))
    starter.ready()
    starter.failed("no\nroom")
    assert told == ["ready", "no\nroom"]
    assert heard(systemd) == ["READY=1", f"MAINPID={os.getpid()}", "STATUS=no room"]


def test_systemd_hears_how_the_relay_is_and_that_it_lives(systemd: socket.socket) -> None:
    """The watchdog twice in its time, the status each ten seconds, the end at once."""
    clock = Clock()
    states = [State(1, False, False), State(2, True, False), State(3, True, True)]
    service = Supervision(supervisor(systemd, 8.0), lambda: states.pop(0), clock)
    service.startService()
    assert heard(systemd) == ["STATUS=1 session", "WATCHDOG=1"]
    clock.advance(4.0)
    assert heard(systemd) == ["WATCHDOG=1"]
    clock.pump([4.0, 2.0])
    assert heard(systemd) == ["WATCHDOG=1", "STATUS=2 sessions; takes no new ones"]
    clock.pump([2.0, 4.0, 4.0])
    assert [line for line in heard(systemd) if line != "WATCHDOG=1"] == [
        "STATUS=3 sessions left; ends with the last, takes no new ones",
        "EXTEND_TIMEOUT_USEC=30000000",
    ]
    service.stopService()
    assert heard(systemd) == ["STOPPING=1", "STATUS=stopping"]
    assert not clock.getDelayedCalls()


def test_the_status_tells_how_draining_goes() -> None:
    """Of how many, and until when."""
    assert described(State(3, True, False, 10)) == "3 of 10 sessions; takes no new ones"
    assert described(State(1, True, True, 10, 59.6)) == (
        "1 of 10 sessions left, ended in 60 s; ends with the last, takes no new ones"
    )


def test_the_status_counts_sessions_in_english() -> None:
    """One session, no sessions."""
    assert described(State(0, False, False)) == "0 sessions"


@pytest.mark.network
@pytest.mark.parametrize(
    "program",
    [
        ["rtpproxy_tw.tools.launcher", "-f", "-F"],
        ["twisted", "--logfile=-", "-n", "--pidfile=", "rtpproxy"],
    ],
    ids=["rtpproxy-tw", "twistd"],
)
def test_a_real_relay_is_ready_when_it_answers(
    program: list[str], systemd: socket.socket, tmp_path: Path
) -> None:
    """And says when it stops."""
    path = tmp_path / "control"
    module, *options = program
    if module == "twisted":
        start = [str(Path(sys.executable).parent / "twistd"), *options[1:]]
    else:
        start = [sys.executable, "-m", module, *options, "-p", str(tmp_path / "pid")]
    command = [*start, "-l", "127.0.0.1", "-s", f"unix:{path}", "--http", "none"]
    environment = {**os.environ, "NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "600000"}
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as relay:
        try:
            lines: list[str] = []
            while "READY=1" not in lines:
                lines += systemd.recv(4096).decode().splitlines()
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(LONG)
                client.connect(str(path))
                client.sendall(b"V\n")
                assert client.recv(100).strip() == b"20040107"
            while lines.count("WATCHDOG=1") < 3:
                lines += systemd.recv(4096).decode().splitlines()
            assert "STATUS=0 sessions" in lines
            relay.send_signal(signal.SIGTERM)
            while "STOPPING=1" not in lines:
                lines += systemd.recv(4096).decode().splitlines()
            relay.wait(LONG)
        finally:
            relay.kill()  # else one that has not ended would be waited for
