"""A relay of the demo's own, where none was named: a child process with no options but ``-f``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from types import TracebackType

from rtpproxy_tw.configuration.host import Host
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.tools.control_client import ControlUrl, NoAnswer, control_of

COMMAND = (sys.executable, "-m", "rtpproxy_tw.tools.launcher", "-f")

START_WITHIN = 20.0
"""Seconds until it must answer; one or two are usual, more where the machine is busy."""

STOP_WITHIN = 5.0

_LOOK_EVERY = 0.05
_LOG_LINES = 15


class DefaultRelay:
    """The relay at the default control socket: one that runs already, or else a new child.

    A context manager; entering raises NoAnswer. Leaving ends what was started.
    """

    def __init__(self) -> None:
        self.url = ControlUrl("unix", "")
        self.pid: int | None = None
        """Of the child; None: somebody else's relay was there."""
        self._stack = ExitStack()

    def __enter__(self) -> DefaultRelay:
        try:
            self.url = ControlUrl("unix", Host().default_socket())
        except ConfigError as error:
            raise NoAnswer(str(error)) from error
        if not answers(self.url):
            with ExitStack() as stack:
                self._start(stack)
                self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        log = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
        # In a session of its own, so that Ctrl-C reaches it through us, after the call's end.
        child = subprocess.Popen(
            COMMAND,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        stack.callback(_end, child)
        self.pid = child.pid
        deadline = time.monotonic() + START_WITHIN
        while not answers(self.url):
            ended = child.poll() is not None
            if ended or time.monotonic() > deadline:
                log.seek(0)
                told = log.read().decode("utf-8", "replace").splitlines()[-_LOG_LINES:]
                why = f"ended with status {child.returncode}" if ended else "does not answer"
                raise NoAnswer("\n".join([f"the relay started for the demo {why}", *told]))
            time.sleep(_LOOK_EVERY)


def answers(url: ControlUrl) -> bool:
    """Whether a relay takes commands at ``url`` now."""
    control = control_of(url, patience=0.2)
    try:
        return control.ask("V").isdecimal()
    except NoAnswer:
        return False
    finally:
        control.close()


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
