"""The rings of a relay before us: written by it when another one goes on, read when somebody asks.

They are in a file in memory, a block for each session: its head (a line of JSON), which source each
slot is from, and the slots as they are in the ring.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from struct import Struct
from typing import Any

from rtpproxy_tw.recording.trace import SLOT, Packet, Place, Ring, packets_of

MOST_OCTETS = 1 << 26
"""Of all rings together: 1,500 sessions with five seconds each. Further ones begin anew."""

LONGEST_HEAD = 1 << 16
MOST_SLOTS = 1 << 20
MOST_SOURCES = 255

_SIZES = Struct("=II")
"""Octets of the head, number of slots."""

_Block = tuple[dict[str, Any], int, int]
"""Head, number of slots, and where what follows the head begins."""


def write(descriptor: int, call_id: str, ring: Ring) -> bool:
    """Append ``ring`` to the file; False where there is no room for it. Raises OSError."""
    block = _block(call_id, ring)
    if block is None or os.fstat(descriptor).st_size + len(block) > MOST_OCTETS:
        return False
    return os.write(descriptor, block) == len(block)


def _block(call_id: str, ring: Ring) -> bytes | None:
    numbers: dict[Any, int] = {}
    index = [numbers.setdefault(source, len(numbers)) for source in ring.sources]
    if len(numbers) > MOST_SOURCES:  # a flood from everywhere
        return None
    head = json.dumps(
        {
            "call": call_id,
            "at": ring.at,
            "wrapped": ring.wrapped,
            "places": [[place.host, place.port] for place in ring.places],
            "sources": list(numbers),
        }
    ).encode("ascii")
    if len(head) > LONGEST_HEAD:
        return None
    return b"".join((_SIZES.pack(len(head), len(index)), head, bytes(index), ring.octets))


class FormerRings:
    """What is in the file ``descriptor``, which is ours from now on.

    ``shift`` is what our clock is ahead of the one of the relay before.
    """

    def __init__(self, descriptor: int, shift: float) -> None:
        self._descriptor = descriptor
        self._shift = shift

    def close(self) -> None:
        """Forget all. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def packets(self, call_id: str) -> Iterator[list[Packet]]:
        """Of each ring of that call, oldest first; what is damaged is left out."""
        for head, slots, begin in self._blocks():
            if head.get("call") == call_id:
                # Numbers that lead nowhere, or are none.
                with suppress(ValueError, LookupError, TypeError):
                    found = self._read(head, slots, begin)
                    if found:
                        yield found

    def _blocks(self) -> Iterator[_Block]:
        at = 0
        while len(sizes := self._at(at, _SIZES.size)) == _SIZES.size:
            length, slots = _SIZES.unpack(sizes)
            if length > LONGEST_HEAD or slots > MOST_SLOTS:
                return
            begin = at + _SIZES.size + length
            with suppress(ValueError):
                head = json.loads(self._at(begin - length, length))
                if type(head) is dict:
                    yield head, slots, begin
            at = begin + slots * (1 + SLOT)

    def _read(self, head: dict[str, Any], slots: int, begin: int) -> list[Packet]:
        content = self._at(begin, slots * (1 + SLOT))
        if len(content) < slots * (1 + SLOT):
            return []  # still being written
        known = [each if each is None else (str(each[0]), int(each[1])) for each in head["sources"]]
        sources = [known[number] for number in content[:slots]]
        places = [Place(None, host, int(port)) for host, port in head["places"]]
        first = int(head["at"]) if head["wrapped"] else 0
        count = slots if head["wrapped"] else int(head["at"])
        found = packets_of(content[slots:], sources, places, range(first, first + count))
        return [
            (when + self._shift, place, source, octets, length)
            for when, place, source, octets, length in found
        ]

    def _at(self, place: int, octets: int) -> bytes:
        return os.pread(self._descriptor, octets, place) if self._descriptor >= 0 else b""
