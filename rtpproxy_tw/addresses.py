"""Numeric addresses: reading them, telling what kind they are, and the relay's own ones."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = tuple[str, int]
"""A transport address as sockets give it: numeric host, port."""

_PRIVATE4 = tuple(
    IPv4Network(net)
    for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10")
)
"""RFC 1918 private, RFC 3927 link-local and RFC 6598 carrier-grade NAT space."""

_PRIVATE6 = tuple(IPv6Network(net) for net in ("fc00::/7", "fe80::/10"))
"""RFC 4193 unique local and RFC 4291 link-local space."""


def canonical(host: str) -> str:
    """The one text for ``host``: compressed IPv6, IPv4 taken out of ``::ffff:a.b.c.d``.

    Raises ValueError where ``host`` is not a numeric address.
    """
    address = ip_address(host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def family_of(host: str) -> int:
    """``socket.AF_INET6`` for text with a colon, else ``socket.AF_INET``."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@lru_cache(maxsize=4096)
def is_private(host: str) -> bool:
    """Whether nobody outside the party's own network can be meant by ``host``."""
    address = ip_address(host)
    if isinstance(address, IPv4Address):
        return any(address in net for net in _PRIVATE4)
    return any(address in net for net in _PRIVATE6)


@lru_cache(maxsize=4096)
def is_loopback(host: str) -> bool:
    """Whether ``host`` is of this machine's loopback network."""
    return ip_address(host).is_loopback


@lru_cache(maxsize=4096)
def is_peer(host: str) -> bool:
    """Whether a single party can be at ``host``: not multicast, broadcast or unspecified."""
    address = ip_address(host)
    return not (address.is_multicast or address.is_unspecified or host == "255.255.255.255")


def near(one: str, other: str) -> bool:
    """Whether both hosts lie in one /24 (IPv4) or one /48 (IPv6)."""
    a, b = ip_address(one), ip_address(other)
    if a.version != b.version:
        return False
    shift = 8 if a.version == 4 else 80
    return int(a) >> shift == int(b) >> shift


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """One address the relay takes media on.

    ``advertised`` is the text put into replies instead of ``host`` (an address of a 1:1 NAT
    outside), ``label`` the name by which commands may choose it.
    """

    host: str
    advertised: str | None = None
    label: str | None = None

    @property
    def family(self) -> int:
        """``socket.AF_INET`` or ``socket.AF_INET6``."""
        return family_of(self.host)

    @property
    def wildcard(self) -> bool:
        """Whether it stands for every address of its family."""
        return self.host in ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class LocalAddresses:
    """All of the relay's media addresses, in the order they were configured.

    The first one is the default. With a bridging pair, ``internal`` is that default and
    ``external`` the other side.
    """

    configured: tuple[LocalAddress, ...]
    external: LocalAddress | None = None

    @property
    def default(self) -> LocalAddress:
        """The address used when a command does not choose."""
        return self.configured[0]

    @property
    def bridging(self) -> bool:
        """Whether ``e`` and ``i`` have a meaning here."""
        return self.external is not None

    def all(self) -> Sequence[LocalAddress]:
        """Every address media may be taken on, bridging pair included."""
        if self.external is None:
            return self.configured
        return (*self.configured, self.external)

    def labelled(self, label: str) -> LocalAddress | None:
        """The address with that label."""
        return next((local for local in self.configured if local.label == label), None)

    def of_family(self, family: int) -> LocalAddress | None:
        """The last configured address of that family, as the original chooses."""
        return next((local for local in reversed(self.all()) if local.family == family), None)

    def for_host(self, host: str) -> LocalAddress:
        """The configured address ``host``, or a new plain one where there is none."""
        found = next((local for local in self.all() if local.host == host), None)
        return found or LocalAddress(host)
