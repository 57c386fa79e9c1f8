"""Calls as a SIP proxy makes them: the commands, and a client that sends one after the other."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import NamedTuple

LASTING = b" && S ttl=3600"
"""Behind U and L: the session outlives all the time in which others are measured."""

CODECS = b"c0,8,101"
"""The payload types every party offers."""


class Route(NamedTuple):
    """Where the caller of one session sends to, and where its callee does."""

    caller_host: str
    caller_port: int
    callee_host: str
    callee_port: int


class CallError(Exception):
    """A contestant gave no port where it should have."""


class Client:
    """Asks over a connection that stays: one line, then its reply, then the next.

    ``connection`` is owned from now on; ``timeout`` is for each reply, in seconds.
    """

    def __init__(self, connection: socket.socket, timeout: float = 10.0) -> None:
        connection.settimeout(timeout)
        self._socket = connection

    def ask(self, line: bytes) -> bytes:
        """The one line answered to ``line``, without its end. Raises OSError."""
        self._socket.sendall(line + b"\n")
        reply = self._socket.recv(4096)
        while not reply.endswith(b"\n"):
            more = self._socket.recv(4096)
            if not more:
                raise ConnectionError("the control connection was closed")
            reply += more
        return reply[:-1]

    def ask_all(self, lines: Sequence[bytes]) -> list[bytes]:
        """The line answered to each, all being sent in one piece. Raises OSError."""
        self._socket.sendall(b"\n".join(lines) + b"\n")
        replies: list[bytes] = []
        rest = b""
        while len(replies) < len(lines):
            more = self._socket.recv(65536)
            if not more:
                raise ConnectionError("the control connection was closed")
            *whole, rest = (rest + more).split(b"\n")
            replies += whole
        return replies

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class Call:
    """One call with one medium, with names as long as those of real ones.

    ``series`` and ``number`` tell it from all others, ``local`` is the contestant's host.
    """

    __slots__ = ("_local", "_names")

    def __init__(self, series: str, number: int, local: str) -> None:
        name = f"{series}-{number:08d}"
        self._names = f"{name}-7c1f4e0b@198.51.100.7", f"f{name};1", f"t{name};1"
        self._local = local

    def offer(self, host: str, port: int) -> bytes:
        """U: the caller receives at ``host`` and ``port``."""
        call_id, from_tag, _ = self._names
        return b"U%sl%s %s" % (
            CODECS,
            self._local.encode(),
            f"{call_id} {host} {port} {from_tag}".encode(),
        )

    def answer(self, host: str, port: int) -> bytes:
        """L: the callee receives at ``host`` and ``port``."""
        call_id, from_tag, to_tag = self._names
        return b"L%sl%s %s" % (
            CODECS,
            self._local.encode(),
            f"{call_id} {host} {port} {from_tag} {to_tag}".encode(),
        )

    def hang_up(self) -> bytes:
        """D."""
        return "D {} {} {}".format(*self._names).encode()


def allocated(reply: bytes, line: bytes) -> tuple[str, int]:
    """Host and port told in ``reply`` to ``line``. Raises CallError."""
    words = reply.split()
    if len(words) < 2 or not words[0].isdigit() or words[0] == b"0":
        raise CallError(f"{reply!r} is no port, in reply to {line!r}")
    return words[1].decode(), int(words[0])


def set_up(client: Client, call: Call, caller: tuple[str, int], callee: tuple[str, int]) -> Route:
    """Make ``call`` between the two addresses, to last. Raises CallError or OSError."""
    offer, answer = call.offer(*caller) + LASTING, call.answer(*callee) + LASTING
    # The port told to U is for the callee, in whose SDP it will be; that told to L for the caller.
    for_callee = allocated(client.ask(offer), offer)
    for_caller = allocated(client.ask(answer), answer)
    return Route(*for_caller, *for_callee)
