"""System calls of a running process that fail on demand, by strace's fault injection.

The program need not be prepared for it: any error of any call, at its n-th use from now on, counted
for each thread by itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType

from tests.e2e.process import wait_until

AVAILABLE = shutil.which("strace") is not None


class Injection:
    """The ``when``-th use of ``call`` by process ``pid`` fails with ``error``, within the block."""

    def __init__(self, pid: int, call: str, error: str, when: int, output: Path) -> None:
        self._pid = pid
        self._output = output
        self._command = [
            *("strace", "-f", "-qq", "-p", str(pid), "-o", str(output)),
            *("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}"),
        ]

    def __enter__(self) -> Injection:
        self._output.unlink(missing_ok=True)
        self._strace = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        wait_until(self._attached, "strace has attached")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._strace.send_signal(signal.SIGINT)  # it lets go of the process
        _, told = self._strace.communicate(timeout=10)
        assert self._strace.returncode in (0, 1, 130, -signal.SIGINT), told
        wait_until(lambda: not any(_tracer(task) for task in _tasks(self._pid)), "strace let go")

    @property
    def happened(self) -> int:
        """How many calls have failed for it; to be asked after the block."""
        return self._output.read_text(errors="replace").count("(INJECTED)")

    def _attached(self) -> bool:
        assert self._strace.poll() is None, self._strace.communicate()[1]
        return all(_tracer(task) == self._strace.pid for task in _tasks(self._pid))


def _tasks(pid: int) -> list[Path]:
    return [Path(entry.path) for entry in os.scandir(f"/proc/{pid}/task")]


def _tracer(task: Path) -> int:
    for line in (task / "status").read_text().splitlines():
        if line.startswith("TracerPid:"):
            return int(line.split()[1])
    return 0
