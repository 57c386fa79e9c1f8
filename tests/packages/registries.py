"""The only way out of a machine: a proxy to Debian's archive and Python's package index."""

from __future__ import annotations

import ctypes
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Thread
from types import TracebackType

PORT = 3128

ALLOWED = ("deb.debian.org", "security.debian.org", "pypi.org", "files.pythonhosted.org")

APT = f'Acquire::http::Proxy "http://127.0.0.1:{PORT}";\n'
"""What apt has to be told (a file of /etc/apt/apt.conf.d)."""

PIP = f"[global]\nproxy = http://127.0.0.1:{PORT}\n"
"""What pip has to be told (/etc/pip.conf)."""

_TARGET = re.compile(rb"(?:CONNECT|(?:GET|HEAD) http://)\s*([\w.-]+)(?::(\d+))?[ /]")


def listen_in(network: str) -> socket.socket:
    """A socket that listens on loopback of that network namespace, whoever accepts from it."""

    def made() -> socket.socket:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{network}") as namespace:
            if libc.setns(namespace.fileno(), 0) != 0:
                raise OSError(ctypes.get_errno(), "cannot enter the network", network)
        return socket.create_server(("127.0.0.1", PORT))

    # The namespace is that of a thread, which ends here.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(made).result()


class Registries:
    """Serves the network namespace ``network`` while the block lasts. ``refused``: other hosts."""

    def __init__(self, network: str) -> None:
        self.refused: set[str] = set()
        self._socket = listen_in(network)

    def __enter__(self) -> Registries:
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                Thread(target=self._serve, args=(self._socket.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (more := client.recv(65536)):
                head += more
            asked = _TARGET.match(head)
            host = asked[1].decode() if asked else ""
            if asked is None or host not in ALLOWED:
                self.refused.add(host)
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            with socket.create_connection((host, int(asked[2] or 80)), 60.0) as server:
                server.settimeout(None)
                if head.startswith(b"CONNECT"):
                    client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                else:  # servers take requests for proxies, too (RFC 9112, section 3.2.2)
                    server.sendall(head)
                back = Thread(target=_copy, args=(server, client), daemon=True)
                back.start()
                _copy(client, server)
                back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while octets := source.recv(65536):
            target.sendall(octets)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
