"""Addresses as the octets that go into packet headers."""

from __future__ import annotations

import socket
from functools import lru_cache

from rtpproxy_tw.addresses import family_of

_MAPPED = bytes(10) + b"\xff\xff"
"""The prefix of IPv4-mapped addresses (RFC 4291 section 2.5.5.2)."""


@lru_cache(maxsize=4096)
def packed(host: str) -> bytes:
    """4 or 16 octets in network order; a zone (``fe80::1%eth0``) is left out.

    Raises OSError where ``host`` is not a numeric address.
    """
    return socket.inet_pton(family_of(host), host.partition("%")[0])


def packed_pair(one: str, other: str) -> tuple[bytes, bytes]:
    """Both, of one length: an IPv4 address beside an IPv6 one is written as a mapped one."""
    first, second = packed(one), packed(other)
    if len(first) == len(second):
        return first, second
    return (_MAPPED + first)[-16:], (_MAPPED + second)[-16:]
