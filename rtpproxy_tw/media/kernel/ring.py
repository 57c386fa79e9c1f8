"""Reading the ring into which the program copies tapped datagrams.

The kernel maps a ring as a page with the reader's position, a page with the writer's, and the data
twice in a row, so that a record that wraps can be read in one piece. Positions only ever grow; a
record is preceded by its length, whose upper bits say "not finished yet" and "discarded".
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple

from rtpproxy_tw.media.kernel import layout
from rtpproxy_tw.media.kernel.bpf_syscall import Map

_BUSY = 1 << 31
_DISCARDED = 1 << 30
_HEADER = 8


class Copy(NamedTuple):
    """One tapped datagram."""

    serial: int
    """Of the flow."""
    ns: int
    datagram: bytes


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
        self._data = whole[page:]
        self._lengths = self._data.cast("I")
        self._whole = whole

    def read(self) -> Iterator[Copy]:
        """What had been copied by now. May be begun again before it has ended."""
        end = self._writer[0]
        while (position := self._reader[0]) < end:
            at = position & self._mask
            length = self._lengths[at // 4]
            if length & _BUSY:
                return
            size = length & ~_DISCARDED
            copy = None if length & _DISCARDED else self._copy(at + _HEADER)
            # From here on the kernel may write there again.
            self._reader[0] = position + _HEADER + (size + 7 & ~7)
            if copy is not None:
                yield copy

    def _copy(self, at: int) -> Copy:
        ns, serial, length = layout.RECORD.unpack_from(self._data, at)
        start = at + layout.RECORD.size
        return Copy(serial, ns, bytes(self._data[start : start + length]))

    def close(self) -> None:
        """Unmap."""
        for view in (self._reader, self._writer, self._lengths, self._data, self._whole):
            view.release()
        self._mine.close()
        self._theirs.close()
