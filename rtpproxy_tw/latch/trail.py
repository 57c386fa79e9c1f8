"""What is remembered of a believed RTP stream, to know it again behind another address."""

from __future__ import annotations

from rtpproxy_tw.rtp import Header

SAMPLE_EVERY = 1.0
"""Seconds between two looks at a stream that is as expected."""

LONGEST = 10.0
"""Seconds between two samples after which numbers may have wrapped, and tell no rate any more."""

TOLERANCE = 536
"""Sequence numbers; the original's measure of what may be the same stream."""

RATE = 50.0
"""Packets a second, until the stream's own rate is known: audio in packets of 20 ms."""


class Trail:
    """SSRC, sequence number and packet rate of a stream, sampled now and then.

    Between samples, and while nothing arrives, the sender goes on counting. So a later packet may
    be ahead of the sample by as much as the rate explains, twice that to be safe with video whose
    packets come in clumps, and by ``TOLERANCE`` besides; behind it by ``TOLERANCE``. That holds
    at 50 packets a second as at 1000, and tightens to what the one or the other needs.
    """

    __slots__ = ("_rate", "_sampled", "_sequence", "_ssrc")

    def __init__(self, header: Header, now: float) -> None:
        self._ssrc = header.ssrc
        self._sequence = header.sequence
        self._sampled = now
        self._rate = RATE

    def sample(self, header: Header, now: float) -> None:
        """``header`` is the stream's; its SSRC may have changed."""
        self.note(header.ssrc, header.sequence, now)

    def note(self, ssrc: int, sequence: int, now: float) -> None:
        """The same of a packet that was seen elsewhere."""
        elapsed = now - self._sampled
        if ssrc == self._ssrc and SAMPLE_EVERY / 2 <= elapsed <= LONGEST:
            ahead = (sequence - self._sequence) & 0xFFFF
            if ahead < 0x8000:
                self._rate = ahead / elapsed
        self._ssrc = ssrc
        self._sequence = sequence
        self._sampled = now

    def continues(self, header: Header, now: float) -> bool:
        """Whether ``header`` may be of the same stream.

        Never with SSRC 0, which no sender picks at random and every stranger guesses first.
        """
        if header.ssrc != self._ssrc or not header.ssrc:
            return False
        ahead = (header.sequence - self._sequence) & 0xFFFF
        reach = TOLERANCE + 2 * self._rate * (now - self._sampled)
        return ahead <= reach or ahead >= 0x10000 - TOLERANCE
