"""The flows as the program sees them: slots, the table that finds them, the ports they take.

A slot's description is only written while ``live`` is 0 and nobody is ``busy`` in it (see
relay.bpf.c), so the program never acts on half of one, and counters read after that are final.
The word ``busy`` belongs to the program alone, even in a free slot.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from struct import Struct

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.media.kernel import layout
from rtpproxy_tw.media.kernel.bpf_syscall import Map
from rtpproxy_tw.media.kernel.path import Brief, Glance, RtpState, Traffic, Upto
from rtpproxy_tw.media.kernel.survey import SlotSurvey

FOR_EVER = (1 << 64) - 1

_WORDS = layout.SLOT_SIZE // 8
_SHORT_WORDS = layout.SLOT_SIZE // 4

_REST_WORDS = layout.REST_SIZE // 8

_traffic = layout.TRAFFIC.unpack_from
_glance = layout.GLANCE.unpack_from
_brief = layout.BRIEF.unpack_from
_make = tuple.__new__
_flags = Struct("<H").unpack_from


READ_TRIES = 64

WAIT_TRIES = 200_000
"""Some tenths of a second: longer than any packet is under way, and an end to waiting."""


class Full(Exception):
    """No slot is left."""


class Table:
    """Slots and what leads to them. Not thread-safe; the program runs beside it all the same."""

    def __init__(self, maps: Mapping[str, Map], capacity: int) -> None:
        """Raises OSError."""
        self._flows = maps["flows"]
        self._memory = maps["slots"].map()
        self._words = memoryview(self._memory).cast("Q")
        self._rest_memory = maps["rests"].map()
        self._rest_words = memoryview(self._rest_memory).cast("Q")
        self._short_words = memoryview(self._memory).cast("I")
        self._port_memory = maps["ports"].map()
        self._ports = memoryview(self._port_memory).cast("H")
        self._state_memory = maps["state"].map()
        self._state = memoryview(self._state_memory).cast("Q")
        self._free = deque(range(capacity))
        """Flows with RTP take from the left end, others from the right: where those that have
        packets all the time are close together, they share pages of memory."""
        self._locals: dict[int, Address] = {}
        self._stuck: dict[bytes, int] = {}
        """Slots that the program still finds, by the key that could not be deleted."""
        self._survey = SlotSurvey(self._words)
        self._counted: dict[int, int] = {}
        """Packets of flows without RTP that are counted, by slot."""
        self._takers: dict[int, set[int]] = {}
        """Slots by their place in the table of ports."""

    def serve_until(self, ns: int) -> None:
        """Let the program relay until then (CLOCK_MONOTONIC), as long as it hears no more."""
        self._state[0] = ns

    def vouch_until(self, ns: int) -> None:
        """Until then (CLOCK_MONOTONIC) neighbours are where :mod:`hops` says."""
        self._state[1] = ns

    def survey(self) -> dict[Address, int]:
        """The flows that a process before us has put there, and their slots, which are ours now."""
        found = {}
        for slot in range(len(self._words) // _WORDS):
            if self._words[slot * _WORDS + layout.LIVE] and slot not in self._locals:
                local = layout.unpack_local(self._whole(slot))
                found[local] = slot
                self._locals[slot] = local
                self._take_port(local, slot)
                self._survey.skip(slot)
        self._free = deque(slot for slot in self._free if slot not in self._locals)
        return found

    def put(self, local: Address, description: layout.Halves, rtp: RtpState) -> int:
        """Carry a flow; the number of its slot. Raises Full or OSError."""
        for stuck in list(self._stuck):
            self._unname(stuck, self._stuck.pop(stuck))
        if not self._free:
            raise Full
        (flags,) = _flags(description.slot, layout.FLAGS_AT - layout.DESCRIPTION_AT)
        slot = self._free.popleft() if flags & layout.RTP_FLAG else self._free.pop()
        self._fill(slot, description, rtp)
        key = layout.pack_key(local)
        try:
            self._flows[key] = slot.to_bytes(4, "little")
        except OSError as error:
            self._release(slot)
            if error.errno in (errno.E2BIG, errno.ENOMEM):
                raise Full from None
            raise
        if key in self._stuck:
            self._release(self._stuck.pop(key))
        self._words[slot * _WORDS + layout.LIVE] = 1
        self._locals[slot] = local
        self._take_port(local, slot)
        self.begin(slot)
        return slot

    def _fill(self, slot: int, description: layout.Halves, rtp: RtpState) -> None:
        """Write a whole slot, but for its first two words."""
        statistics = layout.pack_rtp(rtp)
        start, rest = slot * layout.SLOT_SIZE, slot * layout.REST_SIZE
        counters = bytes(layout.RTP_AT - layout.DESCRIPTION_AT - layout.DESCRIPTION.size)
        near = description.slot + counters + statistics.slot
        far = description.rest + bytes(layout.REST_COUNTERS.size) + statistics.rest
        self._memory[start + layout.DESCRIPTION_AT : start + layout.DESCRIPTION_AT + len(near)] = (
            near
        )
        self._rest_memory[rest : rest + len(far)] = far
        self._hold(slot)

    def remove(self, slot: int) -> bytes:
        """Stop carrying; the whole slot, which is final."""
        local = self._locals.pop(slot)
        self._words[slot * _WORDS + layout.LIVE] = 0
        self._leave_port(local, slot)
        self._unname(layout.pack_key(local), slot)
        self._wait(slot)
        self._counted.pop(slot, None)
        if self._flags(slot) & layout.RTP_FLAG:
            # What nobody has counted by now is told by the figures that are returned.
            self._survey.count(slot, self._words[slot * _WORDS + layout.PACKETS])
        return self._whole(slot)

    def begin(self, slot: int) -> None:
        """The flow there is ours, and nothing of it is counted."""
        if self._flags(slot) & layout.RTP_FLAG:
            self._survey.begin(slot)

    def look(self) -> Iterator[tuple[int, dict[int, Upto]]]:
        """See KernelPath.survey, with slots instead of flows."""
        return self._survey.look()

    def count(self, slot: int, packets: int) -> int:
        """See KernelPath."""
        if self._flags(slot) & layout.RTP_FLAG:
            return self._survey.count(slot, packets)
        more = packets - self._counted.get(slot, 0)
        self._counted[slot] = packets
        return more

    def brief(self, slot: int) -> Brief:
        """See KernelPath."""
        words = _brief(self._memory, slot * layout.SLOT_SIZE)
        unit = layout.JITTER_UNIT
        last, peak, total = words[5] / unit, words[6] / unit, words[7] / unit
        return _make(Brief, (*words[:5], last, peak, total, *words[8:]))

    def _whole(self, slot: int) -> bytes:
        """As it is now."""
        start, rest = slot * layout.SLOT_SIZE, slot * layout.REST_SIZE
        return (
            self._memory[start : start + layout.SLOT_SIZE]
            + self._rest_memory[rest : rest + layout.REST_SIZE]
        )

    def _flags(self, slot: int) -> int:
        flags: int = _flags(self._memory, slot * layout.SLOT_SIZE + layout.FLAGS_AT)[0]
        return flags

    def _unname(self, key: bytes, slot: int) -> None:
        """Let ``key`` lead to the slot no more, which then is free."""
        try:
            del self._flows[key]
        except KeyError:
            pass
        except OSError:
            # Whatever flow had the slot next would be found by this key, too.
            self._stuck[key] = slot
            return
        self._release(slot)

    def _release(self, slot: int) -> None:
        """The slot is free, and the next one to be used again."""
        if self._flags(slot) & layout.RTP_FLAG:
            self._free.appendleft(slot)
        else:
            self._free.append(slot)

    def change(self, slot: int, description: layout.Halves) -> None:
        """Put another description; datagrams that come in the meantime go to the socket."""
        self._words[slot * _WORDS + layout.LIVE] = 0
        os.getppid()  # any system call: see relay.bpf.c on reordered stores
        self._wait(slot)
        start, rest = slot * layout.SLOT_SIZE + layout.DESCRIPTION_AT, slot * layout.REST_SIZE
        self._memory[start : start + len(description.slot)] = description.slot
        self._rest_memory[rest : rest + len(description.rest)] = description.rest
        self._hold(slot)
        self._words[slot * _WORDS + layout.LIVE] = 1

    def point(self, slot: int, place: int) -> None:
        """Let the slot, whose description stays, be of the neighbour there; packets may come."""
        self._short_words[slot * _SHORT_WORDS + layout.HOP_AT // 4] = place

    def _hold(self, slot: int) -> None:
        """An ordered flow begins with what may still be on its way to the socket."""
        self._words[slot * _WORDS + layout.PASSED] = 0
        self._rest_words[slot * _REST_WORDS + layout.PRINT] = 0
        held = bool(self._flags(slot) & layout.ORDERED_FLAG)
        self._short_words[slot * _SHORT_WORDS + layout.HELD_AT // 4] = held

    def is_held(self, slot: int) -> bool:
        """Whether all goes up to the socket until :meth:`passed`."""
        return bool(self._short_words[slot * _SHORT_WORDS + layout.HELD_AT // 4] & 0xFFFF)

    def passed(self, slot: int, datagram: bytes, rtp: RtpState | None) -> None:
        """The socket has sent on ``datagram``; ``rtp``: statistics to go on from after it.

        As long as the flow is held for a later one, nobody reads what is written here.
        """
        if rtp is not None:
            near, far = layout.pack_rtp(rtp)
            start = slot * layout.SLOT_SIZE + layout.RTP_AT
            self._memory[start : start + len(near)] = near
            start = slot * layout.REST_SIZE + layout.REST_RTP_AT
            self._rest_memory[start : start + len(far)] = far
            os.getppid()  # any system call: see relay.bpf.c on reordered stores
        self._words[slot * _WORDS + layout.PASSED] = layout.print_of(datagram)

    def read(self, slot: int) -> bytes:
        """The whole slot, its counters consistent unless packets never stop coming."""
        words, base = self._words, slot * _WORDS
        content = b""
        for _ in range(READ_TRIES):
            before = words[base + layout.PACKETS]
            idle = not words[base + layout.BUSY]
            content = self._whole(slot)
            if idle and not words[base + layout.BUSY] and words[base + layout.PACKETS] == before:
                break
        return content

    def traffic(self, slot: int) -> Traffic:
        """The three counters that every packet moves."""
        return _make(Traffic, _traffic(self._memory, slot * layout.SLOT_SIZE))

    def glancer(self, slot: int) -> Callable[[], Glance]:
        """See KernelPath. A packet under way may be in some of it only."""
        return partial(_glance, self._memory, slot * layout.SLOT_SIZE)

    def slots(self) -> tuple[int, ...]:
        """Those in use."""
        return tuple(self._locals)

    def close(self) -> None:
        """Unmap. Idempotent."""
        self._short_words.release()
        for view, memory in (
            (self._words, self._memory),
            (self._rest_words, self._rest_memory),
            (self._ports, self._port_memory),
            (self._state, self._state_memory),
        ):
            view.release()
            memory.close()

    def _wait(self, slot: int) -> None:
        """Until no packet is under way in the slot.

        That takes well below a microsecond, unless a hypervisor has taken the processor away.
        """
        busy = slot * _WORDS + layout.BUSY
        for _ in range(WAIT_TRIES):
            if not self._words[busy]:
                return
            os.sched_yield()

    def _take_port(self, local: Address, slot: int) -> None:
        place = layout.port_place(local)
        self._takers.setdefault(place, set()).add(slot)
        self._tell_port(place)

    def _leave_port(self, local: Address, slot: int) -> None:
        place = layout.port_place(local)
        takers = self._takers[place]
        takers.discard(slot)
        if not takers:
            del self._takers[place]
        self._tell_port(place)

    def _tell_port(self, place: int) -> None:
        """One flow is found by its port alone, which spares the program a look into a table."""
        takers = self._takers.get(place, ())
        number = sum(slot + 1 for slot in takers)
        alone = len(takers) < 2 and number < layout.SEVERAL
        self._ports[place] = number if alone else layout.SEVERAL
