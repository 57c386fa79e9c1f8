"""Commands that do not wait for each other's replies: many under way on one connection at a time.

The relay answers in order, so the n-th reply belongs to the n-th command. Neither side waits for
the other: while the relay works, whoever asks does something else.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

Then = Callable[[bytes], None]
"""Is given the reply to a command, without its end."""

PATIENCE = 10.0
"""Seconds after which a command is taken never to be answered."""


@dataclass(slots=True)
class _Asked:
    when: float
    then: Then


class Pipeline:
    """``connection`` stays its owner's, but must not be used by anybody else."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._unsent = bytearray()
        self._partial = b""
        self._asked: deque[_Asked] = deque()
        self.slowest = 0.0
        """Seconds from a command to its reply, the most since somebody last set it to 0."""

    @property
    def under_way(self) -> int:
        """How many commands have no reply yet."""
        return len(self._asked)

    def ask(self, line: str, then: Then) -> None:
        """Send ``line`` with the next :meth:`turn`."""
        self._unsent += line.encode() + b"\n"
        self._asked.append(_Asked(time.monotonic(), then))

    def turn(self) -> None:
        """Send what can be sent, and hand out the replies that are there.

        Raises OSError, as where the relay closes the connection or does not answer for PATIENCE.
        """
        self._send()
        now = time.monotonic()
        for reply in self._replies():
            asked = self._asked.popleft()
            self.slowest = max(self.slowest, now - asked.when)
            asked.then(reply)
        if self._asked and now - self._asked[0].when > PATIENCE:
            raise TimeoutError("a command was not answered")

    def _send(self) -> None:
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            del self._unsent[:sent]

    def _replies(self) -> list[bytes]:
        came = self._partial
        while True:
            try:
                more = self._socket.recv(65536)
            except BlockingIOError:
                break
            if not more:
                raise ConnectionError("the control connection was closed")
            came += more
        *whole, self._partial = came.split(b"\n")
        return whole
