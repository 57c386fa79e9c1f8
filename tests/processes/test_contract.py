"""Media processes held to the contract of whatever carries flows."""

from __future__ import annotations

import pytest

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.media.kernel.path import KernelPath
from rtpproxy_tw.media.processes.lanes import BUDGET
from tests.kernel.contract import CAPACITY, LOCAL, OTHER, PARTY, FlowContract, Rig
from tests.kernel.fake import Fate
from tests.kernel.network import Namespace, require_namespaces
from tests.processes.rig import Host, received


class ProcessRig(Rig):
    """One process, in a namespace that has all the addresses."""

    budget = BUDGET

    def __init__(self) -> None:
        require_namespaces()
        self.namespace = Namespace("processes", "address add 198.51.100.0/24 dev lo")
        with self.namespace:
            self.host = Host(capacity=CAPACITY)
        self.path: KernelPath = self.host.path
        self.namespace.__enter__()

    def deliver(self, datagram: bytes, source: Address = PARTY, local: Address = LOCAL) -> Fate:
        host, other, port = self.host, self.host.party(OTHER), self.host.port(local)
        carried = next((id for id, it in host.path._flows.items() if it.flow.local == local), None)
        heard = len(port.heard)
        before = host.path.sample(carried).refused if carried is not None else 0
        fate: list[Fate] = []

        def known() -> bool:
            if carried is not None:
                host.path.ask(carried)
            if received(other) is not None:
                fate.append(Fate.RELAYED)
            elif port.read() is not None or len(port.heard) > heard:
                fate.append(Fate.UP)
            elif carried is not None and host.path.sample(carried).refused > before:
                fate.append(Fate.DROPPED)
            return bool(fate)

        host.party(source).sendto(datagram, local)
        host.until(known)
        if carried is not None:
            host.path.ask(carried)
        return fate[0]

    def lose_route(self) -> None:
        raise NotImplementedError

    def wait(self) -> None:
        self.host.pump.run()

    def close(self) -> None:
        self.namespace.__exit__()
        self.host.close()
        self.namespace.delete()


@pytest.mark.network
class TestProcessPath(FlowContract):
    def new_rig(self) -> Rig:
        return ProcessRig()
