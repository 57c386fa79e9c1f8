"""Where in time the packets of one party belong, once all of them are known.

Within a *stretch* positions follow the RTP timestamps, which know nothing of the network. Where
a stretch begins follows from arrival: no packet arrives before it was sent, so the least delayed
of its first packets tells when it began. Arrival begins another stretch, too, where timestamps
stay behind it or run ahead of it for good: the sender stopped counting while on hold, counted
anew, or its clock has drifted away. A packet that is merely late begins none: those after it
catch up.

Packets are ordered by sequence number (RFC 3550 section 5.1) within a *run*: one SSRC counting
upwards without a leap. What came twice is taken once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rtpproxy_tw.rtp import Header, peek

MAX_DROPOUT = 3000
MAX_MISORDER = 100
"""A number further ahead or behind begins another run (RFC 3550 section A.1)."""

TOLERANCE = 0.2
"""Seconds by which timestamps and arrival may disagree for good. Less would make a step of every
change of the network's delay, more would be heard as one party answering before the other asked."""

LOOK_AHEAD = 1.0
"""Seconds of arrival within which a packet that was not delayed is expected. What a network that
stalled delivers at once arrives within no time."""

LOOK_AT_MOST = 500
"""Packets looked at for it."""

LEAP = 0.5
"""Seconds that packets cannot gain on the one before: its timestamps are of another count."""

DEFAULT_CLOCK = 8000

_HALF, _ALL = 1 << 31, (1 << 32) - 1


class Piece(NamedTuple):
    """A payload, so many clock ticks after the beginning of its stretch."""

    ticks: int
    payload: bytes


@dataclass(slots=True)
class Stretch:
    """Packets with one SSRC and one payload type whose distances the timestamps tell.

    ``start`` is seconds since the epoch, ``clock`` ticks in a second.
    """

    start: float
    clock: int
    payload_type: int
    ssrc: int
    pieces: list[Piece] = field(default_factory=list)


class Loss(NamedTuple):
    """``packets`` that never came, from ``start`` (seconds since the epoch) on."""

    start: float
    seconds: float
    packets: int


@dataclass(slots=True)
class Placement:
    """All of one party, in order."""

    stretches: list[Stretch] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    packets: int = 0
    """How many RTP packets there are."""
    duplicates: int = 0
    reordered: int = 0
    other: int = 0
    """How many datagrams are not RTP."""

    @property
    def lost(self) -> int:
        """How many packets never came."""
        return sum(loss.packets for loss in self.losses)

    @property
    def ssrcs(self) -> list[int]:
        """In order of appearance."""
        return list(dict.fromkeys(stretch.ssrc for stretch in self.stretches))


class _Heard(NamedTuple):
    when: float
    header: Header
    payload: bytes


@dataclass(slots=True)
class _Run:
    """What one SSRC sent between two leaps, by extended sequence number."""

    latest: int
    packets: dict[int, _Heard] = field(default_factory=dict)


def place(
    heard: Iterable[tuple[float, bytes]], clocks: Mapping[int, int] | None = None
) -> Placement:
    """Place datagrams, given with their arrival in seconds since the epoch, in order of arrival.

    ``clocks`` has the ticks in a second of payload types that do not have DEFAULT_CLOCK.
    """
    placement = Placement()
    for run in _runs(heard, placement):
        _Anchoring(run, clocks or {}, placement).anchor()
    placement.stretches.sort(key=lambda stretch: stretch.start)
    placement.losses.sort()
    return placement


def _runs(heard: Iterable[tuple[float, bytes]], placement: Placement) -> list[_Run]:
    runs: list[_Run] = []
    current: dict[int, _Run] = {}
    for when, datagram in heard:
        header = peek(datagram)
        if header is None:
            placement.other += 1
            continue
        placement.packets += 1
        packet = _Heard(when, header, datagram[header.start : header.end])
        run = current.get(header.ssrc)
        if run is None or not _take(run, packet, placement):
            run = current[header.ssrc] = _Run(header.sequence, {header.sequence: packet})
            runs.append(run)
    return runs


def _take(run: _Run, packet: _Heard, placement: Placement) -> bool:
    """Whether ``packet`` is of ``run``; it is added then."""
    header = packet.header
    step = (header.sequence - run.latest + 0x8000 & 0xFFFF) - 0x8000
    if not -MAX_MISORDER < step < MAX_DROPOUT:
        return False
    number = run.latest + step
    known = run.packets.get(number)
    if known is not None:
        if known.header.timestamp != header.timestamp:
            return False  # the sender began anew, close to where it was
        placement.duplicates += 1
        return True
    run.packets[number] = packet
    if step > 0:
        run.latest = number
    else:
        placement.reordered += 1
    return True


class _Anchoring:
    """Turns one run into stretches."""

    def __init__(self, run: _Run, clocks: Mapping[int, int], placement: Placement) -> None:
        self._clocks = clocks
        self._placement = placement
        self._numbers = sorted(run.packets)
        self._packets = [run.packets[number] for number in self._numbers]
        self._ticks: list[int] = []
        self._sent: list[float] = []
        """Seconds by the timestamps, since the run's first packet."""
        self._late: list[float] = []
        """Arrival less that: grows when a packet is delayed."""

    def anchor(self) -> None:
        """Do it."""
        self._count()
        stretch: Stretch | None = None
        anchor = first = 0.0
        for index, packet in enumerate(self._packets):
            header, late = packet.header, self._late[index]
            if index == 0 or abs(late - anchor) > TOLERANCE:
                least = self._least(index)
                # Late, and so are all that follow; or earlier than can be.
                if index == 0 or least - anchor > TOLERANCE or late < anchor:
                    anchor, stretch = least, None
            if (
                stretch is None
                or stretch.payload_type != header.payload_type
                or stretch.clock != self._clock(header)
            ):
                start = anchor + self._sent[index]
                stretch = Stretch(start, self._clock(header), header.payload_type, header.ssrc)
                self._placement.stretches.append(stretch)
                first = self._ticks[index]
            stretch.pieces.append(Piece(int(self._ticks[index] - first), packet.payload))
            self._note_loss(index, anchor)

    def _clock(self, header: Header) -> int:
        return self._clocks.get(header.payload_type, DEFAULT_CLOCK)

    def _count(self) -> None:
        """Follow the timestamps from the first packet on."""
        ticks, sent, before = 0, 0.0, self._packets[0].header.timestamp
        for when, header, _ in self._packets:
            step = (header.timestamp - before + _HALF & _ALL) - _HALF
            before = header.timestamp
            ticks += step
            sent += step / self._clock(header)
            self._ticks.append(ticks)
            self._sent.append(sent)
            self._late.append(when - sent)

    def _least(self, index: int) -> float:
        """The least delay among the next packets that have the same count of timestamps."""
        late = self._late
        least = before = late[index]
        until = self._packets[index].when + LOOK_AHEAD
        for ahead, each in enumerate(late[index + 1 : index + LOOK_AT_MOST], index + 1):
            if each < before - LEAP or self._packets[ahead].when > until:
                break
            least, before = min(least, each), each
        return least

    def _note_loss(self, index: int, anchor: float) -> None:
        """Numbers missing before ``index`` were lost, somewhere after the packet before it."""
        missing = self._numbers[index] - self._numbers[index - 1] - 1 if index else 0
        if missing <= 0:
            return
        before, here = self._sent[index - 1], self._sent[index]
        apart = max(0.0, here - before) / (missing + 1)
        self._placement.losses.append(Loss(anchor + before + apart, apart * missing, missing))
