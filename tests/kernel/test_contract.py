"""The fake path and the real one, held to the same contract."""

from __future__ import annotations

import pytest

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.media.kernel import bpf_syscall as bpf
from rtpproxy_tw.media.kernel.ebpf import EbpfPath
from rtpproxy_tw.media.kernel.path import KernelPath, Unavailable
from tests.kernel.bench_program import DROP, NEXT, REDIRECT
from tests.kernel.contract import BUDGET, CAPACITY, LOCAL, OTHER, PARTY, PathContract, Rig
from tests.kernel.fake import FakePath, Fate
from tests.kernel.frames import Datagram
from tests.kernel.network import Namespace, Pump, require_namespaces


class FakeRig(Rig):
    """In memory."""

    def __init__(self) -> None:
        self.fake = FakePath(capacity=CAPACITY, budget=BUDGET)
        self.fake.unreachable.add("203.0.113.9")
        self.path: KernelPath = self.fake
        self.path.start()

    def deliver(self, datagram: bytes, source: Address = PARTY, local: Address = LOCAL) -> Fate:
        return self.fake.deliver(datagram, source, local)

    def lose_route(self) -> None:
        self.fake.lose_route(OTHER[0])

    def wait(self) -> None:
        self.fake.hand_out_copies()

    def close(self) -> None:
        self.path.stop()


class RealRig(Rig):
    """In a network namespace with one network; datagrams are handed to the program directly."""

    def __init__(self, method: str) -> None:
        require_namespaces()
        self.namespace = Namespace(
            "contract",
            "link add va type veth peer name vb",
            "address add 198.51.100.1/24 dev va",
            "link set va up",
            "link set vb up",
        )
        self.namespace.__enter__()
        self.pump = Pump()
        self.real = EbpfPath(
            self.pump, capacity=CAPACITY, budget=BUDGET, ring_octets=1 << 16, method=method
        )
        self.path: KernelPath = self.real
        try:
            self.path.start()
        except Unavailable as error:
            self.close()
            pytest.skip(str(error))

    def deliver(self, datagram: bytes, source: Address = PARTY, local: Address = LOCAL) -> Fate:
        frame = bytes(Datagram(source, local, datagram))
        verdict = bpf.run(self.real.program, frame).verdict
        return {REDIRECT: Fate.RELAYED, NEXT: Fate.UP, DROP: Fate.DROPPED}[verdict]

    def lose_route(self) -> None:
        self.namespace.ip("link set va down")
        self.pump.run()

    def wait(self) -> None:
        self.pump.run()

    def close(self) -> None:
        self.path.stop()
        self.namespace.__exit__()
        self.namespace.delete()


class TestFakePath(PathContract):
    def new_rig(self) -> Rig:
        return FakeRig()


@pytest.mark.kernel
class TestEbpfPath(PathContract):
    def new_rig(self) -> Rig:
        return RealRig("auto")


@pytest.mark.kernel
class TestEbpfPathByFilters(PathContract):
    """As before Linux 6.6."""

    def new_rig(self) -> Rig:
        return RealRig("clsact")
