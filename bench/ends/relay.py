"""A relay to which the worst happens, and may become another process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from bench.calls import Client
from bench.machine import ROOT
from bench.relays import Ours

PATIENCE = 30.0


class Doomed(Ours):
    """It tells of itself by a pid file and a UNIX socket, whichever process it is."""

    def __init__(
        self,
        folder: Path,
        options: tuple[str, ...],
        prepare: Callable[[], None],
        env: Mapping[str, str],
    ) -> None:
        super().__init__("relay", prepare)
        self.disk, self.clock = folder / "disk", folder / "clock"
        self._pid_file, self.http = folder / "pid", folder / "http"
        self._control = folder / "control"
        self._env = env
        self.options = (
            *("--fast-path", "none", "-p", str(self._pid_file), "--http", f"unix:{self.http}"),
            *options,
        )
        self._stack: ExitStack | None = None

    def _start(self, stack: ExitStack) -> socket.socket:
        self._stack = stack
        stack.callback(self._end_last)
        return self._begin()

    def _begin(self) -> socket.socket:
        assert self._stack is not None
        self._run(
            self._stack,
            [
                *(sys.executable, "-m", "rtpproxy_tw.tools.launcher", "-f", "-F"),
                *("-s", f"cunix:{self._control}", "-l", self.host, "-d", "WARN", *self.options),
            ],
            cwd=ROOT,
            env={**os.environ, **self._env, "PYTHONDONTWRITEBYTECODE": ""},
        )
        return self._connect(str(self._control))

    @property
    def pid(self) -> int:
        """Of the process that serves now."""
        with suppress(OSError, ValueError):
            return int(self._pid_file.read_text())
        return 0

    def wait_for_another(self, before: int) -> None:
        """Until another process than that serves. Raises RelayError."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.pid not in (0, before):
                return
            time.sleep(0.005)
        raise self._complaint("did not come back")

    def end_for_good(self) -> None:
        """Kill it, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def start_again(self) -> None:
        """A new process, as whoever looks after it would start one. Raises RelayError."""
        assert self._stack is not None
        self._begin().close()

    def another_client(self) -> Client:
        """A control connection to the process that serves now. Raises RelayError."""
        return Client(self._connect(str(self._control)))

    def sessions(self) -> int:
        """How many it has; 0 where it does not answer."""
        with suppress(OSError):
            return int(self._ask("/metrics", r"^relay_sessions\{[^}]*\} (\d+)"))
        return 0

    def late(self) -> int:
        """Recording packets that were not written."""
        with suppress(OSError):
            return int(self._ask("/metrics", r"^relay_recording_dropped_packets_total (\d+)"))
        return 0

    def _ask(self, path: str, pattern: str) -> int:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(self.http))
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            told = b""
            while part := client.recv(65536):
                told += part
        return sum(int(each) for each in re.findall(pattern, told.decode(), re.MULTILINE))

    def _end_last(self) -> None:
        with suppress(OSError, ValueError):
            if (pid := self.pid) and pid != os.getpid():
                os.kill(pid, signal.SIGKILL)
        with suppress(subprocess.SubprocessError):
            self._process.wait(1)
