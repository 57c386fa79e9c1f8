"""The original's engine, to ask what it would answer (PyPI ``rtp.io``, for tests only).

Use::

    from tests.oracle import Oracle, needs_oracle

    @needs_oracle
    def test_it_is_as_the_original_says() -> None:
        with Oracle() as oracle:
            assert oracle.ask("V") == "20040107"

The engine is started afresh, so its counters begin at 0; a module-scoped fixture that yields one
saves the tenth of a second, and ``X`` ends the sessions it has. It takes no options: it listens
on all IPv4 addresses (say ``l127.0.0.1`` to be given an address), hands out ports of 35000 to
65000 in random order, and knows neither IPv6 nor bridging. Ports it has opened carry real
packets: what uses them belongs under ``pytest.mark.network``.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import pytest

_CHILD = """
import os, socket, sys
from rtp.io import rtpproxy
parent = socket.socket(fileno=int(sys.argv[1]))
engine = rtpproxy()
sockets = [engine.rtpp_sock.fileno(), engine.rtpp_nsock.fileno()]
socket.send_fds(parent, [engine.rtpp_nsock_spec.encode()], sockets)
parent.recv(1)
os._exit(0)
"""
"""Starts the engine, gives its sockets away, and lives until the parent is gone."""

INFO_LINES = 5
"""Of a reply to ``I``; the load is one more. Every other reply is one line."""

PATIENCE = 60.0
"""Seconds for its start, which loads 24 MB, on a busy machine."""


def available() -> bool:
    """Whether the engine is installed here."""
    try:
        return find_spec("rtp.io") is not None
    except ModuleNotFoundError:
        return False


needs_oracle = pytest.mark.skipif(
    not available(), reason="the original's engine (rtp.io on PyPI) is not installed"
)
"""Skips a test where there is no engine to ask."""


class OracleError(Exception):
    """The engine did not start or did not answer; the text ends with the end of its log."""


class Oracle:
    """One running engine, in a child process and a temporary directory of its own.

    ``timeout`` is how long to wait for each reply, in seconds.
    """

    directory: Path
    """Where it runs: recordings and ``rtpproxy_acct.csv`` appear here."""
    notifications: socket.socket
    """Where what it sends to ``notify_spec`` can be read, one line each."""
    notify_spec: str
    """The one notification socket that a ``U`` may name."""
    pid: int
    """Of the child."""

    def __init__(self, timeout: float = 10.0) -> None:
        self._timeout = timeout
        self._control: socket.socket
        self._resources = ExitStack()

    def __enter__(self) -> Oracle:
        with ExitStack() as stack:
            self.directory = Path(stack.enter_context(TemporaryDirectory(prefix="oracle-")))
            self._start(stack)
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._resources.close()

    def log(self) -> str:
        """What it has logged so far."""
        return (self.directory / "engine.log").read_text(errors="replace")

    def ask(self, line: str) -> str:
        """The reply to one command, without its last newline.

        Surrogate escapes stand for bytes that are not UTF-8. Raises ValueError where ``line``
        contains a newline. Raises OracleError where no reply comes in time, as for a line of more
        than 8 KiB; the engine can be asked nothing more then.
        """
        if "\n" in line:
            raise ValueError(f"not one line: {line!r}")
        reply = b""
        try:
            self._control.sendall(line.encode("utf-8", "surrogateescape") + b"\n")
            while not _complete(line, reply):
                chunk = self._control.recv(65536)
                if not chunk:
                    raise ConnectionError("connection closed")
                reply += chunk
        except OSError as error:
            # A reply that is merely late must not be taken for that to the next command.
            self._control.close()
            raise self._complaint(f"no reply to {line[:80]!r} ({error})") from error
        return reply.decode("utf-8", "surrogateescape").removesuffix("\n")

    def _start(self, stack: ExitStack) -> None:
        parent, child = socket.socketpair()
        stack.enter_context(parent).settimeout(PATIENCE)
        with child, open(self.directory / "engine.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, str(child.fileno())],
                cwd=self.directory,
                pass_fds=[child.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        stack.callback(_end, process)
        self.pid = process.pid
        try:
            spec, descriptors, _, _ = socket.recv_fds(parent, 256, 2)
        except OSError as error:
            raise self._complaint(f"did not start ({error})") from error
        received = [stack.enter_context(socket.socket(fileno=each)) for each in descriptors]
        if len(received) != 2:
            raise self._complaint("did not start")
        self.notify_spec = spec.decode()
        self._control, self.notifications = received
        for each in received:
            each.settimeout(self._timeout)

    def _complaint(self, what: str) -> OracleError:
        return OracleError(f"the engine: {what}\n{self.log()[-2000:]}")


def _complete(line: str, reply: bytes) -> bool:
    """Whether ``reply`` is all that the engine says to ``line``."""
    if not reply.endswith(b"\n"):
        return False
    command = line.split(maxsplit=1)[0].lower() if line.split() else ""
    if not command.startswith("i") or reply.startswith(b"E"):
        return True
    return reply.count(b"\n") >= INFO_LINES + ("l" in command)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
