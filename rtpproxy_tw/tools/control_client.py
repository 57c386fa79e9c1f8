"""The other end of a control socket: commands to a relay, as SIP proxies send them. It blocks.

======================  ==========================================================
``unix:PATH``, PATH     one connection for each command, which the relay closes
``cunix:PATH``          one connection for all commands, one line each
``tcp:``, ``tcp6:``     likewise
``udp:``, ``udp6:``     one datagram each, with a cookie; sent again until answered
======================  ==========================================================
"""

from __future__ import annotations

import os
import secrets
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import NamedTuple

DEFAULT_PORT = 22222

TRIES = 5
"""How often a datagram is sent; the usual setting of Kamailio and OpenSIPS."""

PATIENCE = 1.0
"""Seconds to wait for an answer to each of them."""

_UNIX = ("unix", "cunix")
_INET = {"tcp": "127.0.0.1", "udp": "127.0.0.1", "tcp6": "::1", "udp6": "::1"}
"""What a host that means "any" means to somebody who wants to talk to it."""

_ANY = ("", "*", "0.0.0.0", "::")
_LIMIT = 65536


class NoAnswer(Exception):
    """Nobody answered; the text says why, as far as is known."""


class ControlUrl(NamedTuple):
    """Where a relay takes commands; ``host`` is a path for the UNIX kinds."""

    kind: str
    host: str
    port: int = 0

    @property
    def text(self) -> str:
        """As the relay's option ``-s`` and the SIP proxies take it."""
        return f"{self.kind}:{self.host}" + (f":{self.port}" if self.port else "")

    @property
    def unix(self) -> bool:
        """Whether only programs on the same machine can use it."""
        return self.kind in _UNIX


def read_url(text: str) -> ControlUrl:
    """Read what ``-s`` takes: TYPE:ADDR or a path. Raises ValueError with a sentence.

    The port is what follows the last colon, and may be missing where no colon is in the host.
    """
    kind, colon, rest = text.partition(":")
    if kind in _UNIX and colon:
        if not rest:
            raise ValueError(f"{text}: a path is missing")
        return ControlUrl(kind, rest)
    if kind in _INET and colon:
        host, port = _host_and_port(text, rest)
        return ControlUrl(kind, _INET[kind] if host in _ANY else host, port)
    if text.startswith(("/", ".")):
        return ControlUrl("unix", text)
    raise ValueError(f"{text}: neither a path nor one of {', '.join((*_UNIX, *_INET))} and a colon")


def _host_and_port(text: str, rest: str) -> tuple[str, int]:
    host, colon, port = rest.rpartition(":")
    if not colon:
        return rest, DEFAULT_PORT
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536):
        raise ValueError(f"{text}: {port or 'nothing'} is no port (an IPv6 host needs one, too)")
    return host.removeprefix("[").removesuffix("]"), int(port)


class Control(ABC):
    """A way to ask one relay."""

    def __init__(self, url: ControlUrl, patience: float = PATIENCE) -> None:
        self.url = url
        self._patience = patience

    def ask(self, command: str) -> str:
        """The reply to ``command``, without the last newline. Raises NoAnswer."""
        with self._explained():
            return self._ask(command.encode()).decode("utf-8", "replace").removesuffix("\n")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            raise NoAnswer(_why(error)) from error

    @abstractmethod
    def _ask(self, command: bytes) -> bytes:
        """The bytes of the reply. Raises OSError."""

    @abstractmethod
    def close(self) -> None:
        """Close what is open. Idempotent; the next question opens it again."""


class OneShot(Control):
    """A connection for each command, over a UNIX socket."""

    def _ask(self, command: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(self._patience * TRIES)
            sock.connect(self.url.host)
            sock.sendall(command)
            reply = b""
            while chunk := sock.recv(_LIMIT):
                reply += chunk
        if not reply:
            raise ConnectionError("the connection was closed without an answer")
        return reply

    def close(self) -> None:
        """Nothing stays open."""


class Lines(Control):
    """One connection for all commands, each of which is a line; so is each reply."""

    _sock: socket.socket | None = None

    def _ask(self, command: bytes) -> bytes:
        sock = self._sock = self._sock or self._connected()
        sock.sendall(command + b"\n")
        reply = b""
        while not reply.endswith(b"\n"):
            chunk = sock.recv(_LIMIT)
            if not chunk:
                raise ConnectionError("the connection was closed without an answer")
            reply += chunk
        return reply

    def _connected(self) -> socket.socket:
        timeout = self._patience * TRIES
        if not self.url.unix:
            sock = _reached(self.url, socket.SOCK_STREAM)
            sock.settimeout(timeout)
            return sock
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(self.url.host)
        except OSError:
            sock.close()
            raise
        return sock

    def close(self) -> None:
        """Close the connection."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


class Datagrams(Control):
    """A datagram for each command, repeated until its cookie comes back."""

    _sock: socket.socket | None = None

    def __init__(self, url: ControlUrl, patience: float = PATIENCE) -> None:
        super().__init__(url, patience)
        self._cookies = (f"{secrets.token_hex(4)}_{n}" for n in count())

    def _ask(self, command: bytes) -> bytes:
        sock = self._sock = self._sock or _reached(self.url, socket.SOCK_DGRAM)
        sock.settimeout(self._patience)
        cookie = next(self._cookies).encode() + b" "
        # The same bytes each time: the relay must see that it is the same command.
        for _ in range(TRIES):
            sock.send(cookie + command)
            try:
                while not (reply := sock.recv(_LIMIT)).startswith(cookie):
                    pass
            except TimeoutError:
                continue
            return reply[len(cookie) :]
        raise TimeoutError

    def close(self) -> None:
        """Close the socket."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def control_of(url: ControlUrl, patience: float = PATIENCE) -> Control:
    """The way to ask the relay at ``url``; a command fails after five times ``patience``.

    Nothing is opened yet.
    """
    match url.kind:
        case "unix":
            return OneShot(url, patience)
        case "udp" | "udp6":
            return Datagrams(url, patience)
        case _:
            return Lines(url, patience)


def _reached(url: ControlUrl, kind: socket.SocketKind) -> socket.socket:
    """A socket connected to the first address of ``url``. Raises OSError."""
    family = socket.AF_INET6 if url.kind.endswith("6") else socket.AF_INET
    where = socket.getaddrinfo(url.host, url.port, family, kind)[0][4]
    sock = socket.socket(family, kind)
    try:
        sock.settimeout(PATIENCE * TRIES)
        sock.connect(where)
    except OSError:
        sock.close()
        raise
    return sock


def _why(error: OSError) -> str:
    match error:
        case TimeoutError():
            return "there was no answer in time"
        case FileNotFoundError():
            return "there is no such socket"
        case ConnectionRefusedError():
            return "nobody listens there"
        case PermissionError():
            return "this user may not use that socket"
        case _:
            return error.strerror or str(error) or os.strerror(error.errno or 0)
