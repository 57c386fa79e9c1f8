"""The relay that is attacked: a real process, and what can be seen of it from outside."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.calls import Client
from bench.namespaces import Namespace
from tests.e2e.process import wait_until
from tests.hostile import probe

ROOT = Path(__file__).parent.parent.parent

PATIENCE = 30.0
"""Seconds within which it must answer its first command."""

FIRST_PORT, LAST_PORT = 36000, 36999

FAST_PATH = "RTPPROXY_HOSTILE_PATH"
"""Names in the environment the path that media takes: ``none``, the process, or ``ebpf``."""

LAG = "relay_eventloop_lag_seconds"

ANSWERED: list[Relay] = []
"""All that have answered in the row that runs, each of which must be checked before its end."""


@dataclass(frozen=True)
class State:
    """What must be as before when an attack is over."""

    sessions: int
    ports: int
    descriptors: int
    timers: int


class Relay:
    """One relay. ``host`` is where it takes media; ended with its block.

    ``launch`` is put before the command line, ``program`` takes the place of the launcher.
    """

    def __init__(
        self,
        folder: Path,
        host: str = "127.0.0.1",
        options: Sequence[str] = (),
        where: Namespace | None = None,
        launch: Sequence[str] = (),
        program: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        prepare: Callable[[], None] | None = None,
        wait: bool = True,
    ) -> None:
        self.host = host
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.path = folder / "control"
        self.http = folder / "http"
        enter = ["nsenter", f"--net=/run/netns/{where.name}"] if where else []
        command = program or [sys.executable, "-m", probe.__name__]
        self.argv = [
            *(*enter, *launch, *command, "-f", "-F", "-s", f"cunix:{self.path}"),
            *("-6" if ":" in host else "-l", host, "-d", "INFO", "--http", f"unix:{self.http}"),
            *("--fast-path", os.environ.get(FAST_PATH, "none")),
            *("-p", str(folder / "pid")),
            *([] if "-m" in options else ["-m", str(FIRST_PORT), "-M", str(LAST_PORT)]),
            *options,
        ]
        self._log = (folder / "log").open("ab")
        self._process = subprocess.Popen(
            self.argv,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=prepare,
            env={**os.environ, probe.PATH: str(folder / "probe"), **(env or {})},
        )
        self.checked = False
        """Whether the invariants of a row were asked of it."""
        self._client: Client | None = None
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until it answers. AssertionError where it never does."""
        try:
            wait_until(lambda: not self.running or self._connects(), "the relay answers", PATIENCE)
            assert self.running
        except AssertionError:
            self.kill()
            raise AssertionError(f"the relay did not start:\n{self.log()}") from None
        ANSWERED.append(self)

    def _connects(self) -> bool:
        with suppress(OSError):
            return self.fresh().ask(b"V") == b"20040107"
        return False

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._process.poll() is None

    @property
    def status(self) -> int | None:
        """Its exit status."""
        return self._process.poll()

    def log(self) -> str:
        """All it logged."""
        return (self.folder / "log").read_text(errors="replace")

    def fresh(self, timeout: float = 10.0) -> Client:
        """Another control connection in place of the one before."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        try:
            connection.connect(str(self.path))
        except OSError:
            connection.close()
            raise
        if self._client is not None:
            self._client.close()
        self._client = Client(connection, timeout)
        return self._client

    def ask(self, command: str | bytes) -> str:
        """Its reply."""
        line = command.encode() if isinstance(command, str) else command
        return (self._client or self.fresh()).ask(line).decode(errors="replace")

    def get(self, path: str) -> str:
        """What HTTP answers."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(self.http))
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            told = b""
            while part := client.recv(65536):
                told += part
        return told.partition(b"\r\n\r\n")[2].decode()

    def metric(self, name: str) -> float:
        """The sum of all samples of that name, which may end with labels."""
        pattern = re.escape(name) + (r"" if name.endswith("}") else r"(?:\{[^}]*\})?")
        return sum(
            float(value)
            for value in re.findall(rf"^{pattern} (\S+)$", self.get("/metrics"), re.MULTILINE)
        )

    def lag(self) -> dict[float, float]:
        """The histogram of the reactor's lateness, cumulative, by upper bound."""
        found = re.findall(rf'^{LAG}_bucket{{le="(\S+)"}} (\S+)$', self.get("/metrics"), re.M)
        return {float(bound): float(count) for bound, count in found}

    def timers(self) -> int:
        """How many wait."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(self.folder / "probe"))
            return int(client.recv(64))

    def descriptors(self) -> int:
        """How many are open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self) -> int:
        """Resident octets."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096

    def waited(self) -> float:
        """Seconds it could have run and had no processor."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9

    def state(self) -> State:
        """What it has in use now."""
        return State(
            sessions=int(self.metric("relay_sessions")),
            ports=int(self.metric("relay_ports_used")),
            descriptors=self.descriptors(),
            timers=self.timers(),
        )

    def signal(self, number: int) -> None:
        """Send it one."""
        os.kill(self.pid, number)

    def end(self, timeout: float = 10.0) -> int:
        """SIGTERM, and after a while SIGKILL. Its exit status."""
        if self.running:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        return self.kill()

    def kill(self) -> int:
        """SIGKILL. Its exit status."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self.running:
            self._process.kill()
        self._log.close()
        return self._process.wait()


def late(before: Mapping[float, float], after: Mapping[float, float], part: float = 0.99) -> float:
    """The bound below which that part of the reactor's lateness was, of the time between."""
    counts = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    total = max(counts.values(), default=0.0)
    return next((bound for bound, count in counts.items() if count >= part * total), 0.0)


def pause(seconds: float) -> None:
    """Let time pass."""
    time.sleep(seconds)
