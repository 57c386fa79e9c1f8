"""What was not accepted on a stream: a few words about the strangers, however many there are."""

from __future__ import annotations

from dataclasses import dataclass, field

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.rtp import peek

MOST_SOURCES = 8
"""Remembered by address; a spray of more is only counted."""


@dataclass(slots=True, eq=False)
class Refusals:
    """The sources of datagrams that a latch refused. How many came is counted by the stream."""

    source: Address
    """The last one."""
    at: float = 0.0
    """When it sent last."""
    ssrc: int | None = None
    """Of its first packet since it became the last one; None where that was no RTP."""
    count: int = 0
    """How often another source than before became the last one."""
    sources: dict[Address, int] = field(default_factory=dict)
    """The first MOST_SOURCES, with how often each became the last one."""

    def note(self, source: Address, datagram: bytes, now: float) -> None:
        """``datagram`` of ``source`` was refused. Cheap for a source that goes on sending."""
        self.at = now
        if source != self.source or not self.sources:
            self.source = source
            self.count += 1
            header = peek(datagram)
            self.ssrc = header.ssrc if header is not None else None
            if source in self.sources or len(self.sources) < MOST_SOURCES:
                self.sources[source] = self.sources.get(source, 0) + 1
