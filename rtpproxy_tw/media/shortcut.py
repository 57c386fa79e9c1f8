"""The shortest way through the epoll plane: what the next packet of a stream will most likely be.

The header of the packet after an ordinary one is known: the number one higher, the time stamp as
much later as it was before, all else the same. A packet that begins just so has nothing to tell but
when it came, so that is all that is noted of it; everything else is worked out for many packets at
once, when one comes that is not as expected, when it is time for a look, or when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rtpproxy_tw.addresses import Address

if TYPE_CHECKING:
    from rtpproxy_tw.media.streamsocket import StreamSocket
    from rtpproxy_tw.quality.analyzer import Analyzer
    from rtpproxy_tw.session import Stream

HEADER = 12
"""Octets of the RTP fixed header (RFC 3550 section 5.1)."""

STAMP = 1 << 32
NUMBER = 1 << 64
"""What one tick of the time stamp, and one of the sequence number, adds to the fixed header as one
number. Where one of them wraps, the sum is a header that nobody sends next, and the packet goes
the long way."""

LATEST = STAMP << 31
"""A time stamp that grew by half its range has rather been set back."""

_MARKER = 1 << 87

NOTHING = -1
"""A header that no packet has."""

_MOST_STEPS = 4096

_steps: dict[int, int] = {}
"""The same number for all streams that count alike: it stays in the processor's cache."""


class Prediction:
    """What the next ordinary packet of a stream begins with."""

    __slots__ = ("_last", "expected", "size", "step")

    def __init__(self) -> None:
        self.size = 0
        """How long most of them are."""
        self.expected = NOTHING
        """The fixed header as one number."""
        self.step = 0
        """What is to be added to it for the next one."""
        self._last = NOTHING

    @property
    def stamp_step(self) -> int:
        """By how much time stamps grow, where something is expected."""
        return self.step - NUMBER >> 32

    def settle(self) -> None:
        """All that came as expected has been counted."""
        self._last = self.expected - self.step

    def expect(self, header: int, size: int, analyzer: Analyzer) -> None:
        """A packet of the party with that ``header``, and of that ``size`` in octets, came.

        It is in the counters already, and all before it.
        """
        before, self._last = self._last, header & ~_MARKER
        self.size = size
        apart = self._last - before
        # As one number, two packets on and a bit earlier is the same as one on and much later.
        if apart & STAMP - 1 == 0 and NUMBER <= apart < NUMBER + LATEST:
            self.step = _shared(apart)
        step = self.step
        if step and analyzer.keeps(header, step - NUMBER >> 32):
            self.expected = self._last + step
        else:
            self.expected = NOTHING


class Shortcut(Prediction):
    """All that the loop reads and writes for an ordinary packet, in one place.

    ``source`` is the only sender allowed, None where the kernel sees to that; ``receive`` is
    ``recv_into`` then, and ``recvfrom_into`` otherwise. ``out`` is the port it leaves from, and
    ``transmit`` sends from there to the party that it is connected to; None while it is not.
    """

    __slots__ = (
        "arrivals",
        "extra",
        "failed",
        "look_at",
        "nowhere",
        "out",
        "port",
        "receive",
        "source",
        "transmit",
        "withheld",
    )

    def __init__(
        self,
        port: StreamSocket,
        out: StreamSocket,
        source: Address,
        receive: Callable[..., Any],
        look_at: float,
    ) -> None:
        super().__init__()
        self.port = port
        self.out = out
        self.transmit: Callable[[memoryview], object] | None = None
        self.source: tuple[Any, ...] | None = source
        self.receive = receive
        self.look_at = look_at
        """When the next packet is to be looked at, whatever it is."""
        self.arrivals: list[float] = []
        """When ordinary packets came that are not in the counters yet."""
        self.extra = 0
        """By how much they were longer than ``size``, together."""
        self.failed = self.nowhere = self.withheld = 0
        """How many of them could not be sent on, or had nowhere to go, and their octets."""

    def fold(self, stream: Stream) -> None:
        """Bring the counters of ``stream``, which is this one's, up to date."""
        arrivals = self.arrivals
        count = len(arrivals)
        if not count:
            return
        latest, longest = stream.last_heard, stream.longest_gap
        for now in arrivals:
            if now - latest > longest:
                longest = now - latest
            latest = now
        stream.longest_gap, stream.last_heard = longest, latest
        leg = stream.leg
        leg.last_active = max(leg.last_active, latest)
        failed = self.failed
        stream.accepted += count
        stream.relayed += count - failed
        stream.dropped += failed
        stream.nowhere += self.nowhere
        stream.withheld += self.withheld
        stream.octets += count * self.size + self.extra
        if stream.analyzer is not None:
            stream.analyzer.paced(arrivals, self.stamp_step)
        self.settle()
        self.extra = self.failed = self.nowhere = self.withheld = 0
        arrivals.clear()


def _shared(step: int) -> int:
    if len(_steps) >= _MOST_STEPS:
        _steps.clear()
    return _steps.setdefault(step, step)
