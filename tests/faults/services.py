"""What a relay may be told to tell others, and whether these know what they should."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rtpproxy_tw.cluster.scripts import sessions_key
from tests.cluster.redis_server import RedisServer


class Service:
    """Something out there that a relay tells things."""

    settings: dict[str, Any]

    def hang_up(self) -> None:
        """Cut the connection from that end, if it is one that stays."""

    def knows(self, name: str) -> bool:
        """Whether it has been told of that call."""
        raise NotImplementedError

    def is_right(self) -> bool:
        """Whether it knows all it should while the call beside goes on."""
        raise NotImplementedError


class Store(Service):
    """Redis."""

    def __init__(self, server: RedisServer, host: str) -> None:
        """``host``: the relay's media address."""
        self._server = server
        self._key = sessions_key(host)
        self.settings = {"redis": server.url, "node": "one", "lease": 500}

    def hang_up(self) -> None:
        """See Service."""
        self._server.ask("CLIENT", "KILL", "TYPE", "normal")

    def knows(self, name: str) -> bool:
        """See Service."""
        return name.encode() in self._server.ask("HKEYS", self._key)

    def is_right(self) -> bool:
        """See Service. Somebody besides us must be connected."""
        clients = self._server.ask("CLIENT", "LIST").count(b" fd=")
        return clients > 1 and self._server.ask("HLEN", self._key) == b":1\r\n"


class Hook(Service):
    """A receiver of records."""

    def __init__(self, folder: Path, host: str) -> None:
        """``host`` is where it is, ``folder`` where there can be a spool."""
        self.told: set[str] = set()
        self.expected: set[str] = set()
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                record = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told.add(record["call_id"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        url = f"http://{host}:{self._server.server_port}/"
        self.settings = {"webhook": url, "webhook_spool": str(folder / "spool")}

    def knows(self, name: str) -> bool:
        """See Service."""
        self.expected.add(name)
        return name in self.told

    def is_right(self) -> bool:
        """See Service."""
        return self.expected <= self.told

    def close(self) -> None:
        """Receive no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
