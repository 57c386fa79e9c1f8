"""Streams of RTP with something to count in each, and what is to be counted."""

from __future__ import annotations

import struct
from typing import NamedTuple

FRAME = 160
"""Timestamp ticks of 20 ms of telephone audio."""


class Counts(NamedTuple):
    """What is counted of a stream, in the order of the protocol's ``rtpa_`` names."""

    sent: int
    received: int
    duplicates: int = 0
    lost: int = 0
    errors: int = 0


def packet(
    sequence: int,
    timestamp: int | None = None,
    *,
    ssrc: int = 0xABCD,
    payload_type: int = 0,
    marker: bool = False,
) -> bytes:
    """An RTP packet; without a ``timestamp`` it has that of its place in the sequence."""
    if timestamp is None:
        timestamp = sequence * FRAME
    second = marker << 7 | payload_type
    return (
        struct.pack("!BBHII", 0x80, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
        + b"\xd5" * 20
    )


def packets(*sequences: int, ssrc: int = 0xABCD) -> list[bytes]:
    """Packets of one source, in the order given."""
    return [packet(sequence, ssrc=ssrc) for sequence in sequences]


def upwards(first: int, count: int, step: int = 1, ssrc: int = 0xABCD) -> list[bytes]:
    """``count`` packets, each numbered ``step`` higher than the one before."""
    return packets(*range(first, first + count * step, step), ssrc=ssrc)


ROUND = upwards(1, 133, step=500)
"""Once round all sequence numbers and a little further: to 66 001, which is 465."""

MALFORMED = {
    "nothing": b"",
    "one octet": b"\x80",
    "a header cut short": packet(1)[:11],
    "version 1": b"\x40" + packet(1)[1:],
    "version 3": b"\xc0" + packet(1)[1:],
    "a receiver report": b"\x80\xc9" + packet(1)[2:],
    "the first type of RTCP": b"\x80\xc8" + packet(1)[2:],
    "the last type of RTCP": b"\x80\xd5" + packet(1)[2:],
    "fifteen CSRCs and room for five": b"\x8f" + packet(1)[1:],
    "an extension without its length": b"\x90" + packet(1)[1:14],
    "an extension longer than the packet": b"\x90" + packet(1)[1:14] + b"\xff\xff" + b"\x00" * 16,
    "no padding in spite of the bit": b"\xa0" + packet(1)[1:-1] + b"\x00",
    "more padding than payload": b"\xa0" + packet(1)[1:-1] + b"\x15",
    "padding and no payload": b"\xa0" + packet(1)[1:12],
}

UNUSUAL = {
    "a bare header": packet(1)[:12],
    "five CSRCs and no payload": b"\x85" + packet(1)[1:],
    "an extension": b"\x90" + packet(1)[1:14] + b"\x00\x04" + b"\x00" * 16,
    "an extension of no words": b"\x90" + packet(1)[1:14] + b"\x00\x00",
    "nothing but padding": b"\xa0" + packet(1)[1:-1] + b"\x14",
    "the type before the first of RTCP": b"\x80\xc7" + packet(1)[2:],
    "the type after the last of RTCP": b"\x80\xd6" + packet(1)[2:],
}

STREAMS: dict[str, tuple[list[bytes], Counts]] = {
    "one packet": (packets(7), Counts(1, 1)),
    "in order": (upwards(0, 100), Counts(100, 100)),
    "two lost": (packets(1, 2, 5), Counts(5, 3, lost=2)),
    "a late one fills a gap": (packets(1, 2, 5, 4), Counts(5, 4, lost=1)),
    "a late one is older than the first": (packets(10, 8), Counts(3, 2, lost=1)),
    "every packet twice": (packets(1, 1, 2, 2, 3, 3), Counts(3, 3, 3)),
    "a late one twice": (packets(1, 3, 2, 2), Counts(3, 3, 1)),
    "backwards": (packets(*range(600, 100, -1)), Counts(500, 500)),
    "half lost": (upwards(2, 300, step=2), Counts(599, 300, lost=299)),
    "a wrap": (upwards(65530, 20), Counts(20, 20)),
    "a wrap within a loss": (packets(65534, 2), Counts(5, 2, lost=3)),
    "a late one from before a wrap": (packets(65533, 65534, 0, 65535), Counts(4, 4)),
    "after a wrap, one older than the first": (packets(65534, 0, 65533), Counts(3, 2, lost=1)),
    "one from before a wrap again": (packets(65535, 0, 65535, 65535), Counts(2, 2, 2)),
    "the earliest late one after a wrap": (
        packets(64700, 65001, 65500, 499, 535, 65001),
        Counts(1372, 5, 1, lost=1367),
    ),
    "a late one too old to be from before a wrap": (
        packets(64700, 65001, 65500, 100, 65000),
        Counts(938, 5, lost=933),
    ),
    "a wrap so early that it is a step": (packets(65000, 0), Counts(2, 2)),
    "two wraps": (upwards(1, 300, step=500), Counts(149501, 300, lost=149201)),
    "the largest step forward": (packets(1000, 1536), Counts(537, 2, lost=535)),
    "a step too far forward": (packets(1000, 1537), Counts(2, 2)),
    "the largest step back": (packets(1000, 464), Counts(537, 2, lost=535)),
    "a step too far back": (packets(1000, 463), Counts(2, 2)),
    "the same numbers in another run": (packets(1000, 5000, 1000, 1000), Counts(3, 3, 1)),
    "duplicates of two runs": (packets(1, 1, 5000, 5000), Counts(2, 2, 2)),
    "another source": (
        [*upwards(10, 3), *upwards(5000, 3, ssrc=2)],
        Counts(6, 6),
    ),
    "another source and the first again": (
        [*packets(10, 12), *packets(12, ssrc=2), *packets(12, 13)],
        Counts(6, 5, lost=1),
    ),
    "another source with every packet": (
        [packet(sequence, ssrc=sequence) for sequence in range(1, 51)],
        Counts(50, 50),
    ),
    "a marked lower number": (
        [*packets(100, 101, 103), packet(50, marker=True), *packets(51)],
        Counts(6, 5, lost=1),
    ),
    "a marked higher number": (
        [*packets(100), packet(103, marker=True)],
        Counts(4, 2, lost=2),
    ),
    "a marked repetition": ([*packets(100), packet(100, marker=True)], Counts(1, 1, 1)),
    "a marked zero after the last number": (
        [*packets(65534, 65535), packet(0, marker=True), *packets(1)],
        Counts(4, 4),
    ),
    "a marked late one after the last number": (
        [*packets(65533, 65535), packet(65534, marker=True)],
        Counts(3, 3),
    ),
    "a marked zero after a loss": (
        [*packets(65533, 65534), packet(0, marker=True), *packets(1)],
        Counts(4, 4),
    ),
    "after a wrap, another source with a loss": (
        [*ROUND, *packets(100, 103, 104, ssrc=2)],
        Counts(66001 + 3, 133 + 3, lost=66001 - 133),
    ),
    "after a wrap, another source's first packet twice": (
        [*ROUND, *packets(100, 100, 101, ssrc=2)],
        Counts(66001 + 3, 133 + 3, lost=66001 - 133),
    ),
    "after a wrap, one older than its run": (
        [*ROUND, *packets(5000, 4999, 5001, 4999, 4999)],
        Counts(66001 + 2, 133 + 2, 2, lost=66001 - 133),
    ),
    "what is no RTP": (
        [*packets(1), *MALFORMED.values(), *packets(2)],
        Counts(2, 2, errors=len(MALFORMED)),
    ),
    "what is unusual": (list(UNUSUAL.values()), Counts(1, 1, len(UNUSUAL) - 1)),
    "nothing but what is no RTP": (list(MALFORMED.values()), Counts(0, 0, errors=len(MALFORMED))),
}
"""What is counted here is what the original counts."""
