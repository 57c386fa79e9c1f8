"""The control client speaks on each kind of socket as SIP proxies do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rtpproxy_tw.tools.control_client import (
    TRIES,
    ControlUrl,
    NoAnswer,
    control_of,
    read_url,
)

BRIEF = 0.05
"""Seconds of patience where no answer will come."""


@pytest.mark.parametrize(
    "text, url",
    [
        ("unix:/run/a.sock", ControlUrl("unix", "/run/a.sock")),
        ("/run/a.sock", ControlUrl("unix", "/run/a.sock")),
        ("./a.sock", ControlUrl("unix", "./a.sock")),
        ("cunix:/run/a:b", ControlUrl("cunix", "/run/a:b")),
        ("tcp:192.0.2.1:9000", ControlUrl("tcp", "192.0.2.1", 9000)),
        ("udp:relay.example", ControlUrl("udp", "relay.example", 22222)),
        ("udp:*", ControlUrl("udp", "127.0.0.1", 22222)),
        ("udp:0.0.0.0:9000", ControlUrl("udp", "127.0.0.1", 9000)),
        ("udp6:2001:db8::1:9000", ControlUrl("udp6", "2001:db8::1", 9000)),
        ("udp6:[2001:db8::1]:9000", ControlUrl("udp6", "2001:db8::1", 9000)),
        ("tcp6:*:9000", ControlUrl("tcp6", "::1", 9000)),
        ("tcp6::::9000", ControlUrl("tcp6", "::1", 9000)),
    ],
)
def test_what_the_relay_is_started_with_is_understood(text: str, url: ControlUrl) -> None:
    assert read_url(text) == url
    assert read_url(read_url(text).text) == url


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "neither a path"),
        ("relay", "neither a path"),
        ("http://relay", "neither a path"),
        ("unix:", "a path is missing"),
        ("udp:relay:", "nothing is no port"),
        ("udp:relay:0", "0 is no port"),
        ("udp:relay:65536", "65536 is no port"),
        ("udp:relay:99999999999999999999", "is no port"),
        ("tcp6:::x", "x is no port"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"{text}.*{told}"):
        read_url(text)


class Relay:
    """A socket in a thread that serves one client with ``serve`` and remembers what it read."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.read: list[bytes] = []

    def start(self, sock: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        thread = threading.Thread(target=serve, args=(sock,), daemon=True)
        self._stack.callback(thread.join, 5)
        self._stack.callback(sock.close)
        thread.start()


@pytest.fixture
def relay() -> Iterator[Relay]:
    with ExitStack() as stack:
        yield Relay(stack)


def listening(family: int, where: object) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(5)
    sock.bind(where)  # type: ignore[arg-type]  # each family has its own kind of address
    sock.listen()
    return sock


@pytest.mark.network
def test_a_unix_socket_gets_one_command_without_a_newline_per_connection(
    relay: Relay, tmp_path: Path
) -> None:
    def serve(sock: socket.socket) -> None:
        for answer in (b"20040107\n", b"E1\n"):
            client, _ = sock.accept()
            with client:
                relay.read.append(client.recv(100))
                client.sendall(answer)

    relay.start(listening(socket.AF_UNIX, str(tmp_path / "s")), serve)
    control = control_of(read_url(f"unix:{tmp_path}/s"))
    assert control.ask("V") == "20040107"
    assert control.ask("V 1") == "E1"
    assert relay.read == [b"V", b"V 1"]


@pytest.mark.network
@pytest.mark.parametrize("kind", ["cunix", "tcp", "tcp6"])
def test_a_lasting_connection_gets_lines_and_its_replies_may_come_in_pieces(
    relay: Relay, tmp_path: Path, kind: str
) -> None:
    def serve(sock: socket.socket) -> None:
        client, _ = sock.accept()
        with client:
            relay.read.append(client.recv(100))
            client.sendall(b"2004")
            client.sendall(b"0107\n")
            relay.read.append(client.recv(100))
            client.sendall(b"0\n")

    if kind == "cunix":
        sock = listening(socket.AF_UNIX, str(tmp_path / "s"))
        url = f"cunix:{tmp_path}/s"
    else:
        host = "::1" if kind == "tcp6" else "127.0.0.1"
        sock = listening(socket.AF_INET6 if kind == "tcp6" else socket.AF_INET, (host, 0))
        url = f"{kind}:{host}:{sock.getsockname()[1]}"
    relay.start(sock, serve)
    control = control_of(read_url(url))
    assert control.ask("V") == "20040107"
    assert control.ask("X") == "0"
    control.close()
    assert relay.read == [b"V\n", b"X\n"]


@pytest.mark.network
def test_a_datagram_is_repeated_with_its_cookie_until_that_cookie_comes_back(relay: Relay) -> None:
    def serve(sock: socket.socket) -> None:
        for answer in (b"", b"other_1 E5\n", b""):
            datagram, client = sock.recvfrom(100)
            relay.read.append(datagram)
            if answer:
                sock.sendto(answer, client)
        sock.sendto(datagram.split()[0] + b" 20040107\n", client)
        datagram, client = sock.recvfrom(100)
        relay.read.append(datagram)
        sock.sendto(datagram.split()[0] + b" 0\n", client)

    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(5)
    sock.bind(("127.0.0.1", 0))
    relay.start(sock, serve)
    control = control_of(read_url(f"udp:127.0.0.1:{sock.getsockname()[1]}"), patience=0.2)
    assert control.ask("V") == "20040107"
    assert control.ask("X") == "0"
    control.close()
    *tries, last = relay.read
    assert len(set(tries)) == 1
    assert tries[0].endswith(b" V")
    assert last.endswith(b" X")
    assert last.split()[0] != tries[0].split()[0]


@pytest.mark.network
def test_a_silent_relay_is_asked_five_times_and_then_said_not_to_answer() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        control = control_of(read_url(f"udp:127.0.0.1:{sock.getsockname()[1]}"), patience=BRIEF)
        with pytest.raises(NoAnswer, match="there was no answer in time"):
            control.ask("V")
        sock.setblocking(False)
        assert len({sock.recv(100) for _ in range(TRIES)}) == 1
        with pytest.raises(BlockingIOError):
            sock.recv(100)


@pytest.mark.network
@pytest.mark.parametrize("kind", ["unix", "cunix"])
def test_a_missing_socket_is_said_to_be_missing(tmp_path: Path, kind: str) -> None:
    with pytest.raises(NoAnswer, match="there is no such socket"):
        control_of(read_url(f"{kind}:{tmp_path}/s")).ask("V")


@pytest.mark.network
@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_a_port_without_a_listener_is_told_at_once(kind: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(NoAnswer, match="nobody listens there"):
        control_of(read_url(f"{kind}:127.0.0.1:{port}")).ask("V")


@pytest.mark.network
@pytest.mark.parametrize("kind", ["unix", "cunix"])
def test_a_connection_closed_without_an_answer_is_told(
    relay: Relay, tmp_path: Path, kind: str
) -> None:
    def serve(sock: socket.socket) -> None:
        client, _ = sock.accept()
        with client:
            client.recv(100)

    relay.start(listening(socket.AF_UNIX, str(tmp_path / "s")), serve)
    with pytest.raises(NoAnswer, match="closed without an answer"):
        control_of(read_url(f"{kind}:{tmp_path}/s")).ask("V")
