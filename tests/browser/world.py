"""A relay with an HTTP endpoint for browsers, and phones that talk through it in the background."""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.tools.ctl_client import Client, Credentials, read_target
from tests.e2e.process import Process, wait_until

FRAME = 0.02
SAMPLES = 160


class Party:
    """One phone. What it does may be changed at any time from another thread."""

    def __init__(self, ssrc: int, *, loses: int = 0, wavers: int = 0) -> None:
        """Of ``loses`` packets one is lost; every other is stamped ``wavers`` samples late."""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.target: Address | None = None
        self.payload_type = 0
        self._ssrc, self._number = ssrc, 0
        self._loses, self._wavers = loses, wavers

    def frame(self) -> None:
        """20 ms have passed."""
        self._number += 1
        lost = self._loses and self._number % self._loses == 0
        with suppress(OSError):
            if self.target is not None and not lost:
                self.socket.sendto(self._packet(), self.target)
            while True:
                self.socket.recv(2048)

    def _packet(self) -> bytes:
        stamp = self._number * SAMPLES + self._number % 2 * self._wavers
        head = struct.pack("!BBHII", 0x80, self.payload_type, self._number, stamp, self._ssrc)
        return head + bytes(range(SAMPLES))

    def hang_up(self) -> None:
        """Its port is closed: the network says so to whoever sends there."""
        self.target = None
        self.socket.close()


class World:
    """The relay and its calls. As a context manager everything ends with the block."""

    def __init__(self, folder: Path, options: Sequence[str] = (), token: str | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = Client(read_target(self.url), Credentials(token) if token else None)
        self.calls: dict[str, tuple[Party, Party]] = {}
        self._options = tuple(options)
        self._control = folder / "control.sock"
        self._paused = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self.start()
        self._thread.start()

    def start(self) -> None:
        """Start the relay, again at the same places after it has ended."""
        self.relay = Process(
            [
                *(sys.executable, "-m", "rtpproxy_tw.tools.launcher", "-f", "-F", "-d", "INFO"),
                *("-p", "/dev/null", "-l", "127.0.0.1", "-r", str(self.folder), "--trace", "10"),
                *("-s", f"unix:{self._control}"),
                *("--http", f"tcp:{self.port}:interface=127.0.0.1", *self._options),
            ],
            self.folder / "relay.log",
        )
        wait_until(lambda: not self.relay.running or self._answers(), "the relay answers", 30)
        assert self.relay.running, self.relay.printed()

    def _answers(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> World:
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(10)
        for parties in self.calls.values():
            for party in parties:
                party.socket.close()
        self.relay.end()

    def command(self, line: str) -> str:
        """The reply to a command of a SIP proxy."""
        with closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.settimeout(10)
            sock.connect(str(self._control))
            sock.sendall(line.encode() + b"\n")
            return sock.recv(1024).decode().strip()

    def call(
        self, name: str, *, offered: str = "", loses: int = 0, wavers: int = 0, mute: bool = False
    ) -> tuple[Party, Party]:
        """A call of two phones that talk; with ``mute`` the callee does not."""
        number = 2 * len(self.calls)
        caller = Party(number + 1, loses=loses, wavers=wavers)
        callee = Party(number + 2)
        to_callee = self.command(f"U{offered} {name} 127.0.0.1 {caller.port} f").split()[0]
        to_caller = self.command(f"L {name} 127.0.0.1 {callee.port} f t").split()[0]
        caller.target = ("127.0.0.1", int(to_caller))
        callee.target = None if mute else ("127.0.0.1", int(to_callee))
        self.calls = {**self.calls, name: (caller, callee)}
        return caller, callee

    def end(self, name: str) -> None:
        """The call is over."""
        self.command(f"D {name} f t")
        parties = self.calls[name]
        self.calls = {each: both for each, both in self.calls.items() if each != name}
        for party in parties:
            party.hang_up()

    def pause(self, on: bool) -> None:
        """Nobody sends anything, so that figures stand still; or all go on."""
        (self._paused.set if on else self._paused.clear)()
        time.sleep(2 * FRAME)

    def _talk(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            if not self._paused.is_set():
                for parties in self.calls.values():
                    for party in parties:
                        party.frame()
            due = max(due + FRAME, time.monotonic() - 1.0)
            time.sleep(max(0.0, due - time.monotonic()))
