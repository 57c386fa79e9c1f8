"""Records in memory that outlives the process: whoever comes after a crash reads them.

The memory is a file of blocks. A record is a header and an octet string in a run of 1, 2, 4, 8 ...
blocks, and belongs to a number. A later record of the same number takes another run, and only when
it is whole the earlier one is given up: whenever the process dies, one of them is there. What is
damaged fails its checksum and is passed over, block by block, until the next header.
"""

from __future__ import annotations

import os
from binascii import crc32
from struct import Struct
from typing import NamedTuple

BLOCK = 512
"""Octets."""

LONGEST = 1 << 24
"""Octets of a record."""

MAGIC = b"RTWb"
HEADER = Struct("<4sIQQII")
"""Magic, checksum of all that follows, order of writing, number, length, size class."""

_CHECKED_FROM = 8

_NOTHING = bytes(_CHECKED_FROM)
"""In place of magic and checksum: the next record there, half written, must not revive this one."""


class Found(NamedTuple):
    """A record as it was found."""

    order: int
    """Higher: written later."""
    number: int
    octets: bytes


class Blocks:
    """Writes records into the empty file ``descriptor``, which stays its owner's."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._end = 0
        self._order = 0
        self._runs: dict[int, tuple[int, int]] = {}
        """By number: where its run begins, in octets, and its size class."""
        self._free: dict[int, list[int]] = {}

    @property
    def octets(self) -> int:
        """How long the file is."""
        return self._end

    def __len__(self) -> int:
        """How many numbers have a record."""
        return len(self._runs)

    def put(self, number: int, octets: bytes) -> None:
        """Write the record of ``number`` in place of the one before. Raises OSError, ValueError."""
        if len(octets) > LONGEST:
            raise ValueError(f"a record of {len(octets)} octets")
        needed = -(-(HEADER.size + len(octets)) // BLOCK)
        size = (needed - 1).bit_length()
        free = self._free.get(size)
        place = free.pop() if free else self._end
        self._order += 1
        header = HEADER.pack(MAGIC, 0, self._order, number, len(octets), size)
        checksum = crc32(octets, crc32(header[_CHECKED_FROM:]))
        header = HEADER.pack(MAGIC, checksum, self._order, number, len(octets), size)
        written = os.pwritev(self._descriptor, [header, octets], place)
        if written != len(header) + len(octets):
            raise OSError(f"only {written} octets of a record could be written")
        if place == self._end:
            self._end += BLOCK << size
        self.drop(number)
        self._runs[number] = place, size

    def drop(self, number: int) -> None:
        """There is no record of ``number`` any more. Idempotent."""
        run = self._runs.pop(number, None)
        if run is None:
            return
        place, size = run
        os.pwrite(self._descriptor, _NOTHING, place)
        self._free.setdefault(size, []).append(place)


def read(content: bytes) -> list[Found]:
    """The latest whole record of each number, in the order of writing. Pure, and never raises."""
    latest: dict[int, Found] = {}
    place, view = 0, memoryview(content)
    while place + HEADER.size <= len(content):
        found, blocks = _record(view, place)
        if found is not None:
            earlier = latest.get(found.number)
            if earlier is None or earlier.order < found.order:
                latest[found.number] = found
        place += BLOCK * blocks
    return sorted(latest.values())


def _record(view: memoryview, place: int) -> tuple[Found | None, int]:
    """The record that begins there, if any, and how many blocks to go on."""
    magic, checksum, order, number, length, size = HEADER.unpack_from(view, place)
    begin = place + HEADER.size
    if magic != MAGIC or length > LONGEST or begin + length > len(view) or size > 24:
        return None, 1
    octets = view[begin : begin + length]
    if crc32(octets, crc32(view[place + _CHECKED_FROM : begin])) != checksum:
        return None, 1
    return Found(order, number, bytes(octets)), 1 << size
