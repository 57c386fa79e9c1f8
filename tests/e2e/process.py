"""Programs the tests start: their output in a file, their end bounded."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

_Started = TypeVar("_Started", bound="Process")


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    """Return as soon as ``condition`` holds; AssertionError naming ``what`` after ``timeout`` s."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:g} s in vain: {what}"
        time.sleep(0.01)


class Process:
    """A running program. As a context manager it is ended with the block."""

    def __init__(self, argv: Sequence[str], output: Path, folder: Path | None = None) -> None:
        """Start ``argv`` in ``folder``; what it prints goes to the file ``output``."""
        self.argv = tuple(argv)
        self.output = output
        with output.open("ab") as sink:
            # A session of its own: whatever children it leaves behind can be ended with it.
            self._popen = subprocess.Popen(
                self.argv,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                env={**os.environ, "TERM": "dumb"},
            )

    def __enter__(self: _Started) -> _Started:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._popen.poll() is None

    @property
    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._popen.poll()

    def printed(self) -> str:
        """All its output so far."""
        return self.output.read_text(errors="replace")

    def tell(self, line: str) -> None:
        """Write ``line`` to its standard input."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(line.encode() + b"\n")
        self._popen.stdin.flush()

    def end(self, timeout: float = 10.0) -> int:
        """Ask it to end and wait; after ``timeout`` seconds it is killed. Its exit status."""
        if self.running:
            self._popen.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout)
        return self.kill()

    def kill(self) -> int:
        """End it, where it still runs, without a chance to say goodbye. Its exit status."""
        if self.running:
            os.killpg(self._popen.pid, signal.SIGKILL)
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        return self._popen.wait()
