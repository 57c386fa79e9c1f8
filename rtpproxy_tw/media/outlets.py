"""Pairs of ports from which copies leave. What arrives there is thrown away."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.protocol import DatagramProtocol

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.session import Component

if TYPE_CHECKING:
    from rtpproxy_tw.media.userspace import Port


class Deaf(DatagramProtocol):
    """Reads, so that nothing piles up, and heeds nothing."""

    noisy = False

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """One packet from ``addr``."""


class Outlet:
    """An open pair; ``free`` gives the pair back."""

    def __init__(
        self, address: Address, ports: tuple[Port, Port], free: Callable[[], None]
    ) -> None:
        self.address = address
        self._ports = ports
        self._free: Callable[[], None] | None = free

    def send(self, component: Component, datagram: bytes, to: Address) -> bool:
        """Send from the port of ``component``; False when the kernel refused or it is closed."""
        return self._free is not None and self._ports[component - 1].send(datagram, to)

    def close(self) -> None:
        """Close both. Idempotent."""
        free, self._free = self._free, None
        if free is not None:
            for port in self._ports:
                port.stopListening()
            free()
