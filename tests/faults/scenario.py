"""One call with everything that can be asked for it, and another that must not notice."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Protocol

from tests.datagrams import RECEIVER_REPORT, rtp

PATIENCE = 0.15
"""Seconds until a client asks again, as SIP proxies do."""

TRIES = 60
"""However slow the machine is."""

_cookies = count(1)
_calls = count(1)


class Proxy:
    """Commands over UDP, repeated while there is no reply."""

    def __init__(self, host: str, control: tuple[str, int]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._socket.connect(control)
        self._socket.settimeout(PATIENCE)

    def ask(self, command: str) -> str:
        """The reply. AssertionError where none comes."""
        cookie = f"faults{next(_cookies)}"
        for _ in range(TRIES):
            try:
                self._socket.send(f"{cookie} {command}".encode())
                while True:
                    told, _, reply = self._socket.recv(4096).decode().partition(" ")
                    if told == cookie:
                        assert reply.endswith("\n")
                        return reply[:-1]
            except (TimeoutError, ConnectionRefusedError):
                continue
        raise AssertionError(f"no reply to {command!r}")

    def settle(self) -> None:
        """The relay runs by itself."""

    def close(self) -> None:
        """No more."""
        self._socket.close()


class Commander(Protocol):
    """Who gives the relay commands."""

    def ask(self, command: str) -> str:
        """The reply. AssertionError where none comes."""

    def settle(self) -> None:
        """Let the relay do what it has to do now."""


class Parties:
    """Caller and callee of one call, and the ports of the relay that they were told."""

    def __init__(self, proxy: Commander, host: str, relay: str, name: str) -> None:
        self._proxy, self._relay, self.name = proxy, relay, name
        self.sockets = [_bound(host) for _ in range(2)]
        self._sequence = count()

    def set_up(self) -> list[int]:
        """U and L; the ports that were had, which are two if nothing failed."""
        caller, callee = (each.getsockname() for each in self.sockets)
        replies = (
            self._proxy.ask(f"Uc0 {self.name} {caller[0]} {caller[1]} a"),
            self._proxy.ask(f"Lc0 {self.name} {callee[0]} {callee[1]} a b"),
        )
        for reply in replies:
            assert reply[:1].isdigit() or reply[:1] == "E", reply
        ports = [int(reply.split()[0]) for reply in replies if reply[0].isdigit()]
        return [port for port in ports if port]

    def exchange(self, ports: list[int], patience: float = 0.05) -> int:
        """A packet from each to the other; how many arrived, each within ``patience`` seconds."""
        packet = rtp(next(self._sequence), payload=b"\xd5" * 20)
        for sock, port in zip(self.sockets, reversed(ports), strict=True):
            sock.sendto(packet, (self._relay, port))
            sock.sendto(RECEIVER_REPORT, (self._relay, port + 1))
        self._proxy.settle()
        for sock in self.sockets:
            sock.settimeout(patience)
        return sum(_hears(sock, packet) for sock in self.sockets)

    def close(self) -> None:
        """Close both sockets."""
        for each in self.sockets:
            each.close()


def play(proxy: Commander, host: str, relay: str) -> str:
    """A whole call: set-up, media, a re-INVITE, a recording, a prompt, questions, its end.

    Its Call-ID; none where it was refused from the start.
    """
    parties = Parties(proxy, host, relay, f"call{next(_calls)}")
    name = parties.name
    try:
        ports = parties.set_up()
        if len(ports) == 2:
            proxy.ask(f"R {name} a b")
            parties.exchange(ports)
            moved = parties.sockets[0].getsockname()
            proxy.ask(f"Uc0,8 {name} {moved[0]} {moved[1] ^ 1} a b")
            proxy.ask(f"P {name} prompt 0 a b")
            parties.exchange(ports)
        for command in (f"S {name} a b", f"Q {name} a b", f"N {name} a b", "I"):
            proxy.ask(command)
        deleted = proxy.ask(f"D {name} a b")
        assert deleted in ("0", "E50"), deleted
        assert proxy.ask(f"D {name} a b") == "E50"
        return name if ports else ""
    finally:
        parties.close()


def prompt(folder: Path) -> None:
    """A file for the scenario's ``P``, another one than before."""
    (folder / "prompt.0").unlink(missing_ok=True)
    (folder / "prompt.0").write_bytes(b"\x7f" * 40_000)


def asked(path: Path, request: str) -> str:
    """What comes back over a stream socket, asked again where that is nothing."""
    for _ in range(TRIES):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2.0)
            client.connect(str(path))
            client.sendall(request.encode())
            reply = b""
            while part := client.recv(65536):
                reply += part
            if reply:
                return reply.decode()
        time.sleep(0.01)
    raise AssertionError(f"no reply to {request!r}")


def _bound(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, 0))
    return made


def _hears(sock: socket.socket, packet: bytes) -> bool:
    try:
        while sock.recv(2048) != packet:
            pass
    except TimeoutError:
        return False
    return True
