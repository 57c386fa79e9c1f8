"""Through which device, to which neighbour, and how long at most: the way out of a flow."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from rtpproxy_tw.addresses import Address, family_of
from rtpproxy_tw.media.kernel import rtnetlink as rt
from rtpproxy_tw.media.kernel.layout import Hop

USUAL_TTL = 64

_LINK_LOCAL = ("fe8", "fe9", "fea", "feb")
"""IPv6 hosts that mean something only together with a device (RFC 4291 section 2.5.6)."""

_SETTINGS = Path("/proc/sys/net")

_BY_ADDRESSES = 0
"""The policy by which one of several ways is chosen for a destination (fib_multipath_hash_policy):
of the address of either party alone."""


class NoWay(Exception):
    """No device leads there; the text is a few words."""


def _setting(path: str, default: int = USUAL_TTL) -> int:
    try:
        return int((_SETTINGS / path).read_text())
    except (OSError, ValueError):
        return default


class Routing:
    """Answers from the kernel's own tables, as of the last ``refresh`` where devices matter."""

    def __init__(self, requests: rt.Requests) -> None:
        self._requests = requests
        self.links: dict[int, rt.Link] = {}
        self._ttls: dict[tuple[int, int], int] = {}
        self._by_port = True
        """Whether a way may depend on ports."""

    def refresh(self) -> None:
        """Look at the devices again, and at what ways depend on. Raises OSError."""
        self.links = {link.device: link for link in self._requests.links()}
        self._ttls.clear()
        policies = (_setting(f"ipv{it}/fib_multipath_hash_policy", _BY_ADDRESSES) for it in (4, 6))
        self._by_port = any(it != _BY_ADDRESSES for it in policies) or self._requests.by_port()

    def hops(self, flows: Iterable[tuple[Address, Address, int]]) -> Iterator[Hop | NoWay]:
        """The ways of several datagrams, each as :meth:`hop` has it, one question for all that
        differ in their ports alone where ports make no difference."""
        ways = dict[tuple[str, str, int], Hop | NoWay]()
        for out, to, tos in flows:
            key = out[0], to[0], tos
            found = None if self._by_port else ways.get(key)
            if found is None:
                try:
                    found = self.hop(out, to, tos)
                except NoWay as why:
                    found = why
                ways[key] = found
            yield found

    def hop(self, out: Address, to: Address, tos: int) -> Hop:
        """The way of a datagram from the socket ``out`` to ``to``. Raises NoWay."""
        if to[0].startswith(_LINK_LOCAL):
            raise NoWay("link-local destination")
        try:
            way = self._requests.way(out, to, tos)
        except OSError:
            raise NoWay("no route") from None
        link = self.links.get(way.device)
        if link is None or not link.up or way.kind not in (rt.UNICAST, rt.LOCAL):
            raise NoWay("no route")
        if link.kind not in (rt.ETHERNET, rt.LOOPBACK, rt.BARE):
            raise NoWay("kind of device")
        wildcard = out[0] in ("0.0.0.0", "::")
        host = way.host if wildcard else out[0]
        if not host:
            raise NoWay("no route")
        local = way.kind == rt.LOCAL
        return Hop(
            device=link.device,
            host=host,
            # To itself a host must not send by a neighbour's address: only a datagram with a
            # route of its own is delivered on lo although it claims to come from here.
            via=None if local else way.via,
            mtu=min(way.mtu or link.mtu, link.mtu),
            ttl=way.hops or self._ttl(link, family_of(to[0])),
            local=local,
        )

    def _ttl(self, link: rt.Link, family: int) -> int:
        """What sockets use by default."""
        found = self._ttls.get((link.device, family))
        if found is None:
            inet6 = family == socket.AF_INET6
            path = f"ipv6/conf/{link.name}/hop_limit" if inet6 else "ipv4/ip_default_ttl"
            found = self._ttls[link.device, family] = _setting(path)
        return found
