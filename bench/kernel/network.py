"""The network that is measured in: a caller, a relay and a callee, joined by plain veth.

A second pair of devices joins caller and callee directly, which is the path without a relay. With
plain veth the whole way of a packet is gone in the sender's own time, system call and softirq, so
what a packet costs the machine can be read from the senders' run times.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.calls import Route
from bench.load import Load, build
from bench.machine import softirq_threads
from bench.namespaces import Namespace

CALLER, CALLER_GATE = "192.0.2.1", "192.0.2.254"
CALLEE, CALLEE_GATE = "198.51.100.1", "198.51.100.254"
DIRECT = ("203.0.113.1", "203.0.113.2")

HOSTS = ("192.0.2.201", "192.0.2.202", "192.0.2.203")
"""Addresses of the relay's namespace, one for each relay that takes part."""


class Network:
    """caller ``ca`` --- ``ra`` relay ``rb`` --- ``cb`` callee, and caller ``cd`` --- ``dc``."""

    def __init__(self, stack: ExitStack) -> None:
        """Everything is deleted with ``stack``. Raises CalledProcessError."""
        self.caller, self.relay, self.callee = (
            self._namespace(stack, role) for role in ("caller", "relay", "callee")
        )
        for far, device, ours, host, gate in (
            (self.caller, "ca", "ra", CALLER, CALLER_GATE),
            (self.callee, "cb", "rb", CALLEE, CALLEE_GATE),
        ):
            far.ip(
                f"link add {device} type veth peer name {ours} netns {self.relay.name}",
                f"address add {host}/24 dev {device}",
                f"link set {device} up",
            )
            self.relay.ip(f"address add {gate}/24 dev {ours}", f"link set {ours} up")
            far.ip(f"route add default via {gate}")
        self.relay.ip(*(f"address add {host}/32 dev lo" for host in HOSTS))
        self.caller.ip(
            f"link add cd type veth peer name dc netns {self.callee.name}",
            f"address add {DIRECT[0]}/24 dev cd",
            "link set cd up",
        )
        self.callee.ip(f"address add {DIRECT[1]}/24 dev dc", "link set dc up")

    def _namespace(self, stack: ExitStack, role: str) -> Namespace:
        made = Namespace(role)
        stack.callback(made.delete)
        return made


@contextmanager
def network() -> Iterator[Network]:
    """One for a measurement."""
    with ExitStack() as stack:
        yield Network(stack)


class NetLoad(Load):
    """The load's two sockets in the namespaces of caller and callee."""

    def __init__(self, net: Network) -> None:
        self._net = net
        self._program = build()
        self._sockets = [_bound(net.caller), _bound(net.callee)]
        self._softirq = softirq_threads()

    @property
    def caller(self) -> tuple[str, int]:
        """The address of every caller."""
        return CALLER, _port(self._sockets[0])

    @property
    def callee(self) -> tuple[str, int]:
        """The address of every callee."""
        return CALLEE, _port(self._sockets[1])

    def direct(self, sessions: int) -> list[Route]:
        """Routes without a relay between."""
        caller, callee = map(_port, self._sockets)
        return [Route(DIRECT[1], callee, DIRECT[0], caller)] * sessions

    def forwarded(self, sessions: int) -> list[Route]:
        """Routes through the relay's namespace, which forwards from now on."""
        with self._net.relay:
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        caller, callee = self.caller, self.callee
        return [Route(*callee, *caller)] * sessions


def _bound(where: Namespace) -> socket.socket:
    with where:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("0.0.0.0", 0))
    return made


def _port(bound: socket.socket) -> int:
    port: int = bound.getsockname()[1]
    return port


def link(where: Namespace, device: str) -> dict[str, object]:
    """What ``ip`` tells of a device, counters included."""
    command = ["ip", "-n", where.name, "-s", "-j", "link", "show", "dev", device]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (told,) = json.loads(done.stdout)
    assert isinstance(told, dict)
    return told


def arrived(where: Namespace, device: str) -> int:
    """How many packets the device has received."""
    stats = link(where, device)["stats64"]
    assert isinstance(stats, dict)
    return int(stats["rx"]["packets"])


def mac(where: Namespace, device: str) -> str:
    """The device's hardware address."""
    return str(link(where, device)["address"])
