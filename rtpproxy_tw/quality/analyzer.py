"""RTP statistics of one stream, as the original counts them (RFC 3550 sections 6.4, A.1, A.3).

Sequence numbers are followed in *runs*. A run is one SSRC counting upwards without a break; its
numbers are extended beyond 16 bits, and it has a lowest and a highest one. A new SSRC, a step of
more than MAX_STEP, and a marked packet with a lower number (a sender that began anew) each start
another. Sent is what the runs span, received is how many different numbers came.

Kept from the original, because its figures are compared with ours: the extension survives a
change of the SSRC, so the second packet of an SSRC that appears after a wrap starts a run of its
own; and once a wrap has happened, a number below the run's first is not counted at all.

Not kept: the original mistakes a number from just before zero, coming late into a run that began
just after, for one far ahead (about 65 000 ahead, or 2**32). Here it counts below the lowest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rtpproxy_tw.quality.jitter import CLOCK_RATES, Jitter, SourceJitter
from rtpproxy_tw.quality.letters import Letters, keep
from rtpproxy_tw.rtp import FIXED_HEADER, PLAIN, peek

MAX_STEP = 536
"""Numbers further than this from the highest one are not of its run."""

NEAR_WRAP = 65000
"""A number above this may be from before a wrap, and one so much lower is from after it."""

JUST_STARTED = 65500
"""A zero that follows a number below this is no wrap; the timestamps may have been reset."""

_unpack = FIXED_HEADER.unpack_from

LEAST_KNOWN = 64
"""How many numbers any counter that statistics are taken over from has remembered."""

LONGEST_STRAY = 2049
"""Octets kept of what is not RTP: more than any RTCP has, less than would add up."""

_CYCLE = 1 << 16
_LAST = _CYCLE - 1
_WORD = (1 << 32) - 1
"""The lowest 32 bits."""

WINDOW_SIZE = MAX_STEP + _CYCLE - NEAR_WRAP
"""How many numbers a late packet may have: the highest and what is below it."""

_WINDOW = (1 << WINDOW_SIZE) - 1
"""One bit for each of them."""


@dataclass(slots=True, eq=False)
class Analyzer:
    """What one party's RTP tells. Made at its first packet; the attributes are for reading."""

    received: int = 0
    """How many different packets came."""
    duplicates: int = 0
    """How many came again."""
    errors: int = 0
    """How many datagrams are not RTP."""
    ssrc: int | None = None
    """The last heard, None before any."""
    ssrc_changes: int = 0
    """How often it was another than before, the first one included."""
    payload_type: int | None = None
    """The last heard, None before any."""
    reordered: int = 0
    """How many came after a later one of their run."""
    runs: int = 0
    """How many runs there were, as far as they were seen here."""
    known_from: int = -_CYCLE
    """Numbers of the present run below this one may have come without being marked."""
    stray: bytes = b""
    """The last datagram that is not RTP, empty before any; and when it came."""
    stray_at: float = 0.0
    strays: Letters = field(default_factory=list)
    """Those of the last second, until whoever looks then has taken them."""
    _earlier: int = 0
    """What earlier runs span."""
    _offset: int = 0
    """What wraps have added to sequence numbers."""
    _lowest: int = 0
    _highest: int = -1
    _seen: int = 0
    """Bit n: the number n below the highest has come; but for the last ``_unmarked`` ones."""
    _unmarked: int = 0
    """How many packets, in order and one by one, came since ``_seen`` was brought up to date."""
    _jitter: Jitter = field(default_factory=Jitter)
    _source: SourceJitter = field(default_factory=SourceJitter)

    @property
    def sent(self) -> int:
        """How many packets the party must have sent."""
        return self._earlier + self._highest - self._lowest + 1

    @property
    def lost(self) -> int:
        """How many of them have not come; shrinks when a late one does."""
        return self.sent - self.received

    @property
    def lowest(self) -> int:
        """The extended sequence number the present run begins with."""
        return self._lowest

    @property
    def highest(self) -> int:
        """The highest extended sequence number of the present run, -1 before any."""
        return self._highest

    @property
    def seen(self) -> int:
        """Which of the last WINDOW_SIZE numbers came: bit n stands for ``highest`` - n."""
        self._catch_up()
        return self._seen

    @property
    def jitter_last(self) -> float:
        """Interarrival jitter now, in timestamp ticks (of the newest SSRC that has any)."""
        return self._jitter.last

    @property
    def jitter_max(self) -> float:
        """The largest it has been, in timestamp ticks."""
        return self._jitter.peak

    @property
    def jitter_mean(self) -> float:
        """Its mean over all samples, in timestamp ticks."""
        return self._jitter.mean

    def snapshot(self) -> dict[str, Any]:
        """All that counting needs to go on elsewhere; :meth:`resume` takes it back."""
        return {
            "received": self.received,
            "duplicates": self.duplicates,
            "errors": self.errors,
            "ssrc": self.ssrc,
            "ssrc_changes": self.ssrc_changes,
            "payload_type": self.payload_type,
            "earlier": self._earlier,
            "offset": self._offset,
            "lowest": self._lowest,
            "highest": self._highest,
            "seen": self.seen,
            **self._jitter.snapshot(self._source),
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``, a :meth:`snapshot` or what another counter made of one."""
        if state["ssrc"] == self.ssrc and state["earlier"] == self._earlier:
            self.goes_on(state["highest"], state["received"])
        self.received = state["received"]
        self.duplicates = state["duplicates"]
        self.errors = state["errors"]
        self.ssrc = state["ssrc"]
        self.ssrc_changes = state["ssrc_changes"]
        self.payload_type = state["payload_type"]
        if state["earlier"] != self._earlier:
            self.runs += 1
        self._take_seen(state)
        self._earlier = state["earlier"]
        self._offset = state["offset"]
        self._lowest = state["lowest"]
        self._highest = state["highest"]
        self._source = self._jitter.resume(self.ssrc, state)

    def _take_seen(self, state: Mapping[str, Any]) -> None:
        """Another counter remembers fewer numbers than there is room for here.

        What was known here of those below stays known, if nothing lies between.
        """
        seen, highest = state["seen"], state["highest"]
        known = max(seen.bit_length(), LEAST_KNOWN)
        ahead = highest - self._highest
        if state["earlier"] == self._earlier and 0 <= ahead <= known:
            self._catch_up()
            seen |= self._seen << ahead >> known << known & _WINDOW
        else:
            self.known_from = highest + 1 - known
        self._seen = seen
        self._unmarked = 0

    def goes_on(self, highest: int, received: int) -> bool:
        """Another counter has come so far in the present run: count along if nothing was missed.

        True where as many came as there are numbers. All but the jitter is then as if they had
        been heard here; else nothing is changed.
        """
        count = highest - self._highest
        if count < 0 or received - self.received != count:
            return False
        self._highest = highest
        self._unmarked += count
        self.received = received
        return True

    def jitters_on(
        self, last: float, peak: float, total: float, samples: int, of_source: int
    ) -> bool:
        """Another counter has measured on; names as in :meth:`resume`. False where that method has
        to be used, as sources have changed."""
        return self._jitter.goes_on(self._source, last, peak, total, samples, of_source)

    def heard(self, datagram: bytes, now: float) -> None:
        """Take one datagram into account; ``now`` is monotonic seconds. Raises nothing."""
        if len(datagram) >= FIXED_HEADER.size and self.follows(datagram, now):
            return
        header = peek(datagram)
        if header is None:
            self.errors += 1
            self.stray = datagram[:LONGEST_STRAY]
            self.stray_at = now
            keep(self.strays, now, self.stray)
            return
        payload_type, sequence, timestamp, ssrc, marker, _, _ = header
        self.payload_type = payload_type
        reset = False
        if ssrc != self.ssrc:
            self._change(ssrc)
            self._restart(sequence)
        else:
            reset = self._place(sequence + self._offset, sequence, marker)
        clock_rate = CLOCK_RATES.get(payload_type)
        if clock_rate is not None:
            self._source.heard(timestamp, now, clock_rate, reset)

    def follows(self, datagram: bytes | bytearray, now: float) -> bool:
        """Count the packet at the start of ``datagram`` if it is of the kind nearly all are.

        That is one with a plain header, payload type and source as before, and no marker. Of any
        other nothing is counted here, and the result is False. At least a whole fixed header
        must be there.
        """
        first, payload_type, sequence, timestamp, ssrc = _unpack(datagram)
        if first != PLAIN or ssrc != self.ssrc or payload_type != self.payload_type:
            return False
        number = sequence + self._offset
        reset = False
        if number == self._highest + 1:
            self._highest = number
            self._unmarked += 1
            self.received += 1
        else:
            reset = self._place(number, sequence, False)
        clock_rate = CLOCK_RATES.get(payload_type)
        if clock_rate is not None:
            self._source.heard(timestamp, now, clock_rate, reset)
        return True

    def keeps(self, header: int, step: int) -> bool:
        """Whether :meth:`paced` may count what follows the last packet heard.

        ``header`` is that packet's fixed header as a number, ``step`` how much later each of the
        next ones will be stamped than the one before.
        """
        payload_type = header >> 80 & 0x7F
        if (
            header >> 88 != PLAIN
            or payload_type != self.payload_type
            or header & _WORD != self.ssrc
            or (header >> 64 & _LAST) + self._offset != self._highest
        ):
            return False
        clock_rate = CLOCK_RATES.get(payload_type)
        return clock_rate is None or self._source.keeps(header >> 32 & _WORD, clock_rate, step)

    def paced(self, arrivals: Sequence[float], step: int) -> None:
        """Count packets that came at these times, each the next one of the one before.

        As so many calls of :meth:`follows` would; see :meth:`keeps`.
        """
        count = len(arrivals)
        self._highest += count
        self._unmarked += count
        self.received += count
        if self.payload_type is not None:
            clock_rate = CLOCK_RATES.get(self.payload_type)
            if clock_rate is not None:
                self._source.paced(arrivals, clock_rate, step)

    def _catch_up(self) -> None:
        """Mark what came in order; a shift for each packet would cost more than all the rest."""
        count, self._unmarked = self._unmarked, 0
        if count >= WINDOW_SIZE:
            self._seen = _WINDOW
        elif count:
            self._seen = (self._seen << count | (1 << count) - 1) & _WINDOW

    def _change(self, ssrc: int) -> None:
        self.ssrc = ssrc
        self.ssrc_changes += 1
        self._source = self._jitter.source(ssrc)

    def _restart(self, number: int) -> None:
        self._earlier = self.sent
        self._lowest = self._highest = number
        self._seen = 1
        self._unmarked = 0
        self.runs += 1
        self.known_from = -_CYCLE
        self.received += 1

    def _place(self, number: int, sequence: int, marker: bool) -> bool:
        """Count a packet that is not the next one; True where its timestamp may be reset."""
        highest = self._highest
        low_half = highest & _LAST
        if marker and number < highest and low_half != _LAST:
            self._restart(number)
            return True
        reset = number == 0 and low_half < JUST_STARTED
        if low_half < MAX_STEP and sequence > NEAR_WRAP:
            number = highest - low_half - _CYCLE + sequence
        elif highest > NEAR_WRAP and number < highest - NEAR_WRAP:
            self._offset += _CYCLE
            number += _CYCLE
        elif abs(number - highest) > MAX_STEP:
            self._restart(number)
            return reset
        self._mark(number)
        return reset

    def _mark(self, number: int) -> None:
        """Count ``number``, which is within the window, unless it has come before."""
        self._catch_up()
        ahead = number - self._highest
        if ahead > 0:
            self._highest = number
            self._seen = (self._seen << ahead | 1) & _WINDOW
            self.received += 1
            return
        bit = 1 << -ahead
        if self._seen & bit:
            self.duplicates += 1
            return
        self._seen |= bit
        self.reordered += 1
        if number < self._lowest:
            if self._offset:
                return
            self._lowest = number
        self.received += 1
