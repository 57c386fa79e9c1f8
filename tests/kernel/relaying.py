"""A real path in a network of its own, with the relay's sockets and both parties'."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.media.kernel.ebpf import EbpfPath
from rtpproxy_tw.media.kernel.path import Flow, FlowId, Unavailable
from tests.kernel.network import SIDES, Network, Peer, Pump, network

PORT = 35000
PARTY = 40000


class Relaying:
    """One call from the caller to the callee, and what carries it."""

    def __init__(self, net: Network, **options: object) -> None:
        self.net = net
        self.pump = Pump()
        self.withdrawn: list[FlowId] = []
        self.taps: list[tuple[FlowId, bytes, Address, int]] = []
        with net.relay:
            self.path = EbpfPath(
                self.pump,
                capacity=64,
                ring_octets=1 << 16,
                **options,  # type: ignore[arg-type]  # passed on as they are
            )
            self.path.on_withdrawn(self.withdrawn.append)
            self.path.on_tap(lambda *copy: self.taps.append(copy))
            try:
                self.path.start()
            except Unavailable as error:
                pytest.skip(str(error))

    def settle(self, seconds: float = 1.0) -> None:
        """Let the path hear what has happened."""
        with self.net.relay:
            self.pump.run(seconds)

    def parties(self, came: int = 4, leaves: int = 4) -> tuple[Peer, Peer, Peer, Peer]:
        """The caller, the relay's two sockets and the callee; families by IP version."""
        caller, towards, _, _ = SIDES[came]
        _, _, out, callee = SIDES[leaves]
        net = self.net
        return (
            net.socket(net.caller, caller, PARTY),
            net.socket(net.relay, towards, PORT),
            net.socket(net.relay, out, PORT + 2),
            net.socket(net.callee, callee, PARTY),
        )

    def add(self, flow: Flow) -> FlowId:
        """Add a flow that must be possible."""
        with self.net.relay:
            id = self.path.add(flow)
        assert id is not None, dict(self.path.refusals)
        return id

    def stop(self) -> None:
        """Stop the path."""
        with self.net.relay:
            self.path.stop()


@contextmanager
def relaying(**options: object) -> Iterator[Relaying]:
    """A started path for one test."""
    with network() as net:
        made = Relaying(net, **options)
        try:
            yield made
        finally:
            made.stop()


def flow_of(parties: tuple[Peer, Peer, Peer, Peer], **changes: object) -> Flow:
    """From the caller to the callee."""
    caller, towards, out, callee = parties
    values: dict[str, object] = {
        "local": towards.address,
        "source": caller.address,
        "out": out.address,
        "to": callee.address,
        "tos": 0xB8,
    }
    return Flow(**(values | changes))  # type: ignore[arg-type]  # by name
