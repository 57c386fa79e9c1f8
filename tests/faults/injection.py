"""System calls of a running process that fail on demand, by strace's fault injection.

The program need not be prepared for it: any error of any call, at its n-th use from now on, counted
for each thread by itself.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from tests.e2e.process import wait_until

_Trace = TypeVar("_Trace", bound="Trace")

AVAILABLE = shutil.which("strace") is not None


class Trace:
    """Notes all system calls of process ``pid`` within the block; ``options`` are strace's."""

    def __init__(self, pid: int, output: Path, *options: str) -> None:
        self._pid = pid
        self._output = output
        self._command = ["strace", "-f", "-qq", "-p", str(pid), "-o", str(output), *options]

    def __enter__(self: _Trace) -> _Trace:
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

    def calls(self) -> set[str]:
        """The names of those so far."""
        return set(re.findall(r"^\d+ +([a-z]\w*)\(", self.noted(), re.MULTILINE))

    def noted(self) -> str:
        """All strace told so far."""
        return self._output.read_text(errors="replace")

    def _attached(self) -> bool:
        assert self._strace.poll() is None, self._strace.communicate()[1]
        return all(_tracer(task) == self._strace.pid for task in _tasks(self._pid))


class Injection(Trace):
    """The ``when``-th use of each of ``calls`` fails with ``error``, within the block."""

    def __init__(self, pid: int, calls: str, error: str, when: int, output: Path) -> None:
        inject = f"inject={calls}:error={error}:when={when}"
        super().__init__(pid, output, "-e", f"trace={calls}", "-e", inject)

    @property
    def happened(self) -> int:
        """How many calls have failed for it so far."""
        return self.noted().count("(INJECTED)")

    def wait(self, seconds: float = 10.0) -> None:
        """Until one has. AssertionError where none does."""
        wait_until(lambda: self.happened > 0, f"a call fails: {self._command}", seconds)


def _tasks(pid: int) -> list[Path]:
    return [Path(entry.path) for entry in os.scandir(f"/proc/{pid}/task")]


def _tracer(task: Path) -> int:
    for line in (task / "status").read_text().splitlines():
        if line.startswith("TracerPid:"):
            return int(line.split()[1])
    return 0
