"""Reading the ring into which the program copies tapped datagrams.

The kernel maps a ring as a page with the reader's position, a page with the writer's, and the data
twice in a row, so that a record that wraps can be read in one piece. Positions only ever grow; a
record is preceded by its length, whose upper bits say "not finished yet" and "discarded".
"""

from __future__ import annotations

import mmap
from struct import Struct

from rtpproxy_tw.media.kernel import layout
from rtpproxy_tw.media.kernel.bpf_syscall import Map

_BUSY = 1 << 31
_DISCARDED = 1 << 30
_HEADER = 8
_SMALL = Struct(f"<{_HEADER}xQII{layout.SMALL - layout.RECORD.size}s")
"""A record of the usual size as a whole; several of them are taken apart at once."""

MOST = 64
"""So many at most, as what is behind the first one of another size was looked at in vain."""

Copy = tuple[int, int, bytes]
"""The serial number of the flow, when in ns, the datagram."""


class Ring:
    """The only reader of a ring of so many octets (a power of two)."""

    def __init__(self, ring: Map, octets: int) -> None:
        """Raises OSError."""
        page = mmap.PAGESIZE
        self._mask = octets - 1
        self._mine = mmap.mmap(ring.descriptor, page)
        self._theirs = mmap.mmap(
            ring.descriptor, page + 2 * octets, prot=mmap.PROT_READ, offset=page
        )
        self._reader = memoryview(self._mine).cast("Q")
        whole = memoryview(self._theirs)
        self._writer = whole[:page].cast("Q")
        self._lengths = whole[page:].cast("I")
        self._whole = whole

    def read(self) -> list[Copy]:
        """What had been copied by now, oldest first. The kernel may write there again."""
        copies: list[Copy] = []
        position, end, mask = self._reader[0], self._writer[0], self._mask
        lengths, octets, unpack = self._lengths, self._theirs, layout.RECORD.unpack_from
        while position < end:
            at = position & mask
            length = lengths[at >> 2]
            if length == layout.SMALL:
                alike = self._alike(at, end - position)
                first = mmap.PAGESIZE + at
                several = self._whole[first : first + alike * _SMALL.size]
                copies += [
                    (serial, ns, data[:size])
                    for ns, serial, size, data in _SMALL.iter_unpack(several)
                ]
                position += alike * _SMALL.size
                continue
            if length & _BUSY:
                break
            if length & _DISCARDED:
                length ^= _DISCARDED
            else:
                start = mmap.PAGESIZE + at + _HEADER
                ns, serial, size = unpack(octets, start)
                start += layout.RECORD.size
                copies.append((serial, ns, octets[start : start + size]))
            position += _HEADER + (length + 7 & ~7)
        self._reader[0] = position
        return copies

    def _alike(self, at: int, octets: int) -> int:
        """How many finished records of the usual size lie one after the other from there on."""
        most = min(MOST, octets // _SMALL.size)
        step = _SMALL.size >> 2
        found = self._lengths[at >> 2 : (at >> 2) + most * step : step].tolist()
        if found.count(layout.SMALL) == most:
            return most
        return next(n for n, length in enumerate(found) if length != layout.SMALL)

    def close(self) -> None:
        """Unmap."""
        for view in (self._reader, self._writer, self._lengths, self._whole):
            view.release()
        self._mine.close()
        self._theirs.close()
