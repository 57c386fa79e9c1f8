"""What an examination has seen, before anybody says what it means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rtpproxy_tw.addresses import Address

Range = tuple[int, int]
"""Ports, both included."""


@dataclass(slots=True)
class Observed:
    """Of one media address. None: it was not looked at."""

    host: str
    """Numeric, the address on this host from which was sent."""
    configured: str
    """As it stands in the settings; a wildcard, perhaps."""
    advertised: str | None
    label: str | None = None
    other: Address | None = None
    """Who was asked."""
    taken: list[int] = field(default_factory=list)
    """Ports that somebody else has."""
    mapped: dict[int, Address] = field(default_factory=dict)
    """As what the packets from our ports were seen; of a sample of them."""
    asked: int = 0
    """How many ports asked."""
    probed: list[int] | None = None
    """Ports that were sent something without having sent anything themselves."""
    arrived: set[int] = field(default_factory=set)
    """Those of them that it came to."""
    icmp: bool | None = None
    """Whether it is told when a port is closed at the other end."""
    longest_out: int | None = None
    longest_in: int | None = None
    """Octets of the longest IP packet that got there, or here, in one piece; 0: none did."""
    too_big: bool = False
    """It was told that packets are too long for the path."""
    device_out: str | None = None
    device_in: str | None = None
    """Network devices of the way there and back."""
    misrouted: int = 0
    """Packets that the kernel dropped meanwhile as they came by another device (rp_filter)."""
    container: str | None = None
    """``docker``, ``kubernetes`` and the like, with a network of its own; None: the host's."""

    @property
    def outside(self) -> str | None:
        """The one host that all packets were seen from; None where there is none, or several."""
        hosts = {host for host, _ in self.mapped.values()}
        return hosts.pop() if len(hosts) == 1 else None

    @property
    def rewritten(self) -> dict[int, int]:
        """Ports that were seen as other ones."""
        return {port: seen for port, (_, seen) in self.mapped.items() if seen != port}

    @property
    def closed(self) -> list[int]:
        """Ports that nothing came to."""
        return sorted(set(self.probed or ()) - self.arrived)

    def view(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "address": self.configured,
            "host": self.host,
            "outside": self.outside,
            "asked": self.asked,
            "answered": len(self.mapped),
            "rewritten": {str(port): seen for port, seen in self.rewritten.items()},
            "taken": len(self.taken),
            "probed": None if self.probed is None else len(self.probed),
            "arrived": len(self.arrived),
            "closed": ranges(self.closed, self.probed or ()),
            "icmp": self.icmp,
            "longest_out": self.longest_out,
            "longest_in": self.longest_in,
            "device_out": self.device_out,
            "device_in": self.device_in,
            "misrouted": self.misrouted,
            "container": self.container,
        }


def ranges(ports: Iterable[int], among: Sequence[int]) -> list[Range]:
    """``ports`` as ranges, each of neighbours ``among`` those that were tried."""
    order = {port: at for at, port in enumerate(sorted(set(among)))}
    found: list[list[int]] = []
    for port in sorted(set(ports)):
        if found and order[port] == order[found[-1][1]] + 1:
            found[-1][1] = port
        else:
            found.append([port, port])
    return [(first, last) for first, last in found]
