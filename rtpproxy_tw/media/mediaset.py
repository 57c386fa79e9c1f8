"""All media sockets in one epoll set, which itself is a single reader of the reactor."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.media.shortcut import HEADER, Shortcut
from rtpproxy_tw.media.udpport import LONGEST
from rtpproxy_tw.statistics import Totals

BATCH = 128
"""Packets before others have their turn, or a few more: about a millisecond."""

GROUP = 32
"""Descriptors that are served together: so many that what the processor has in its caches of them
still is there when they are served once more."""

LEAST = GROUP // 2
"""So many of them are worth to be asked whether they have more."""

DEEP = 4
"""Packets of one descriptor before others have their turn, when all are behind."""

BUFFER = bytearray(LONGEST)
"""Of all ports: a datagram has left before the next one is received."""

WHOLE = memoryview(BUFFER)

USUAL = 1600
"""Octets; the beginnings of the buffer up to that length are made once for all."""

BEGINNINGS = [WHOLE[:size] for size in range(USUAL)]

FIXED = BEGINNINGS[HEADER]
"""The RTP header of what is in the buffer."""


class Readable(Protocol):
    """A port."""

    def read(self) -> None:
        """Something can be received: take one datagram."""


@implementer(IReadDescriptor)
class MediaSet:
    """Reads one packet of each descriptor that has any, then the next one of each, in rotation.

    So the reactor's own work is done once for a batch of packets instead of once for each, and a
    flooded port gets no more turns than a quiet one. Where nearly all have more than one packet, as
    after a pause, up to ``DEEP`` of each are read before the next descriptors: a packet costs less
    while all that belongs to its stream is in the processor's cache, so who is behind catches up.

    ``now`` gives monotonic seconds; ``totals`` has what passes by shortcuts, which are the ports'
    business but for the packets they expect.
    """

    _log = Logger()

    def __init__(self, reactor: Any, now: Callable[[], float], totals: Totals) -> None:
        self._reactor = reactor
        self._now = now
        self._totals = totals
        self._retired: list[socket.socket] = []
        self._epoll = select.epoll()
        self._readers: dict[int, Readable] = {}
        self._paused: dict[int, Readable] = {}
        """Those that somebody else reads for the time being."""
        self._shortcuts: list[Shortcut | None] = []
        """By descriptor; None for those that read by themselves."""
        self._failures = 0
        self._unheard = 0
        """How often a port with a shortcut had no packet after all."""

    def __len__(self) -> int:
        """How many descriptors there are."""
        return len(self._readers) + len(self._paused)

    def add(self, fd: int, port: Readable) -> None:
        """Let ``port`` read whenever something can be received from ``fd``. Raises OSError."""
        self._epoll.register(fd, select.EPOLLIN)
        if not self._readers and not self._paused:
            self._reactor.addReader(self)
        self._readers[fd] = port
        if fd >= len(self._shortcuts):
            self._shortcuts += [None] * (fd + 1 - len(self._shortcuts))

    def shorten(self, fd: int, shortcut: Shortcut) -> None:
        """Let what ``shortcut`` expects pass, and ask its port about all else."""
        self._shortcuts[fd] = shortcut

    def lengthen(self, fd: int) -> None:
        """Let the port read by itself again. Idempotent."""
        self._shortcuts[fd] = None

    def pause(self, fd: int) -> None:
        """Read nothing from ``fd`` until :meth:`resume`, not even what is known to be there."""
        self._paused[fd] = self._readers.pop(fd)
        self._epoll.unregister(fd)

    def resume(self, fd: int) -> None:
        """Read from ``fd`` again, which is paused, beginning with what waits there."""
        self._epoll.register(fd, select.EPOLLIN)
        self._readers[fd] = self._paused.pop(fd)

    def retire(self, sock: socket.socket) -> None:
        """Read nothing from ``sock`` any more, and close it soon.

        To close the four sockets of a call takes as long as to understand the command that ends
        it; so that command is answered first.
        """
        fd = sock.fileno()
        # Closing alone does not do where somebody keeps a copy for the time after a crash; but if
        # the kernel should refuse, that is no reason to keep the call.
        with suppress(OSError):
            self._epoll.unregister(fd)
        if self._readers.pop(fd, None) is None:
            del self._paused[fd]
        self._shortcuts[fd] = None
        if not self._retired:
            self._reactor.callLater(0, self.close_retired)
        self._retired.append(sock)
        if not self._readers and not self._paused:
            self._reactor.removeReader(self)

    def close_retired(self) -> None:
        """Close what is retired; to be done before a port is bound, which may be one of these."""
        retired, self._retired = self._retired, []
        for sock in retired:
            sock.close()

    def close(self) -> None:
        """Give up the set, which is empty; nothing can be added any more."""
        self.close_retired()
        self._epoll.close()

    # IReadDescriptor.

    def fileno(self) -> int:
        """The set's own descriptor."""
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        """Whom the reactor's messages are about."""
        return "media"

    def connectionLost(self, reason: object = None) -> None:
        """The reactor is shutting down; whoever opened the sockets closes them."""

    def doRead(self) -> None:
        """Read at most BATCH packets; the reactor comes back for the rest.

        What arrives meanwhile belongs to the same turn: a turn of the reactor's costs as much as a
        packet or two, and at 50,000 packets a second the next one is there when this is relayed.
        """
        poll = self._epoll.poll
        left = BATCH
        while left > 0 and (events := poll(0, GROUP)):
            left -= len(events)
            self._read_all(events)
            if len(events) == GROUP:
                left -= self._read_more(events)

    def _read_more(self, events: Sequence[tuple[int, int]]) -> int:
        """Read further packets of the same descriptors as long as nearly all have some.

        How many were read. Two of them are asked first: to read where nothing is costs, too.
        """
        cuts = self._shortcuts
        count = 0
        for _ in range(DEEP - 1):
            events = [event for event in events if cuts[event[0]] is not None]
            if len(events) < LEAST or self._read_all((events[0], events[-1])) < 2:
                break
            count += 2 + self._read_all(events[1:-1])
        return count

    def _read_all(self, events: Sequence[tuple[int, int]]) -> int:
        """Read one packet of each descriptor; how many there were."""
        unheard = self._unheard
        passed = self._serve(events, self._now())
        self._totals.npkts_rcvd += passed
        self._totals.npkts_relayed += passed
        return len(events) - (self._unheard - unheard)

    def _serve(self, events: Sequence[tuple[int, int]], now: float) -> int:
        """Read one packet of each descriptor; how many went by shortcuts.

        Long, and without calls where there is a choice: here the relay spends its time.
        """
        cuts, buffer, beginnings = self._shortcuts, BUFFER, BEGINNINGS
        fixed, number = FIXED, int.from_bytes
        passed = 0
        # What a record has is fetched before it is called: to call it as a method is slower.
        for fd, _ in events:
            cut = cuts[fd]
            try:
                if cut is None:
                    self._read(fd)
                    continue
                receive, source = cut.receive, cut.source
                try:
                    if source is None:
                        size = receive(buffer)
                    else:
                        size, source = receive(buffer)
                except OSError as error:
                    self._unheard += 1
                    cut.port.unheard(error)
                    continue
                header = number(fixed, "big")
                if (
                    header != cut.expected
                    or now >= cut.look_at
                    or not HEADER <= size < USUAL
                    or (source is not None and source[:2] != cut.source)
                ):
                    cut.port.unusual(cut, size, source, now)
                    continue
                cut.expected = header + cut.step
                cut.arrivals.append(now)
                if size != cut.size:
                    cut.extra += size - cut.size
                passed += 1
                transmit = cut.transmit
                if transmit is not None:
                    try:
                        transmit(beginnings[size])
                    except OSError as error:
                        if not cut.out.send_again(beginnings[size], error):
                            self._dropped(cut, size)
                elif not cut.out.send_on(beginnings[size]):
                    self._dropped(cut, size)
            except Exception:
                self._failed()
        return passed

    def _read(self, fd: int) -> None:
        port = self._readers.get(fd)
        if port is not None:  # else closed by what an earlier packet of this turn brought about
            port.read()

    def _dropped(self, cut: Shortcut, size: int) -> None:
        """What is counted as relayed, by then or later, was not."""
        cut.failed += 1
        cut.nowhere += cut.out.homeless
        cut.withheld += size
        self._totals.npkts_relayed -= 1
        self._totals.npkts_discard += 1

    def _failed(self) -> None:
        # A bug, not a stranger's doing. Told at the 1st, 10th, 100th … time: a packet stream must
        # not become a log stream.
        self._failures += 1
        if self._failures in (1, 10, 100) or self._failures % 1000 == 0:
            self._log.failure(
                "a packet could not be handled ({count} so far)", count=self._failures
            )
