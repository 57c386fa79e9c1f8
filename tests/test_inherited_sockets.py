"""The control sockets a process gets from its starter: standard input, and systemd's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.network

RELAY = [sys.executable, "-m", "rtpproxy_tw.tools.launcher", "-f", "-F", "-l", "127.0.0.1"]
RANGE = ["-m", "46300", "-M", "46320", "-b"]
LONG = 20.0
"""Seconds; a relay that takes longer hangs."""


def launch(tmp_path: Path, *options: str, **how: object) -> subprocess.Popen[bytes]:
    """A relay in the foreground; what it logs is thrown away."""
    return subprocess.Popen(
        [*RELAY, *RANGE, "-p", str(tmp_path / "pid"), *options],
        stderr=subprocess.DEVNULL,
        **how,  # type: ignore[call-overload]  # pass-through of keyword arguments
    )


def test_commands_on_standard_input_are_answered_and_its_end_ends_the_relay(
    tmp_path: Path,
) -> None:
    """No session is left, so it exits at once, and well."""
    with launch(tmp_path, "-s", "stdio:", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as relay:
        out, _ = relay.communicate(b"V\nU c 127.0.0.1 5000 f\nD c f\n\nbogus\n", timeout=LONG)
        assert out == b"20040107\n46300 127.0.0.1\n0\nE5\nE0\n"
        assert relay.returncode == 0


def test_the_end_of_standard_input_waits_for_the_last_session(tmp_path: Path) -> None:
    """New sessions are refused meanwhile; the other control socket still serves."""
    path = str(tmp_path / "s")
    with launch(
        tmp_path,
        *("-s", "stdioc:", "-s", f"cunix:{path}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as relay:
        assert relay.stdin is not None
        assert relay.stdout is not None
        relay.stdin.write(b"U c 127.0.0.1 5000 f\n")
        relay.stdin.flush()
        assert relay.stdout.readline() == b"46300 127.0.0.1\n"
        relay.stdin.close()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(LONG)
            client.connect(path)
            while True:
                client.sendall(b"U d 127.0.0.1 5000 f\n")
                if client.recv(100) == b"E99\n":
                    break
                client.sendall(b"D d f\n")  # the end of the input was not noticed yet
                client.recv(100)
            assert relay.poll() is None
            client.sendall(b"D c f\n")
            assert client.recv(100) == b"0\n"
        assert relay.wait(LONG) == 0


def test_a_listening_socket_of_systemd_is_served_and_stays(tmp_path: Path) -> None:
    """Descriptor 3, lines, and the path is systemd's to remove."""
    path = tmp_path / "activated"
    with socket.socket(socket.AF_UNIX) as activated:
        activated.bind(str(path))
        activated.listen()

        def pass_on() -> None:
            os.dup2(activated.fileno(), 3)
            os.environ["LISTEN_FDS"] = "1"

        with launch(
            tmp_path,
            *("-s", "systemd:"),
            close_fds=False,
            preexec_fn=pass_on,
            env={**os.environ, "LISTEN_FDS": "1"},
        ) as relay:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(LONG)
                client.connect(str(path))
                client.sendall(b"V\nVF 20050322\n")
                reply = b""
                while reply.count(b"\n") < 2:
                    reply += client.recv(100)
                assert reply == b"20040107\n1\n"
            relay.terminate()
            assert relay.wait(LONG) == 0
        assert path.exists()
        with socket.socket(socket.AF_UNIX) as next_client:
            next_client.connect(str(path))  # it waits for the next relay


def test_without_a_socket_of_systemd_the_relay_says_so(tmp_path: Path) -> None:
    """And exits with 1."""
    done = subprocess.run(
        [*RELAY, *RANGE, "-p", str(tmp_path / "pid"), "-s", "systemd:"],
        capture_output=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 1
    assert b"systemd" in done.stderr
