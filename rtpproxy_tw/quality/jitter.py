"""Interarrival jitter of one stream, as the original measures it (RFC 3550 sections 6.4.1, A.8).

The filter runs per SSRC, and only for payload types whose clock is known without the SDP. What
would say nothing about the network is no sample: a timestamp heard a moment ago (a
retransmission, or the event packets of RFC 4733, which share one), the first packet after a
sequence reset, a timestamp that jumps against the time elapsed.

One departure: when a source changes to a payload type with another clock, the original subtracts
arrival times in different units and reports the uptime of the machine. Such a packet is no
sample here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CLOCK_RATES = {
    0: 8000,  # PCMU
    3: 8000,  # GSM
    4: 8000,  # G723
    5: 8000,  # DVI4
    6: 16000,  # DVI4
    7: 8000,  # LPC
    8: 8000,  # PCMA
    9: 8000,  # G722: sampled at 16 kHz, but RFC 3551 section 4.5.2 keeps an old mistake
    10: 44100,  # L16, two channels
    11: 44100,  # L16
    12: 8000,  # QCELP
    13: 8000,  # CN
    14: 90000,  # MPA
    15: 8000,  # G728
    16: 11025,  # DVI4
    17: 22050,  # DVI4
    18: 8000,  # G729
}
"""Hz by static payload type (RFC 3551 table 4); the original measures no video."""

SOURCES_KEPT = 10
"""Further ones push out the oldest, so that changing the SSRC per packet costs no memory."""

TIMESTAMPS_KEPT = 10
"""How far back a repeated timestamp is recognised, in packets."""

GAIN = 1 / 16
"""Of the filter (RFC 3550 section 6.4.1)."""

STEP_BACK = 50
STEP_FORWARD = 1024
"""A timestamp step larger than so many times the elapsed time is a jump of the sender's clock."""

_CYCLE = 1 << 32


@dataclass(slots=True, eq=False)
class SourceJitter:
    """The filter for one SSRC. ``last``, ``peak`` and ``total`` are in timestamp ticks."""

    last: float = 0.0
    """The filter's output now."""
    peak: float = 0.0
    total: float = 0.0
    """The sum of its output over ``samples``."""
    samples: int = 0
    _recent: deque[int] = field(default_factory=lambda: deque(maxlen=TIMESTAMPS_KEPT))
    _greatest: int = -1
    """No recent timestamp is above it."""
    _clock_rate: int = 0
    _ticks: int = 0
    """When the packet before came, in ticks of its clock."""
    _timestamp: int = 0

    def heard(self, timestamp: int, now: float, clock_rate: int, reset: bool) -> None:
        """A packet stamped ``timestamp`` came at ``now`` (seconds); ``clock_rate`` is in Hz.

        ``reset``: the sequence numbers began anew with it, so its timestamp may have, too.
        """
        ticks = int(now * clock_rate)
        recent = self._recent
        if timestamp > self._greatest:
            # Nearly every packet: it cannot be among the recent ones.
            recent.append(timestamp)
            self._greatest = timestamp
            if clock_rate == self._clock_rate and not reset:
                self._sample(ticks - self._ticks, timestamp - self._timestamp)
        elif timestamp in recent:
            if self.samples:
                return
        else:
            recent.append(timestamp)
            self._greatest = max(recent)
            if clock_rate == self._clock_rate and not reset:
                self._sample(ticks - self._ticks, timestamp - self._timestamp)
        self._clock_rate = clock_rate
        self._ticks = ticks
        self._timestamp = timestamp

    def keeps(self, timestamp: int, clock_rate: int, step: int) -> bool:
        """Whether :meth:`paced` may follow a packet stamped ``timestamp``.

        With steps so small none of the samples can be a jump of the sender's clock.
        """
        return (
            0 < step <= STEP_FORWARD
            and timestamp == self._timestamp == self._greatest
            and clock_rate == self._clock_rate
        )

    def paced(self, arrivals: Sequence[float], clock_rate: int, step: int) -> None:
        """Packets came at these times, each stamped ``step`` ticks later than the one before.

        As so many calls of :meth:`heard` would, but in one loop; see :meth:`keeps`.
        """
        last, peak, total, gain = self.last, self.peak, self.total, GAIN
        # Whole numbers as floats, which are exact up to 2**53, and no calls: half the time.
        rate, later = float(clock_rate), float(step)
        due = self._ticks + later
        for now in arrivals:
            ticks = now * rate // 1.0
            off = ticks - due
            if off < 0.0:
                off = -off
            last += (off - last) * gain
            total += last
            if last > peak:
                peak = last
            due = ticks + later
        self._ticks, self.last, self.peak, self.total = int(due - later), last, peak, total
        self.samples += len(arrivals)
        first = self._timestamp + step
        self._timestamp = self._greatest = self._timestamp + step * len(arrivals)
        kept = max(first, self._timestamp - step * (TIMESTAMPS_KEPT - 1))
        self._recent.extend(range(kept, self._timestamp + 1, step))

    def snapshot(self) -> dict[str, Any]:
        """The last packets, as far as the next one is compared with them."""
        return {
            "clock_rate": self._clock_rate,
            "ticks": self._ticks,
            "timestamp": self._timestamp,
            "recent": tuple(self._recent),
        }

    @classmethod
    def resumed(cls, state: Mapping[str, Any]) -> SourceJitter:
        """A filter that goes on from ``state``."""
        made = cls(
            last=state["jitter_last"], peak=state["jitter_peak"], samples=state["source_samples"]
        )
        made._clock_rate = state["clock_rate"]
        made._ticks = state["ticks"]
        made._timestamp = state["timestamp"]
        made._recent.extend(state["recent"])
        made._greatest = max(made._recent, default=-1)
        return made

    def _sample(self, elapsed: int, step: int) -> None:
        if step < -_CYCLE // 2:
            step += _CYCLE
        elif elapsed and not -STEP_BACK * abs(elapsed) <= step <= STEP_FORWARD * abs(elapsed):
            return
        last = self.last
        self.last = last = last + (abs(elapsed - step) - last) * GAIN
        self.total += last
        self.samples += 1
        if last > self.peak:
            self.peak = last


@dataclass(slots=True, eq=False)
class Jitter:
    """The jitter of all sources a stream has had; 0 until one of them has two packets."""

    _sources: dict[int, SourceJitter] = field(default_factory=dict)
    _peak: float = 0.0
    """This and the next two: of the sources pushed out."""
    _total: float = 0.0
    _samples: int = 0

    def source(self, ssrc: int) -> SourceJitter:
        """The filter of ``ssrc``, a new one where it is unknown or forgotten."""
        found = self._sources.get(ssrc)
        if found is None:
            if len(self._sources) == SOURCES_KEPT:
                self._forget(next(iter(self._sources)))
            found = self._sources[ssrc] = SourceJitter()
        return found

    def snapshot(self, source: SourceJitter) -> dict[str, Any]:
        """What the filter of ``source``, the current one, and the figures need to go on."""
        kept = self._sources.values()
        return {
            "jitter_last": source.last,
            "jitter_peak": self.peak,
            "jitter_total": sum((each.total for each in kept), self._total),
            "jitter_samples": sum((each.samples for each in kept), self._samples),
            "source_samples": source.samples,
            **source.snapshot(),
        }

    def resume(self, ssrc: int | None, state: Mapping[str, Any]) -> SourceJitter:
        """Go on from ``state``; the result is the filter of ``ssrc``. Others begin anew."""
        source = SourceJitter.resumed(state)
        if state["jitter_samples"] and not source.samples:
            # The present one has shown nothing yet; until then it is told what others have shown.
            earlier = SourceJitter(
                last=self.last,
                peak=state["jitter_peak"],
                total=state["jitter_total"],
                samples=state["jitter_samples"],
            )
            # Under an SSRC that is not the present one; should it really come, it goes on there.
            self._sources = {0 if ssrc else 1: earlier}
            if ssrc is not None:
                self._sources[ssrc] = source
            self._peak = self._total = 0.0
            self._samples = 0
            return source
        # Only sums over all sources are known, so all that was measured counts as this one's.
        source.total = state["jitter_total"] if source.samples else 0.0
        self._sources = {} if ssrc is None else {ssrc: source}
        self._peak = state["jitter_peak"]
        self._total = state["jitter_total"] - source.total
        self._samples = state["jitter_samples"] - source.samples
        return source

    def goes_on(
        self,
        source: SourceJitter,
        last: float,
        peak: float,
        total: float,
        samples: int,
        of_source: int,
    ) -> bool:
        """As :meth:`resume` for ``source``, the current one, from which nothing has changed. False
        where others have to be told from it; nothing is changed then.

        The packets that the next one is compared with stay those of before: what counts itself
        again must resume.
        """
        if len(self._sources) != 1 or not source.samples:
            return False
        source.last, source.peak, source.total, source.samples = last, peak, total, of_source
        self._peak, self._total, self._samples = peak, 0.0, samples - of_source
        return True

    def _forget(self, ssrc: int) -> None:
        gone = self._sources.pop(ssrc)
        self._peak = max(self._peak, gone.peak)
        self._total += gone.total
        self._samples += gone.samples

    def _measured(self) -> list[SourceJitter]:
        """The sources kept that have samples, newest first."""
        return [source for source in reversed(self._sources.values()) if source.samples]

    @property
    def last(self) -> float:
        """The filter's output for the newest source, in timestamp ticks."""
        for source in reversed(self._sources.values()):
            if source.samples:
                return source.last
        return 0.0

    @property
    def peak(self) -> float:
        """Its largest output for any source, in timestamp ticks."""
        measured = self._measured()
        return max(self._peak, *(source.peak for source in measured)) if measured else 0.0

    @property
    def mean(self) -> float:
        """The mean of its output over all samples of all sources, in timestamp ticks."""
        measured = self._measured()
        if not measured:
            return 0.0
        total = sum((source.total for source in measured), self._total)
        return total / sum((source.samples for source in measured), self._samples)
