"""Networks of our own to relay in: namespaces joined by veth, and a reactor moved by hand."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from rtpproxy_tw.addresses import Address, family_of
from rtpproxy_tw.media.kernel import capabilities

PATIENCE = 2.0
"""Seconds until what does not come is taken not to come."""

SILENCE = 0.1
"""Seconds without a packet that show that none comes."""

_CLONE_NEWNET = 0x40000000
_RECVTTL = 12
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


class Pump(Clock):
    """A reactor with a clock that only moves when told, and descriptors that are asked then."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        """As IReactorFDSet."""
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        """As IReactorFDSet."""
        if reader in self.readers:
            self.readers.remove(reader)

    def run(self, seconds: float = 1.0) -> None:
        """Hand on what there is to read, then let time pass in small steps."""
        for _ in range(50):
            ready, _, _ = select.select(self.readers, [], [], 0)
            for reader in ready:
                reader.doRead()
            self.advance(seconds / 50)


class Namespace:
    """A network namespace; ``with`` puts the calling thread into it."""

    def __init__(self, role: str, *lines: str) -> None:
        """``lines`` are commands of ``ip`` that set it up."""
        self.name = f"rtw{os.getpid()}-{next(_numbers)}-{role}"
        self._outer: list[int] = []
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        try:
            self.ip("link set lo up", *lines)
        except subprocess.CalledProcessError:
            self.delete()
            raise

    def ip(self, *lines: str) -> None:
        """Commands of ``ip``, in here."""
        subprocess.run(
            ["ip", "-n", self.name, "-batch", "-"], input="\n".join(lines), text=True, check=True
        )

    def enter(self) -> None:
        """Put the calling thread into it, for good."""
        with open(f"/run/netns/{self.name}") as inner:
            _enter(inner.fileno())

    def __enter__(self) -> Namespace:
        self._outer.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        self.enter()
        return self

    def __exit__(self, *_: object) -> None:
        outer = self._outer.pop()
        _enter(outer)
        os.close(outer)

    def socket(self, host: str, port: int) -> Peer:
        """A UDP socket in here."""
        with self:
            sock = socket.socket(family_of(host), socket.SOCK_DGRAM)
        if family_of(host) == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
            sock.setsockopt(socket.IPPROTO_IP, _RECVTTL, 1)
        sock.bind((host, port))
        return Peer(sock)

    def device(self, name: str) -> int:
        """The number of a device in here."""
        with self:
            return socket.if_nametoindex(name)

    def delete(self) -> None:
        """Away with it, and all that is in it."""
        subprocess.run(["ip", "netns", "del", self.name], check=True)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@dataclass
class Heard:
    """A datagram, and what its IP header told."""

    payload: bytes
    source: Address
    tos: int = -1
    ttl: int = -1


class Peer:
    """A UDP socket of a test."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.address: Address = sock.getsockname()[:2]
        sock.setblocking(False)

    def send(self, payload: bytes, to: Address) -> None:
        """Send."""
        self.socket.sendto(payload, to)

    def hear(self, seconds: float = PATIENCE) -> Heard | None:
        """The next datagram, None where none comes."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return None
        payload, control, _, source = self.socket.recvmsg(65536, 256)
        heard = Heard(payload, source[:2])
        for level, kind, value in control:
            number = int.from_bytes(value, "little")
            if (level, kind) in ((0, socket.IP_TOS), (41, socket.IPV6_TCLASS)):
                heard.tos = number
            if (level, kind) in ((0, socket.IP_TTL), (41, socket.IPV6_HOPLIMIT)):
                heard.ttl = number
        return heard

    def payloads(self, count: int) -> list[bytes]:
        """So many datagrams, fewer where no more come."""
        got: list[bytes] = []
        while len(got) < count and (heard := self.hear()):
            got.append(heard.payload)
        return got

    def is_quiet(self) -> bool:
        """Whether nothing comes."""
        return self.hear(SILENCE) is None

    def close(self) -> None:
        """Close."""
        self.socket.close()


CALLER, CALLER_SIDE = "192.0.2.9", "192.0.2.1"
CALLEE, CALLEE_SIDE = "198.51.100.9", "198.51.100.1"
CALLER6, CALLER_SIDE6 = "2001:db8:a::9", "2001:db8:a::1"
CALLEE6, CALLEE_SIDE6 = "2001:db8:b::9", "2001:db8:b::1"

SIDES = {
    4: (CALLER, CALLER_SIDE, CALLEE_SIDE, CALLEE),
    6: (CALLER6, CALLER_SIDE6, CALLEE_SIDE6, CALLEE6),
}
"""By IP version: the caller, the relay towards it, the relay towards the callee, the callee."""


class Network:
    """caller --- relay --- callee; the relay's devices are ``ra`` and ``rb``."""

    def __init__(self) -> None:
        self.all: list[Namespace] = []
        self.sockets: list[Peer] = []
        try:
            self._build()
        except subprocess.CalledProcessError:
            self.close()
            raise

    def _build(self) -> None:
        self.caller, self.relay, self.callee = (
            self.namespace(role) for role in ("caller", "relay", "callee")
        )
        self.join(self.caller, "ca", "ra", CALLER, CALLER_SIDE, CALLER6, CALLER_SIDE6)
        self.join(self.callee, "cb", "rb", CALLEE, CALLEE_SIDE, CALLEE6, CALLEE_SIDE6)

    def namespace(self, role: str) -> Namespace:
        """One more."""
        made = Namespace(role)
        self.all.append(made)
        return made

    def join(
        self, far: Namespace, device: str, ours: str, peer: str, own: str, peer6: str, own6: str
    ) -> None:
        """A veth between ``far`` and the relay, with an address of each family at both ends."""
        far.ip(
            f"link add {device} type veth peer name {ours} netns {self.relay.name}",
            f"address add {peer}/24 dev {device}",
            f"address add {peer6}/64 dev {device} nodad",
            f"link set {device} up",
        )
        self.relay.ip(
            f"address add {own}/24 dev {ours}",
            f"address add {own6}/64 dev {ours} nodad",
            f"link set {ours} up",
        )

    def socket(self, where: Namespace, host: str, port: int) -> Peer:
        """A socket that is closed with the network."""
        made = where.socket(host, port)
        self.sockets.append(made)
        return made

    def close(self) -> None:
        """Away with everything."""
        for it in self.sockets:
            it.close()
        for namespace in self.all:
            namespace.delete()


def require_namespaces() -> None:
    """Skip the test where there can be none."""
    if shutil.which("ip") is None:
        pytest.skip("no ip command here (iproute2)")
    mask = capabilities.effective()
    if os.geteuid() or not mask >> capabilities.SYS_ADMIN & 1:
        pytest.skip("network namespaces need root")
    if not Path("/proc/thread-self/ns/net").exists():
        pytest.skip("a kernel without network namespaces")


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A network for one test."""
    require_namespaces()
    made = Network()
    try:
        yield made
    finally:
        made.close()


def until(condition: Any, seconds: float = PATIENCE) -> bool:
    """Whether ``condition()`` comes to hold."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return bool(condition())
