"""The relay under test, as a process of its own."""

from __future__ import annotations

import os
import re
import shlex
import socket
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from tests.e2e import loopback
from tests.e2e.process import Process, wait_until

CONTROL_PORT = 22222

FIRST_MEDIA_PORT = 35000
LAST_MEDIA_PORT = 64998

_cookies = count(1)


def command_line() -> list[str]:
    """How a relay is started.

    ``RTPPROXY_E2E_RELAY`` names another program that takes the same options, for instance the
    original, to see how that one does.
    """
    other = os.environ.get("RTPPROXY_E2E_RELAY")
    return shlex.split(other) if other else [sys.executable, "-m", "rtpproxy_tw.tools.launcher"]


class Relay(Process):
    """A relay at ``host``, with a UDP control socket there besides those in ``controls``.

    ``program`` is what to start instead of :func:`command_line`.
    """

    def __init__(
        self,
        host: str,
        folder: Path,
        controls: Sequence[str] = (),
        options: Sequence[str] = (),
        program: Sequence[str] | None = None,
    ) -> None:
        assert not loopback.is_bound((host, CONTROL_PORT)), "another relay is there"
        self.host = host
        self.control = f"udp:{host}:{CONTROL_PORT}"
        sockets = [word for name in (self.control, *controls) for word in ("-s", name)]
        media = ["-l", host, "-m", str(FIRST_MEDIA_PORT), "-M", str(LAST_MEDIA_PORT)]
        super().__init__(
            [*(program or command_line()), "-f", "-F", *sockets, *media, "-d", "DBUG", *options],
            folder / f"relay-{host}.log",
        )
        try:
            self._wait_until_ready()
        except AssertionError:
            self.kill()
            raise AssertionError(f"the relay did not start:\n{self.printed()}") from None

    def _wait_until_ready(self) -> None:
        wait_until(lambda: not self.running or self._answers(), "the relay answers", 20)
        assert self.running

    def _answers(self) -> bool:
        try:
            return self.ask("V", timeout=0.2) == "20040107"
        except OSError:
            return False

    def ask(self, command: str, timeout: float = 5.0) -> str:
        """Its reply to ``command``, without the last line's end. OSError when there is none."""
        cookie = f"test{next(_cookies)}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(timeout)
            sock.connect((self.host, CONTROL_PORT))
            sock.send(f"{cookie} {command}".encode())
            answer = sock.recv(4096).decode()
        assert answer.startswith(f"{cookie} ")
        return answer[len(cookie) + 1 :].removesuffix("\n")

    def count_sessions(self) -> int:
        """How many sessions it has now."""
        found = re.search(r"^active sessions: (\d+)$", self.ask("I"), re.MULTILINE)
        assert found is not None
        return int(found[1])

    def assert_is_clean(self) -> None:
        """It is alive, has no session and never had an accident."""
        assert self.running, self.printed()
        assert self.count_sessions() == 0, self.printed()
        self.assert_had_no_accident()

    def assert_had_no_accident(self) -> None:
        """Its log tells of no exception."""
        printed = self.printed()
        assert "Traceback" not in printed, printed
        assert "Unhandled" not in printed, printed
