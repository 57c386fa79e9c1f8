"""Who may still be sending to a port that belonged to a call that has ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.rtcp import looks_like_rtcp
from rtpproxy_tw.rtp import peek

LATEST = 32.0
"""Seconds after its end in which a call's parties may still send: so long do they repeat a BYE that
nobody answers (RFC 3261 section 17.1.2.2, 64 times T1)."""


MOST = 8
"""Stragglers remembered per port; it takes a range of hardly any ports to have more than one."""


class Straggler(NamedTuple):
    """A party of a call that has ended: the source it was believed at, and its SSRC if known."""

    source: Address
    ssrc: int | None

    def sent(self, source: Address, datagram: bytes, signalled: Address | None) -> bool:
        """Whether ``datagram`` is one of its late ones.

        The new party may be at the very same address. It is told by its SSRC, which is another one
        in each call (RFC 3550 section 8); and what has none is the new party's where that was
        ``signalled`` there.
        """
        if source != self.source:
            return False
        header = peek(datagram)
        if header is not None:
            return header.ssrc == self.ssrc
        if source != signalled:
            return True
        return looks_like_rtcp(datagram) and int.from_bytes(datagram[4:8], "big") == self.ssrc


class Stragglers:
    """Those of one port, until ``until`` (monotonic seconds)."""

    __slots__ = ("_all", "_until")

    def __init__(self, stragglers: Iterable[Straggler], until: float) -> None:
        self._all = tuple(stragglers)[-MOST:]
        self._until = until

    def sent(self, source: Address, datagram: bytes, signalled: Address | None) -> bool:
        """Whether ``datagram`` is a late one of any of them."""
        return any(each.sent(source, datagram, signalled) for each in self._all)

    def are_past(self, now: float) -> bool:
        """Whether none of them sends any more."""
        return now >= self._until

    def are_at(self, source: Address | None) -> bool:
        """Whether one of them sends from ``source``."""
        return any(each.source == source for each in self._all)
