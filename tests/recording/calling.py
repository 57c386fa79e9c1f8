"""Calls through a real relay that records, and a web server that is told of it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.e2e.process import wait_until
from tests.e2e.relay import Relay
from tests.recording.talking import Talker

PACE = 0.005
"""Seconds between packets, so that a test need not take as long as the call it stands for."""


class Call:
    """Two parties at a relay; closed with the block."""

    def __init__(self, relay: Relay, call_id: str) -> None:
        self._relay = relay
        self.call_id = call_id
        self._sent = 0
        self._talkers = Talker(400), Talker(700, ssrc=2)
        self._parties = tuple(self._party() for _ in range(2))
        ports = []
        for command, party in zip(
            ("Uc0 {} {} {} a", "Lc0 {} {} {} a b"), self._parties, strict=True
        ):
            reply = relay.ask(command.format(call_id, *party.getsockname()))
            ports.append(int(reply.split()[0]))
        # The port in the answer to the one is where the other is to send.
        for party, port in zip(self._parties, reversed(ports), strict=True):
            party.connect((relay.host, port))

    def _party(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((self._relay.host, 0))
        sock.settimeout(2)
        return sock

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for party in self._parties:
            party.close()

    def talk(self, packets: int, pace: float = PACE) -> None:
        """Both speak; every packet must arrive before the next one is sent."""
        for number in range(self._sent, self._sent + packets):
            for talker, here, there in zip(
                self._talkers, self._parties, reversed(self._parties), strict=True
            ):
                packet = talker.packet(number)
                here.send(packet)
                assert there.recv(2048) == packet
            time.sleep(pace)
        self._sent += packets

    def end(self) -> None:
        """The proxy's BYE."""
        assert self._relay.ask(f"D {self.call_id} a b") == "0"


class Told:
    """What the web server was told, and the status with which it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.url = ""
        self.refused: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.types: set[str | None] = set()

    def names(self) -> list[str]:
        """Of the events, sorted, since several are posted at a time."""
        return sorted(event["event"] for event in self.events)

    def wait_for(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        """The events of that name, once there are so many."""
        wait_until(lambda: self.names().count(name) >= count, f"{name} is told", 20)
        return [event for event in self.events if event["event"] == name]


@contextmanager
def web_server(host: str) -> Iterator[Told]:
    """Listens there, on a port of its own."""
    told = Told()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = told.status
            told.types.add(self.headers["Content-Type"])
            (told.events if status == 200 else told.refused).append(json.loads(body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    told.url = f"http://{host}:{server.server_port}/recordings"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
