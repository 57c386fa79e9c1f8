"""RTP statistics of one stream, as the original counts them (RFC 3550 sections 6.4, A.1, A.8)."""

from __future__ import annotations


class Analyzer:
    """What one party's RTP tells: sent, received, lost, duplicate, jitter."""

    __slots__ = ()

    def heard(self, datagram: bytes, now: float) -> None:
        """Take one datagram into account; ``now`` is monotonic seconds."""
