"""Clients over HTTP do not notice a planned restart either."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.process import wait_until
from tests.e2e.relay import Relay
from tests.e2e.test_handover import HOST, USERSPACE, _end, present, restart, talking

pytestmark = pytest.mark.network


class Reach(NamedTuple):
    """A relay, and where it answers over HTTP."""

    relay: Relay
    api: Path
    folder: Path

    def connect(self) -> socket.socket:
        """A connection that stays."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(10)
        made.connect(str(self.api))
        return made


@pytest.fixture
def reach(tmp_path: Path) -> Iterator[Reach]:
    """One that keeps to itself."""
    pid_file, api = tmp_path / "pid", tmp_path / "http"
    options = ["-p", str(pid_file), *USERSPACE, "--http", f"unix:{api}"]
    with Relay(HOST, tmp_path, options=options) as relay, ExitStack() as stack:
        stack.callback(_end, pid_file, relay.pid)
        yield Reach(relay, api, tmp_path)
        relay.assert_had_no_accident()


def asked(path: str, **headers: str) -> bytes:
    """A request."""
    lines = [f"GET {path} HTTP/1.1", "Host: a", *(f"{n}: {v}" for n, v in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


def answer(client: socket.socket) -> bytes:
    """The status line and the body of one answer of known length."""
    octets = b""
    while b"\r\n\r\n" not in octets:
        octets += _more(client)
    head, _, body = octets.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    while len(body) < length:
        body += _more(client)
    return head.split(b"\r\n")[0] + body


def _more(client: socket.socket) -> bytes:
    found = client.recv(65536)
    assert found, "the connection was closed"
    return found


def test_what_was_traced_before_a_restart_can_be_fetched_after_it(tmp_path: Path) -> None:
    """The first packets, heard by the former process, and the last ones are in one capture."""
    pid_file, api = tmp_path / "pid", tmp_path / "http"
    options = ["-p", str(pid_file), *USERSPACE, "--http", f"unix:{api}", "--trace", "30"]
    with Relay(HOST, tmp_path, options=options) as relay, ExitStack() as stack:
        stack.callback(_end, pid_file, relay.pid)
        with talking(relay, 2) as talk:
            time.sleep(0.5)
            before = talk.sent
            restart(tmp_path)
            time.sleep(0.5)
            talk.assert_all_was_heard()
        with Reach(relay, api, tmp_path).connect() as client:
            client.sendall(asked("/api/v1/calls/c0/trace", Connection="close"))
            capture = b"".join(iter(lambda: client.recv(65536), b""))
        numbers = [0, before, talk.sent - 1]
        heads = [struct.pack("!BBHI", 0x80, 0, each, each * 160) for each in numbers]
        assert [capture.count(head) for head in heads] == [2, 2, 2]
        relay.assert_had_no_accident()


def test_connections_go_on_idle_or_amid_a_request(reach: Reach) -> None:
    """None is closed, and each gets the answers to all that it has asked."""
    request = asked("/healthz")
    with reach.connect() as idle, reach.connect() as fresh, reach.connect() as amid:
        idle.sendall(request)
        assert answer(idle).startswith(b"HTTP/1.1 200")
        for length in (7, 40):
            amid.sendall(request[:length])
            restart(reach.folder)
            amid.sendall(request[length:])
            for client in (amid, idle):
                if client is idle:
                    client.sendall(request)
                assert answer(client).startswith(b"HTTP/1.1 200")
        fresh.sendall(request)
        assert answer(fresh).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("lasting", [True, False], ids=["one connection", "a connection each"])
def test_no_request_is_refused_while_the_relay_is_restarted(reach: Reach, lasting: bool) -> None:
    answers, over = [], False

    def ask() -> None:
        client = reach.connect()
        while not over:
            client.sendall(asked("/healthz"))
            answers.append(answer(client)[:12])
            if not lasting:
                client.close()
                client = reach.connect()
        client.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        restart(reach.folder)
        time.sleep(0.5)
    finally:
        over = True
        thread.join()
    assert set(answers) == {b"HTTP/1.1 200"}


def test_what_is_being_answered_is_answered_to_its_end(reach: Reach) -> None:
    """By the former process, though another one serves: here to one that reads late."""
    for number in range(200):
        reach.relay.ask(f"U {number}{'x' * 900} {HOST} 4000 f")
    with reach.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(asked("/api/v1/calls?limit=200"))
        octets = client.recv(1000)
        restart(reach.folder)
        while more := client.recv(1 << 20):
            octets += more
    assert octets.startswith(b"HTTP/1.1 200")
    assert octets.endswith(b"0\r\n\r\n")


class Listening:
    """A client of the event stream."""

    def __init__(self, reach: Reach, last: str = "") -> None:
        self.octets = b""
        self._client = reach.connect()
        headers = {"Last-Event-ID": last} if last else {}
        self._client.sendall(asked("/api/v1/events", **headers))

    def until(self, text: bytes) -> None:
        """Listen until that was told."""
        while text not in self.octets:
            self.octets += _more(self._client)

    def to_the_end(self) -> None:
        """Listen until the connection is closed."""
        while more := self._client.recv(65536):
            self.octets += more
        self.close()

    def close(self) -> None:
        """Listen no more. Idempotent."""
        self._client.close()

    @property
    def last(self) -> str:
        """The id of the last event."""
        return self.octets.rpartition(b"id: ")[2].split()[0].decode()

    @property
    def resets(self) -> list[bool]:
        """Of each event with calls: whether it tells all anew."""
        lines = [line for line in self.octets.splitlines() if line.startswith(b'data: {"reset"')]
        return [json.loads(line[6:])["reset"] for line in lines]


def test_event_streams_are_sent_to_the_new_process_at_once(reach: Reach) -> None:
    """It goes on with the numbers: who comes again is told just what is new."""
    reach.relay.ask(f"U one {HOST} 4000 f")
    listening = Listening(reach)
    listening.until(b'"one"')
    listening.until(b"id: ")
    before = present(reach.folder)
    os.kill(before, signal.SIGUSR2)
    listening.to_the_end()
    assert listening.octets.rpartition(b"retry: ")[2].split()[0] == b"20"
    again = Listening(reach, listening.last)
    wait_until(lambda: present(reach.folder) != before, "another process serves", 30)
    reach.relay.ask(f"U two {HOST} 4000 f")
    again.until(b'"two"')
    assert again.resets
    assert not any(again.resets)
    assert b'"one"' not in again.octets
    again.close()


def test_a_call_that_ended_before_the_restart_can_be_asked_about(reach: Reach) -> None:
    reach.relay.ask(f"U gone {HOST} 4000 f")
    reach.relay.ask(f"L gone {HOST} 5000 f t")
    reach.relay.ask("D gone f t")
    answers = []
    for process in range(3):
        with reach.connect() as client:
            client.sendall(asked("/api/v1/calls/gone/why"))
            answers.append(answer(client))
        if process < 2:
            restart(reach.folder)
    assert answers[0].startswith(b"HTTP/1.1 200")
    assert len({each.partition(b'"at"')[0] for each in answers}) == 1
