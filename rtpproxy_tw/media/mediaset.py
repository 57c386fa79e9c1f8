"""All media sockets in one epoll set, which itself is a single reader of the reactor."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

BATCH = 128
"""Packets before others have their turn: about half a millisecond."""


@implementer(IReadDescriptor)
class MediaSet:
    """Reads one packet of each descriptor that has any, then the next one of each, in rotation.

    So the reactor's own work is done once for a batch of packets instead of once for each, and a
    flooded port gets no more turns than a quiet one.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._retired: list[socket.socket] = []
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._failures = 0

    def __len__(self) -> int:
        """How many descriptors there are."""
        return len(self._readers)

    def add(self, fd: int, read: Callable[[], None]) -> None:
        """Call ``read`` whenever something can be received from ``fd``. Raises OSError."""
        self._epoll.register(fd, select.EPOLLIN)
        if not self._readers:
            self._reactor.addReader(self)
        self._readers[fd] = read

    def change(self, fd: int, read: Callable[[], None]) -> None:
        """Call another ``read`` from now on."""
        self._readers[fd] = read

    def retire(self, sock: socket.socket) -> None:
        """Read nothing from ``sock`` any more, and close it soon.

        To close the four sockets of a call takes as long as to understand the command that ends
        it; so that command is answered first.
        """
        del self._readers[sock.fileno()]
        if not self._retired:
            self._reactor.callLater(0, self.close_retired)
        self._retired.append(sock)
        if not self._readers:
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
        find, poll = self._readers.get, self._epoll.poll
        left = BATCH
        while left > 0 and (events := poll(0, left)):
            left -= len(events)
            for fd, _ in events:
                read = find(fd)
                if read is None:
                    continue  # closed by what an earlier packet of this turn brought about
                try:
                    read()
                except Exception:
                    self._failed()

    def _failed(self) -> None:
        # A bug, not a stranger's doing. Told at the 1st, 10th, 100th … time: a packet stream must
        # not become a log stream.
        self._failures += 1
        if self._failures in (1, 10, 100) or self._failures % 1000 == 0:
            self._log.failure(
                "a packet could not be handled ({count} so far)", count=self._failures
            )
