"""The contestants: how each is started, commanded and stopped.

Each is a child process with a loopback address of its own for media, a control connection that
stays, and a log file into which it tells what the original tells at its level INFO, as the engine
cannot be told to log more or less. A further one is a subclass and a line in ``CONTESTANTS``.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, TypeVar

from bench.calls import Client
from bench.machine import ROOT

PATIENCE = 20.0
"""Seconds within which a contestant must answer its first command."""

_Started = TypeVar("_Started", bound="Relay")


class RelayError(Exception):
    """A contestant did not start; the text ends with the end of its log."""


class Relay(ABC):
    """One contestant, running as long as its block lasts.

    ``name`` stands for it in the report, ``host`` is where it takes media. ``prepare`` is called
    in the child before the contestant's program is started.
    """

    host: str
    client: Client
    """Gives it commands."""

    def __init__(self, name: str, prepare: Callable[[], None] | None = None) -> None:
        self.name = name
        self._prepare = prepare
        self._resources = ExitStack()

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot take part here, None where it can."""
        return None

    def __enter__(self: _Started) -> _Started:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
            connection = self._start(stack)
            self.client = Client(connection)
            stack.callback(self.client.close)
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.close()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def log(self) -> str:
        """The end of what it has logged."""
        with suppress(OSError):
            return (self.folder / "log").read_text(errors="replace")[-2000:]
        return ""

    @abstractmethod
    def _start(self, stack: ExitStack) -> socket.socket:
        """Start it and connect to it. Raises RelayError."""

    def _run(self, stack: ExitStack, command: Sequence[str], **options: Any) -> None:
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=self._prepare,
                **options,
            )
        stack.callback(_end, self._process)

    def _complaint(self, what: str) -> RelayError:
        return RelayError(f"{self.name} {what}\n{self.log()}")


class Ours(Relay):
    """This relay, from the source tree ``tree``; every packet passes through its process."""

    host = "127.0.0.12"
    program: tuple[str, ...] = ("-m", "rtpproxy_tw.tools.launcher", "-f", "-F")
    options: tuple[str, ...] = ("--fast-path=none",)

    def __init__(
        self, name: str, prepare: Callable[[], None] | None = None, tree: Path = ROOT
    ) -> None:
        super().__init__(name, prepare)
        self._tree = tree

    def _start(self, stack: ExitStack) -> socket.socket:
        control = str(self.folder / "control")
        self._run(
            stack,
            [
                *(sys.executable, *self.program),
                *("-s", f"cunix:{control}", "-l", self.host, "-d", "INFO"),
                *self.options,
            ],
            cwd=self._tree,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        )
        return self._connect(control)

    def _connect(self, path: str) -> socket.socket:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(path)
            except OSError:
                connection.close()
                time.sleep(0.002)
            else:
                return connection
        raise self._complaint("did not start")


class Twistd(Ours):
    """This relay as a service of twistd."""

    host = "127.0.0.21"
    program = ("-m", "bench.twistd", "--nodaemon", "--pidfile=", "--logfile=-", "rtpproxy")


class Processes(Ours):
    """This relay, settled streams being relayed by two processes beside it."""

    host = "127.0.0.19"
    options = ("--fast-path=none", "--media-processes=2")


class Kernel(Ours):
    """This relay, settled streams being relayed in the kernel."""

    host = "127.0.0.16"
    options = ("--fast-path=ebpf",)


class Plain(Ours):
    """This relay with one reader of the reactor for each socket, as on hosts without epoll."""

    host = "127.0.0.18"
    options = ("--fast-path=none", "--media-plane=plain")


class Other(Ours):
    """The relay of another source tree."""

    host = "127.0.0.15"


_ENGINE = """
import os, socket, sys
from rtp.io import rtpproxy
parent = socket.socket(fileno=int(sys.argv[1]))
engine = rtpproxy()
socket.send_fds(parent, [b"."], [engine.rtpp_sock.fileno()])
parent.recv(1)
os._exit(0)
"""
"""Starts the engine, gives its control connection away, and lives until the parent is gone."""


class Engine(Relay):
    """The original in its packaging for Python, ``rtp.io``, in a process of its own."""

    host = "127.0.0.14"

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot take part here, None where it can."""
        with suppress(ModuleNotFoundError):
            if find_spec("rtp.io") is not None:
                return None
        return "rtp.io is not installed (pip install rtp.io)"

    def _start(self, stack: ExitStack) -> socket.socket:
        parent, child = socket.socketpair()
        stack.enter_context(parent).settimeout(PATIENCE)
        with child:
            # It writes into its working directory.
            self._run(
                stack,
                [sys.executable, "-c", _ENGINE, str(child.fileno())],
                cwd=self.folder,
                pass_fds=[child.fileno()],
            )
        try:
            _, descriptors, _, _ = socket.recv_fds(parent, 1, 1)
        except OSError as error:
            raise self._complaint(f"did not start ({error})") from error
        if not descriptors:
            raise self._complaint("did not start")
        return socket.socket(fileno=descriptors[0])


CONTESTANTS: dict[str, type[Relay]] = {
    "relay": Ours,
    "plain": Plain,
    "twistd": Twistd,
    "processes": Processes,
    "kernel": Kernel,
    "engine": Engine,
}
"""By the name in the report; ``bench.command`` adds those that have a module of their own."""

USUAL = ("relay", "plain", "engine", "rtpengine")
"""Those that take part if nothing else is said. The first one is compared with the others."""


def _end(process: subprocess.Popen[bytes]) -> None:
    # Its sessions need no farewell, and its log is thrown away.
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()
