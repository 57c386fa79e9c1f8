"""What speaks for a source, by the looks of its address alone."""

from __future__ import annotations

from enum import IntEnum

from rtpproxy_tw.addresses import Address, is_loopback, is_peer, is_private


class Rank(IntEnum):
    """What speaks for a source under the address that is signalled; the more, the higher."""

    NEVER = 0
    """Nothing."""
    FOREIGN = 1
    """Another host, where the signalled one cannot be reached or is not known."""
    HOST = 2
    """Another port of the signalled host."""
    EXACT = 3
    """It is the signalled address."""


def is_possible(source: Address, signalled: Address | None, *, loopback: bool) -> bool:
    """Whether a party can be at ``source`` at all: one host, a port, and not this machine.

    This machine is fine where media is taken on loopback, or is itself signalled.
    """
    host, port = source
    if not port or not is_peer(host):
        return False
    if not is_loopback(host) or loopback:
        return True
    return signalled is not None and is_loopback(signalled[0])


def rank_of(source: Address, signalled: Address | None, *, loopback: bool) -> Rank:
    """The rank of ``source``; ``loopback``: whether media is taken on loopback here."""
    if not is_possible(source, signalled, loopback=loopback):
        return Rank.NEVER
    if signalled is None:
        return Rank.FOREIGN
    if source == signalled:
        return Rank.EXACT
    host = signalled[0]
    if source[0] == host:
        return Rank.HOST
    hidden = is_private(host) or (loopback and is_loopback(host))
    return Rank.FOREIGN if hidden else Rank.NEVER
