"""The policy ``rtpproxy``: believe as the original does, the first packet being good enough.

======================  =========================================================================
no address known        the first source becomes the address, for good: it is *learned* and
                        *latched*, but its SSRC is not remembered
address, not latched    any source is taken; it becomes the address if it is another one. Outside
                        an update window that latches and remembers SSRC and sequence number
latched                 another source is taken only with RTP: of any SSRC inside an update
                        window, else of the remembered SSRC and a sequence number up to 536
                        ahead of the remembered one. With nothing remembered, never
======================  =========================================================================

An update window is the 10 s after a command that names a party whose address was known already.
A learned address is never replaced by a command. Media always goes to the address, which is at
once ``remote`` and, but for the port of an asymmetric party, ``source``.
"""

from __future__ import annotations

from math import inf

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.latch.base import Latch, LatchState
from rtpproxy_tw.rtp import Header, peek

UPDATE_WINDOW = 10.0
"""Seconds."""

REACH = 536
"""How far ahead of the remembered sequence number the same stream may be."""

REFRESH = 1.0
"""Seconds after which the remembered sequence number is brought up to date."""


class RtpproxyLatch(Latch):
    """``component`` is 1 for RTP, 2 for RTCP, which has neither SSRC nor sequence number."""

    __slots__ = (
        "_asymmetric",
        "_before",
        "_current",
        "_current_ssrc",
        "_latched",
        "_learned",
        "_look_at",
        "_refreshed",
        "_rtp",
        "_sequence",
        "_ssrc",
        "_updated",
    )

    def __init__(self, component: int) -> None:
        self._asymmetric = False
        self._latched = False
        super().__init__()
        self._rtp = component == 1
        self._learned = False
        self._before: Address | None = None
        """The latched address that a command replaced."""
        self._updated = -inf
        """When the last update window opened."""
        self._ssrc: int | None = None
        """What is remembered, not necessarily what is being sent now."""
        self._sequence = 0
        self._refreshed = 0.0
        self._current_ssrc: int | None = None
        """Of the last RTP packet accepted."""
        self._current = b""
        """The same as it is on the wire, to compare with cheaply."""
        self._look_at = inf
        """When the next packet, though as expected, is to be looked at."""

    @property
    def state(self) -> LatchState:
        """How far the stream has come; an address that was only signalled is still expected."""
        if self._latched:
            return LatchState.LATCHED
        return LatchState.PROVISIONAL if self._learned else LatchState.EXPECTING

    @property
    def asymmetric(self) -> bool:
        """The party does not send from where it receives; to say so latches, for good."""
        return self._asymmetric

    @asymmetric.setter
    def asymmetric(self, is_so: bool) -> None:
        self._asymmetric = is_so
        self._latched |= is_so

    def signal(self, address: Address, now: float) -> None:
        """A command gave the party's address."""
        self.signalled = address
        if self.remote is not None:
            self._updated = now
            self.settled = False
        if not self._learned and address != self.remote:
            if self._latched:
                self._before = self.remote
            self.remote = self.source = address

    def complete(self, now: float) -> None:
        """Changes nothing here."""

    def hear(self, source: Address, datagram: bytes, now: float) -> bool:
        """Judge one datagram: True when it comes from the believed party."""
        if self.settled and source == self.source:
            if datagram[8:12] == self._current and now < self._look_at:
                return True
            header = peek(datagram) if self._rtp else None
        else:
            header = peek(datagram) if self._rtp else None
            if not self._admit(source, header, now):
                return False
        self._account(header, datagram, now)
        self.settled = self._latched and not self._open(now)
        return True

    def carried(self, ssrc: int, sequence: int, at: float) -> None:
        """Others relayed packets of ``source``, the last one at ``at``."""
        if self._current_ssrc is not None and ssrc != self._current_ssrc and ssrc:
            self._current_ssrc, self._current = ssrc, ssrc.to_bytes(4, "big")
            self._ssrc = ssrc
        if ssrc == self._ssrc:
            self._sequence, self._refreshed = sequence, at
            self._look_at = at + REFRESH

    def follow(self, rtp: Address, now: float) -> None:
        """RTCP is where RTP was heard, next port, unless it is at that host already."""
        host, port = rtp
        known = self.remote
        # An asymmetric party's RTP may come from any port of its host: nothing is learned by it
        # but where no address was known, and then RTCP has none either, or has learned its own.
        if port == 65535 or (known is not None and (known[0] == host or self.asymmetric)):
            return
        self.remote = self.source = (host, port + 1)
        self._latched = self.asymmetric
        self.settled = False

    def _open(self, now: float) -> bool:
        return now - self._updated < UPDATE_WINDOW

    def _admit(self, source: Address, header: Header | None, now: float) -> bool:
        if self.remote is None:
            self._learn(source)
        elif self.asymmetric:
            if source[0] != self.remote[0]:
                return False
            if source != self.source:
                self.source = source
        elif source == self.remote:
            self.source = self.remote
            if not self._latched:
                self._latch(header, now)
        elif not self._latched:
            self._latch(header, now)
            self._learn(source)
        elif self._continues(header, now):
            self.relatches += 1
            self._learn(source)
        else:
            return False
        return True

    def _learn(self, source: Address) -> None:
        self.remote = self.source = source
        self._learned = True
        # Stragglers from where the party was before the update must not shut out the new place.
        if source != self._before:
            self._latched = True

    def _latch(self, header: Header | None, now: float) -> None:
        if self._open(now):
            return
        self._ssrc = None
        if header is not None:
            self._ssrc, self._sequence, self._refreshed = header.ssrc, header.sequence, now
        self._latched = self._ssrc != 0

    def _continues(self, header: Header | None, now: float) -> bool:
        if self._ssrc is None or header is None:
            return False
        if not self._open(now):
            ahead = (header.sequence - self._sequence) & 0xFFFF
            if header.ssrc != self._ssrc or ahead > REACH:
                return False
        self._sequence, self._refreshed = header.sequence, now
        return True

    def _account(self, header: Header | None, datagram: bytes, now: float) -> None:
        if header is None:
            return
        if header.ssrc == self._ssrc and now - self._refreshed >= REFRESH:
            self._sequence, self._refreshed = header.sequence, now
        if self._current_ssrc is not None and header.ssrc != self._current_ssrc:
            self._latch(header, now)
        self._current_ssrc, self._current = header.ssrc, datagram[8:12]
        self._look_at = self._refreshed + REFRESH if header.ssrc == self._ssrc else inf
