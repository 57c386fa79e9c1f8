"""A real redis-server on a UNIX socket, which a test may stop, freeze and empty."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

PROGRAM = shutil.which("redis-server")


class RedisServer:
    """``with`` runs it; ``options`` are of its command line. With ``config`` it is a sentinel.

    ``password`` is what it wants to hear.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        config: Path | None = None,
        password: str | None = None,
    ) -> None:
        self.folder = folder
        self.path = folder / "redis.sock"
        self.url = f"unix://{self.path}"
        self._options = options
        self._config = config
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and wait until it answers."""
        assert PROGRAM is not None
        if self._config is None:
            argv = [PROGRAM, "--port", "0", "--unixsocket", str(self.path), "--save", ""]
            argv += ["--appendonly", "no", "--dir", str(self.folder), *self._options]
        else:
            argv = [PROGRAM, str(self._config), "--sentinel", "--unixsocket", str(self.path)]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)
        for _ in range(500):
            with suppress(OSError):
                self.ask("PING")
                return
            time.sleep(0.01)
        raise AssertionError("redis-server does not answer")

    def stop(self) -> None:
        """End it, frozen or not. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def freeze(self) -> None:
        """It hangs from now on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *words: str) -> bytes:
        """The raw answer to a command, as far as it comes at once."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.path))
            if self._password is not None:
                connection.sendall(_line("AUTH", self._password))
                connection.recv(65536)
            connection.sendall(_line(*words))
            return connection.recv(65536)


def _line(*words: str) -> bytes:
    octets = [word.encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in octets)
