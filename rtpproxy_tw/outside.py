"""The outside that another relay examines its network with: sockets around ``probing``."""

from __future__ import annotations

import secrets
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from rtpproxy_tw.addresses import Address, LocalAddress, canonical, family_of
from rtpproxy_tw.errors import RelayError
from rtpproxy_tw.probing import (
    LIFETIME,
    MOST_EXAMINATIONS,
    Examination,
    Pace,
    Wanted,
    probe,
)

TRIES = 64
"""Ports that are tried for the socket of an examination."""

TICK = 0.01
"""Seconds between two portions of probes."""

IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_PROBE = 10, 23, 3
"""Of <linux/in.h>: never to be cut on the way, whatever is known of the path."""


class Outside:
    """Examinations that are under way.

    Their sockets are among the media ports, as others can be expected to be let through to those;
    ``addresses`` and ``ports`` (the lowest and the highest RTP port) are the relay's.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        addresses: Iterable[LocalAddress],
        ports: tuple[int, int],
        token: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._reactor = reactor
        self._addresses = list(addresses)
        self._ports = ports
        self._token = token
        self._open: dict[str, _Socket] = {}

    def begin(self, family: int) -> dict[str, Any]:
        """Begin an examination for an address family: its name, and where to ask.

        ``host`` is None where it is that of the HTTP endpoint. Raises RelayError.
        """
        if len(self._open) >= MOST_EXAMINATIONS:
            raise RelayError(f"{MOST_EXAMINATIONS} examinations are under way already")
        local = next((each for each in self._addresses if each.family == family), None)
        if local is None:
            raise RelayError("this relay takes no media of that address family")
        sock = self._bind(local)
        name = self._token()
        examination = Examination(name, secrets.token_bytes(16), self._reactor.seconds() + LIFETIME)
        made = _Socket(self._reactor, examination, sock.getsockname()[1])
        made.ends = self._reactor.callLater(LIFETIME, self.end, name)
        self._reactor.adoptDatagramPort(sock.fileno(), sock.family, made, 2048)
        sock.close()  # a copy of it was adopted
        self._open[name] = made
        self._log.info("another relay examines its network, until {ends} s", ends=LIFETIME)
        host = None if local.wildcard else local.host
        return {
            "id": name,
            "host": host,
            "port": made.port,
            "closed": made.port + 1,
            "seconds": LIFETIME,
        }

    def send(self, name: str, wanted: Wanted, proof: bytes) -> dict[str, Any]:
        """Send probes, in a while. Raises KeyError without such an examination, probing.Refused."""
        made = self._open[name]
        made.examination.admit(wanted, proof)
        made.queue.extend((wanted.host, port, wanted) for port in wanted.ports)
        made.go_on()
        return {"probes": len(wanted.ports), "waiting": len(made.queue)}

    def end(self, name: str) -> bool:
        """End an examination; False where there is none such."""
        made = self._open.pop(name, None)
        if made is None:
            return False
        made.close()
        return True

    def stop(self) -> None:
        """End them all."""
        for name in tuple(self._open):
            self.end(name)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._open)

    def _bind(self, local: LocalAddress) -> socket.socket:
        """A socket on an even port whose neighbour is free. Raises RelayError."""
        low, high = self._ports
        for _ in range(TRIES):
            port = low + 2 * secrets.randbelow((high - low) // 2 + 1)
            try:
                with _bound(local.host, port + 1):
                    return _bound(local.host, port)
            except OSError:
                continue
        raise RelayError("there is no free pair of ports")


def _bound(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    made = socket.socket(family_of(host), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        whole(made)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


def whole(made: socket.socket) -> None:
    """Have what it sends never be cut: it arrives whole or not at all. Raises OSError."""
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
    else:
        made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)


class _Socket(DatagramProtocol):
    """The socket of one examination."""

    noisy = False

    def __init__(self, reactor: Any, examination: Examination, port: int) -> None:
        self.examination = examination
        self.port = port
        self.queue: deque[tuple[str, int, Wanted]] = deque()
        self.ends: IDelayedCall | None = None
        self._reactor = reactor
        self._pace = Pace(reactor.seconds)
        self._timer: IDelayedCall | None = None

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """A request, or anything."""
        source: Address = canonical(addr[0]), addr[1]
        answer = self.examination.answer(datagram, source)
        if answer is not None and self._pace.take():
            self._write(answer, addr)

    def go_on(self) -> None:
        """Send what is due, and come back for the rest."""
        if self._timer is None:
            self._send()

    def _send(self) -> None:
        self._timer = None
        while self.queue and self._pace.take():
            host, port, wanted = self.queue.popleft()
            self._write(probe(wanted.cookie, port, wanted.size), (host, port))
        if self.queue:
            self._timer = self._reactor.callLater(TICK, self._send)

    def _write(self, octets: bytes, to: Any) -> None:
        try:
            self.transport.write(octets, to)  # type: ignore[union-attr]  # it is open
        except OSError:
            # Too long for our own device, or no route: it does not arrive, which is the answer.
            return

    def close(self) -> None:
        """No more of it."""
        for timer in (self._timer, self.ends):
            if timer is not None and timer.active():
                timer.cancel()
        self.queue.clear()
        if self.transport is not None:
            self.transport.stopListening()
