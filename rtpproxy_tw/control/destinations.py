"""Where media may be sent at the word of a command, which repeats the word of a stranger's SDP.

Never to this machine's loopback (unless we take media there ourselves), to link-local, multicast,
broadcast or unspecified addresses, nor to what we listen on ourselves: a relay that sends to
itself never stops. A party that names such an address still gets its port, and is treated as one
that named none: what it sends decides. The lists that were got round elsewhere by other spellings
(CVE-2020-26262, CVE-2026-27624) are why addresses are canonical here, and IPv4 inside IPv6 (6to4,
Teredo, NAT64) counts as what is inside.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from rtpproxy_tw.addresses import Address, LocalAddress, canonical, is_loopback, is_private

NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last four octets are an IPv4 address."""

THIS_NETWORK = IPv4Network("0.0.0.0/8")
"""RFC 1122 section 3.2.1.3; Linux takes 0.0.0.0 for loopback."""

OWN = "an address of this relay itself"
"""Why nothing is sent to what we listen on."""

BROADCAST = IPv4Address("255.255.255.255")


class Destinations:
    """The rules. ``is_own`` tells whether we listen at an address ourselves.

    With ``deny_private`` private addresses are refused as well.
    """

    def __init__(
        self,
        *,
        is_own: Callable[[str, int], bool] = lambda host, port: False,
        deny_private: bool = False,
    ) -> None:
        self._is_own = is_own
        self._deny_private = deny_private

    def refusal(self, address: Address, local: LocalAddress | None) -> str | None:
        """Why nothing is sent from ``local`` to ``address``, None where it may be."""
        host, port = address
        kind = special(host)
        if kind == "loopback":
            if local is None or not (local.wildcard or is_loopback(local.host)):
                return "a loopback address"
        elif kind is not None:
            return f"a {kind} address"
        if self._is_own(host, port) or self._is_own(host, port + 1):
            return OWN
        if self._deny_private and is_private(canonical(host)):
            return "a private address"
        return None


@lru_cache(maxsize=4096)
def special(host: str) -> str | None:
    """What keeps numeric ``host`` from being a party's address; None where nothing does."""
    found = ip_address(canonical(host.partition("%")[0]))
    inner = _inside(found)
    for address in (found, *inner):
        kind = _kind(address)
        if kind is not None:
            return kind
    return None


def _kind(address: IPv4Address | IPv6Address) -> str | None:
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if address == BROADCAST:
        return "broadcast"
    if address.is_unspecified or (isinstance(address, IPv4Address) and address in THIS_NETWORK):
        return "unspecified"
    return None


def _inside(address: IPv4Address | IPv6Address) -> tuple[IPv4Address, ...]:
    """IPv4 addresses that a gateway would make of an IPv6 one."""
    if isinstance(address, IPv4Address):
        return ()
    found = [address.sixtofour, *(address.teredo or ())[1:]]
    if address in NAT64 or (int(address) >> 32 == 0 and int(address) > 0xFFFF):
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(each for each in found if each is not None)
