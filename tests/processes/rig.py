"""Real media processes beside sockets of the test's."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rtpproxy_tw.addresses import Address, family_of
from rtpproxy_tw.media.kernel.path import Flow, FlowId, RtpState
from rtpproxy_tw.media.processes.path import ProcessPath
from tests.kernel.network import Pump

PATIENCE = 10.0
"""Seconds until what does not come is taken not to come."""


class PortOfOurs:
    """A socket of the relay's: remembers what it was told, reads when asked."""

    def __init__(self, local: Address) -> None:
        self.socket = socket.socket(family_of(local[0]), socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(local)
        self.suspended = False
        self.heard: list[tuple[bytes, Address]] = []

    def suspend(self) -> None:
        """Somebody else reads."""
        assert not self.suspended
        self.suspended = True

    def resume(self) -> None:
        """We do."""
        self.suspended = False

    def stray(self, datagram: bytes, source: Address) -> None:
        """A stranger's."""
        self.heard.append((datagram, source))

    def read(self) -> bytes | None:
        """What the relay itself would get now."""
        if self.suspended:
            return None
        try:
            return self.socket.recv(65536)
        except BlockingIOError:
            return None


class Host:
    """A path of media processes, its reactor and the sockets of all addresses."""

    def __init__(self, *, count: int = 1, capacity: int = 16, connecting: bool = False) -> None:
        self.pump = Pump()
        self.path = ProcessPath(self.pump, count=count, capacity=capacity, connecting=connecting)
        self.path.port_at = self.port
        self.ports: dict[Address, PortOfOurs] = {}
        self.parties: dict[Address, socket.socket] = {}
        self.withdrawn: list[FlowId] = []
        self.path.on_withdrawn(self.withdrawn.append)
        self.path.start()
        for child in self.path.children:
            child.start()
        self.until(lambda: all(child.ready for child in self.path.children))

    def until(self, there: Callable[[], bool]) -> None:
        """Let the reactor run until ``there`` is so."""
        deadline = time.monotonic() + PATIENCE
        while not there():
            assert time.monotonic() < deadline, "it does not come"
            select.select(self.pump.readers, [], [], 0.01)
            for reader in select.select(self.pump.readers, [], [], 0)[0]:
                reader.doRead()
            self.pump.advance(0)

    def port(self, local: Address) -> PortOfOurs:
        """The relay's socket there."""
        if local not in self.ports:
            self.ports[local] = PortOfOurs(local)
        return self.ports[local]

    def party(self, address: Address) -> socket.socket:
        """The socket of somebody."""
        if address not in self.parties:
            made = socket.socket(family_of(address[0]), socket.SOCK_DGRAM)
            made.bind(address)
            made.setblocking(False)
            self.parties[address] = made
        return self.parties[address]

    def add(self, flow: Flow, rtp: RtpState | None = None) -> FlowId:
        """Add a flow that must be possible."""
        id = self.path.add(flow, rtp)
        assert id is not None, dict(self.path.refusals)
        return id

    def close(self) -> None:
        """The test is over."""
        self.path.stop()
        for each in (*self.ports.values(),):
            each.socket.close()
        for party in self.parties.values():
            party.close()


@contextmanager
def host(*, count: int = 1, connecting: bool = False) -> Iterator[Host]:
    """One for a test."""
    made = Host(count=count, connecting=connecting)
    try:
        yield made
    finally:
        made.close()


def received(party: socket.socket) -> tuple[bytes, Address] | None:
    """What has come to ``party``."""
    try:
        return party.recvfrom(65536)
    except BlockingIOError:
        return None


def gone(pid: int) -> bool:
    """Whether there is no such process any more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
