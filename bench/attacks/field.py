"""The network of an attack: a relay, two parties and a stranger, each a host of its own."""

from __future__ import annotations

import itertools
import select
import socket
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple

from bench.namespaces import Namespace

_BUFFER = 4 * 1024 * 1024


class Hosts(NamedTuple):
    """One address family: on one link, but no two of them near each other (no /24, no /48)."""

    relay: str
    caller: str
    callee: str
    stranger: str
    private: str
    """What a party behind a NAT says of itself."""
    other: str
    """The same of another party."""


HOSTS = {
    4: Hosts(
        *("198.18.0.1", "198.18.1.9", "198.18.2.9", "198.19.66.66"),
        *("192.168.77.9", "192.168.99.9"),
    ),
    6: Hosts(
        *("2001:db8::1", "2001:db8:1::9", "2001:db8:2::9", "2001:db8:66::66"),
        *("fd00:77::9", "fd00:99::9"),
    ),
}
"""By IP version; networks for measurements and documentation (RFC 2544, RFC 3849)."""

_LENGTHS = {4: 15, 6: 32}

Hear = Callable[[bytes], None]


class Socket:
    """A UDP socket of somebody on the field; what it receives goes to ``hear``."""

    def __init__(self, sock: socket.socket, hear: Hear) -> None:
        self._socket = sock
        self.hear = hear
        self.address: tuple[str, int] = sock.getsockname()[:2]
        self.fileno = sock.fileno

    def send(self, datagram: bytes, to: tuple[str, int]) -> None:
        """Send. Raises OSError but for what the network says of earlier packets."""
        try:
            self._socket.sendto(datagram, to)
        except ConnectionError:
            self._socket.sendto(datagram, to)

    def read(self) -> None:
        """Hand on everything there is."""
        while True:
            try:
                datagram = self._socket.recv(65535)
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            self.hear(datagram)

    def close(self) -> None:
        """Close."""
        self._socket.close()


class Field:
    """The namespaces, and all sockets in them. For the length of a ``with`` block."""

    def __init__(self) -> None:
        self._resources = ExitStack()
        self._ports = itertools.count(20000, 2)
        self._sockets: dict[int, Socket] = {}

    def __enter__(self) -> Field:
        with ExitStack() as stack:
            self._poll = stack.enter_context(select.epoll())
            self._switch = self._namespace(stack, "switch")
            self._switch.ip("link add br0 type bridge", "link set br0 up")
            self.relay, self.caller, self.callee, self.stranger = (
                self._plug(stack, role) for role in ("relay", "caller", "callee", "stranger")
            )
            for host in HOSTS.values():
                # What is sent to an address that nobody has goes somewhere, as it would outside.
                every = "::/0" if ":" in host.relay else "0.0.0.0/0"
                self.relay.ip(f"route add {every} via {host.caller}")
            stack.callback(self._close_sockets)
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.close()

    def _namespace(self, stack: ExitStack, role: str) -> Namespace:
        made = Namespace(role)
        stack.callback(made.delete)
        return made

    def _plug(self, stack: ExitStack, role: str) -> Namespace:
        made = self._namespace(stack, role)
        made.ip(f"link add eth0 type veth peer name {role} netns {self._switch.name}")
        self._switch.ip(f"link set {role} master br0", f"link set {role} up")
        for version, hosts in HOSTS.items():
            nodad = " nodad" if version == 6 else ""
            host = getattr(hosts, role)
            made.ip(f"address add {host}/{_LENGTHS[version]} dev eth0{nodad}")
        made.ip("link set eth0 up")
        return made

    def socket(self, where: Namespace, version: int, hear: Hear, port: int | None = None) -> Socket:
        """A socket of whoever lives in ``where``, on a port that nobody else has."""
        role = where.name.rpartition("-")[2]
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        with where:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            number = next(self._ports) if port is None else port
            sock.bind((getattr(HOSTS[version], role), number))
        except OSError:
            sock.close()
            raise
        made = self._sockets[sock.fileno()] = Socket(sock, hear)
        self._poll.register(sock, select.EPOLLIN)
        return made

    def listen(self, seconds: float) -> bool:
        """Hand on what arrives in so long a time, as soon as something does; whether it did."""
        ready = self._poll.poll(max(0.0, seconds))
        for fd, _ in ready:
            self._sockets[fd].read()
        return bool(ready)

    def clear(self) -> None:
        """Close every socket."""
        self._close_sockets()

    def _close_sockets(self) -> None:
        for each in self._sockets.values():
            each.close()
        self._sockets.clear()
