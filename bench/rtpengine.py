"""rtpengine as a contestant, in user space, commanded by its ng protocol.

The others are told the lines of rtpproxy's protocol. Here a client turns these into ng messages
with SDP, and its replies back, so its set-up times have the client's work in them, too.
"""

from __future__ import annotations

import re
import shutil
import socket
import time
from contextlib import ExitStack
from typing import Any

from bench.calls import Client
from bench.relays import PATIENCE, Relay

PROGRAM = "rtpengine"

TRIES = 400
"""Of the first message, until it listens."""


def encoded(value: dict[str, Any] | list[str] | str) -> bytes:
    """``value`` in bencoding."""
    if isinstance(value, dict):
        return b"d" + b"".join(encoded(key) + encoded(value[key]) for key in sorted(value)) + b"e"
    if isinstance(value, list):
        return b"l" + b"".join(map(encoded, value)) + b"e"
    text = value.encode()
    return b"%d:%s" % (len(text), text)


def description(host: str, port: str) -> str:
    """SDP of a party that receives PCMU at ``host`` and ``port``."""
    return (
        f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    )


class NgClient(Client):
    """Takes U, L, D and X; ``connection`` is a connected UDP socket."""

    def __init__(self, connection: socket.socket, host: str) -> None:
        super().__init__(connection)
        self._host = host
        self._cookie = 0
        self._calls: dict[str, str] = {}

    def ask(self, line: bytes) -> bytes:
        """The reply rtpproxy would give to ``line``. Raises OSError."""
        verb, *words = line.decode().partition(" && ")[0].split()
        match verb[0]:
            case "U":
                call, host, port, tag = words
                self._calls[call] = tag
                return self._ports("offer", call, tag, None, description(host, port))
            case "L":
                call, host, port, tag, other = words
                return self._ports("answer", call, tag, other, description(host, port))
            case "D":
                return self._delete(words[0])
            case _:
                for call in list(self._calls):
                    self._delete(call)
                return b"0"

    def ping(self) -> bool:
        """Whether it answers."""
        try:
            return b"pong" in self.tell(command="ping")
        except OSError:
            time.sleep(PATIENCE / TRIES / 10)  # refused at once while it does not listen
            return False

    def tell(self, **message: Any) -> bytes:
        """The reply to one message. Raises OSError."""
        self._cookie += 1
        cookie = b"%d " % self._cookie
        self._socket.send(cookie + encoded(message))
        while not (reply := self._socket.recv(65536)).startswith(cookie):
            pass
        return reply

    def _delete(self, call: str) -> bytes:
        tag = self._calls.pop(call)
        reply = self.tell(
            command="delete", **{"call-id": call, "from-tag": tag, "delete-delay": "0"}
        )
        return b"0" if b"2:ok" in reply else reply

    def _ports(self, command: str, call: str, tag: str, other: str | None, sdp: str) -> bytes:
        message: dict[str, Any] = {
            "command": command,
            "call-id": call,
            "from-tag": tag,
            "sdp": sdp,
            "replace": ["origin"],
            "flags": ["trust-address"],
            "ICE": "remove",
        }
        if other is not None:
            message["to-tag"] = other
        reply = self.tell(**message)
        found = re.search(rb"m=audio (\d+)", reply)
        return b"%s %s" % (found[1], self._host.encode()) if found else reply


class Rtpengine(Relay):
    """Debian's rtpengine without its kernel module."""

    host = "127.0.0.17"

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot take part here, None where it can."""
        return None if shutil.which(PROGRAM) else f"{PROGRAM} is not installed"

    def __enter__(self) -> Rtpengine:
        super().__enter__()
        connection = self.client._socket
        self.client = client = NgClient(connection, self.host)
        connection.settimeout(PATIENCE / TRIES)
        if not any(client.ping() for _ in range(TRIES)):
            raise self._complaint("did not start")
        connection.settimeout(PATIENCE)
        return self

    def _start(self, stack: ExitStack) -> socket.socket:
        connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        connection.bind((self.host, 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind((self.host, 0))
            port = free.getsockname()[1]
        connection.connect((self.host, port))
        settings = self.folder / "rtpengine.conf"
        settings.write_text("[rtpengine]\n")
        self._run(
            stack,
            [
                *(PROGRAM, f"--config-file={settings}", "--foreground", "--log-stderr"),
                *("--table=-1", f"--interface={self.host}", f"--listen-ng={self.host}:{port}"),
                *("--port-min=20000", "--port-max=65000", "--log-level=6"),
                *("--timeout=3600", "--silent-timeout=3600"),
            ],
        )
        return connection
