"""What became of all flows with RTP since the last time, told in one pass.

Nearly all that relayed calls do is to go on, each packet the next one of the one before. To find
those that do anything else, their figures are compared with those of a second ago, a column of
numbers at a time, so that a flow takes a fraction of a microsecond. Pure.

==========  ====================================================================================
goes on     as many packets as numbers, and as many of them received; nothing unusual counted;
            source and payload type as before; or no packet at all, where none had come before
stirred     anything else, or may be: a flow that is new in its slot, a packet under way meanwhile
counted     how many of a flow's packets are in some total already
==========  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import eq, sub

from rtpproxy_tw.media.kernel import layout
from rtpproxy_tw.media.kernel.path import (
    HIGHEST,
    PACKETS,
    RECEIVED,
    FlowId,
    Glance,
    Surveyed,
    Upto,
    only_goes_on,
)

PORTION = 1_024
"""Slots looked at in one go: a fraction of a millisecond."""

FLOWS = 128
"""Flows looked at in one go where each has to be asked: the same."""

_WORDS = layout.SLOT_SIZE // 8
_COLUMNS = layout.PACKETS, layout.HIGHEST, layout.RECEIVED, layout.UNUSUAL, layout.SOURCE
_SIGN, _WRAP = 1 << 63, 1 << 64

Columns = tuple[Sequence[int], ...]


class SlotSurvey:
    """Of slots in ``words``, a table's memory as words of eight octets."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        # All is copied first: columns read one after the other would differ by the packets that
        # came meanwhile.
        self._copy = memoryview(bytearray(PORTION * layout.SLOT_SIZE)).cast("Q")
        self._counted: list[int] = []
        self._packets: list[int] = []
        """As of the last survey."""
        self._skipped: set[int] = set()
        self._portions: dict[int, Columns] = {}
        """By its first slot: columns that do not change where all goes on. How far the highest
        number is ahead of packets, and what was received; what is unusual; source; stillness."""

    def look(self) -> Iterator[tuple[int, dict[int, Upto]]]:
        """A portion for each step: packets not counted before, and how far flows had gone on that
        then were stirred, by slot."""
        for start in range(0, len(self._counted), PORTION):
            yield self._look(start, min(start + PORTION, len(self._counted)))

    def _look(self, start: int, stop: int) -> tuple[int, dict[int, Upto]]:
        words = (stop - start) * _WORDS
        self._copy[:words] = self._words[start * _WORDS : stop * _WORDS]
        packets, highest, received, unusual, source = (
            self._copy[word:words:_WORDS].tolist() for word in _COLUMNS
        )
        fresh = self._count(start, packets)
        before = self._packets[start:stop]
        self._packets[start:stop] = packets
        still = list(map(eq, packets, before))
        old = self._portions.get(start, ((),) * 5)
        self._portions[start] = new = (
            *(list(map(sub, highest, packets)), list(map(sub, received, packets))),
            *(unusual, source, still),
        )
        stirred = set[int]().union(*map(_differing, new, old))
        return fresh, {start + at: _upto(at, old, before) for at in stirred}

    def _count(self, start: int, packets: list[int]) -> int:
        """Let all of these be counted; how many were not."""
        stop = start + len(packets)
        fresh = sum(packets) - sum(self._counted[start:stop])
        for slot in self._skipped:
            if start <= slot < stop:
                fresh -= packets[slot - start] - self._counted[slot]
        self._counted[start:stop] = packets
        return fresh

    def begin(self, slot: int) -> None:
        """There is a flow with RTP, of which nothing is counted."""
        missing = slot + 1 - len(self._counted)
        if missing > 0:
            self._counted += [0] * missing
            self._packets += [0] * missing
        self._counted[slot] = self._packets[slot] = 0
        self._skipped.discard(slot)

    def skip(self, slot: int) -> None:
        """There is a flow that nobody wants to have counted, until it begins or is counted."""
        self.begin(slot)
        self._skipped.add(slot)

    def count(self, slot: int, packets: int) -> int:
        """Let so many of the flow's packets be counted; how many more that is than there were."""
        more = packets - self._counted[slot]
        self._counted[slot] = packets
        self._skipped.discard(slot)
        return more


def _differing(now: Sequence[int], then: Sequence[int]) -> set[int]:
    """Places that were not there then, or had another number. Nearly always there are none."""
    if now == then:
        return set()
    both = enumerate(zip(now, then, strict=False))
    return {at for at, (new, old) in both if new != old} | {*range(len(then), len(now))}


def _upto(at: int, old: Columns, packets: list[int]) -> Upto:
    ahead, received, *_ = old
    if at >= len(ahead):
        return Upto()
    highest = (ahead[at] + packets[at]) % _WRAP
    return Upto(highest - _WRAP if highest & _SIGN else highest, received[at] + packets[at])


class GlanceSurvey:
    """Of flows that are asked one by one, for paths whose figures are no columns of memory."""

    def __init__(self) -> None:
        self._counted: dict[FlowId, int] = {}
        self._known: dict[FlowId, tuple[Glance, bool]] = {}
        """What was told, and whether there had been packets."""

    def look(
        self, flows: Iterable[FlowId], glance: Callable[[FlowId], Glance | None]
    ) -> Iterator[Surveyed]:
        """See KernelPath.survey: of these flows; of one that is no more there is no glance."""
        listed = list(flows)
        for start in range(0, len(listed), FLOWS):
            fresh, stirred = 0, dict[FlowId, Upto]()
            for id in listed[start : start + FLOWS]:
                after = glance(id)
                if after is None:
                    continue
                fresh += self.count(id, after[PACKETS])
                before, moved = self._known.get(id, ((), True))
                moves = after[PACKETS] != (before[PACKETS] if before else 0)
                self._known[id] = after, moves
                if moves != moved or not only_goes_on(before, after):
                    stirred[id] = Upto(before[HIGHEST], before[RECEIVED]) if before else Upto()
            yield Surveyed(fresh, stirred)

    def count(self, id: FlowId, packets: int) -> int:
        """See KernelPath."""
        more = packets - self._counted.get(id, 0)
        self._counted[id] = packets
        return more

    def forget(self, id: FlowId) -> None:
        """The flow is no more."""
        self._counted.pop(id, None)
        self._known.pop(id, None)
