"""Who is believed to be the peer: the latching state machines, one per stream."""

from __future__ import annotations

from abc import ABC, abstractmethod

from rtpproxy_tw.addresses import Address


class Latch(ABC):
    """What every policy offers. Time is monotonic seconds given by the caller; no I/O.

    ``remote`` is where to send now (None: nowhere), ``source`` the believed source (None: none
    yet), ``settled`` whether both are the same and nothing is open, so that the stream may be
    taken over by the kernel.
    """

    __slots__ = ("asymmetric", "loopback", "payload_types", "remote", "settled", "source")

    def __init__(self) -> None:
        self.remote: Address | None = None
        self.source: Address | None = None
        self.settled = False
        self.asymmetric = False
        self.loopback = False
        """We take media on loopback here, so a signalled loopback address tells nothing."""
        self.payload_types: tuple[int, ...] = ()
        """What the party offered: a score, never a condition."""

    @abstractmethod
    def signal(self, address: Address, now: float) -> None:
        """A command gave the party's address."""

    @abstractmethod
    def complete(self, now: float) -> None:
        """The session now has both legs; media is relayed from here on."""

    @abstractmethod
    def hear(self, source: Address, datagram: bytes, now: float) -> bool:
        """Judge one datagram: True when it comes from the believed party."""

    @abstractmethod
    def follow(self, rtp: Address, now: float) -> None:
        """RTCP only: the RTP stream of the same leg now believes ``rtp``."""
