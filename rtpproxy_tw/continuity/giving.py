"""The side that hands over.

::

   new                          old
   hello    what it understands
                                begin     whose clock it is
                                whole     counters, replies, ... ; one message each
   got
                                sessions  as many as a message can carry, again and again
   got
                                whole     recordings' writers, listeners: what must come last
   got
                                end
   serving

Until ``serving`` has come nothing has changed for the old relay: it has only sent copies of its
descriptors, and nobody else has read from them. So on any error it goes on as if nothing had been.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rtpproxy_tw.continuity.belongings import Luggage, Part, Whole
from rtpproxy_tw.continuity.channel import MOST_DESCRIPTORS, Channel, HandoverError
from rtpproxy_tw.session import Session
from rtpproxy_tw.snapshot import records

PROTOCOL = 1
"""Of these messages."""

MOST_SESSIONS = 48
"""In one message: four descriptors each, and some to spare for recordings."""

AHEAD = 2
"""Messages sent before the first of them is acknowledged: one is read while one is written."""


def boot() -> str:
    """What tells one run of the kernel, and so of its monotonic clock, from another."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


class Giver:
    """Hands over what it is given to the relay at the other end of ``channel``."""

    def __init__(
        self,
        channel: Channel,
        *,
        parts: Sequence[Part],
        first: Sequence[Whole],
        last: Sequence[Whole],
    ) -> None:
        self._channel = channel
        self._parts = parts
        self._first = first
        self._last = last
        self._unacknowledged = 0

    def give(self, sessions: Sequence[Session], now: float) -> None:
        """Hand over; returns when the other relay serves. Raises HandoverError."""
        channel = self._channel
        channel.receive("hello")
        channel.send("begin", protocol=PROTOCOL, clock=now, boot=boot(), sessions=len(sessions))
        self._wholes(self._first)
        for body, descriptors, count in batches(sessions, self._parts):
            self._send("sessions", body, descriptors, count=count)
        self._wholes(self._last)
        self._settle(0)
        channel.send("end")
        channel.receive("serving").close()

    def _wholes(self, wholes: Iterable[Whole]) -> None:
        for whole in wholes:
            luggage = Luggage()
            value = whole.pack(luggage)
            if value is not None:
                body = records.to_line({"value": value})
                self._send("whole", body, luggage.descriptors, name=whole.name)

    def _send(self, kind: str, body: bytes, descriptors: Sequence[int], **fields: object) -> None:
        if len(descriptors) > MOST_DESCRIPTORS:
            raise HandoverError(f"{len(descriptors)} descriptors do not go into one message")
        self._channel.send(kind, body, descriptors, **fields)
        self._unacknowledged += 1
        self._settle(AHEAD)

    def _settle(self, left: int) -> None:
        while self._unacknowledged > left:
            self._channel.receive("got").close()
            self._unacknowledged -= 1


def batches(
    sessions: Iterable[Session], parts: Sequence[Part]
) -> Iterator[tuple[bytes, list[int], int]]:
    """Lines, descriptors and number of sessions of one message after the other."""
    lines: list[bytes] = []
    descriptors: list[int] = []
    for session in sessions:
        luggage = Luggage()
        said = {part.name: part.pack(session, luggage) for part in parts}
        record = records.pack(session, {n: each for n, each in said.items() if each is not None})
        record["descriptors"] = len(luggage.descriptors)
        full = len(descriptors) + len(luggage.descriptors) > MOST_DESCRIPTORS
        if full or len(lines) >= MOST_SESSIONS:
            yield b"".join(lines), descriptors, len(lines)
            lines, descriptors = [], []
        lines.append(records.to_line(record))
        descriptors += luggage.descriptors
    if lines:
        yield b"".join(lines), descriptors, len(lines)
