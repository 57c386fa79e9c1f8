"""The media plane of hosts with epoll: the plain one's ports in a set of their own.

Opening, closing and the seam are those of :class:`UserspacePlane`; only the sockets differ.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Mapping
from typing import Any

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.interfaces import IFastPath
from rtpproxy_tw.media.mediaset import MediaSet
from rtpproxy_tw.media.mediasocket import MediaSocket
from rtpproxy_tw.media.ports import PortPool
from rtpproxy_tw.media.relay import Relay
from rtpproxy_tw.media.streamsocket import Circle, StreamSocket
from rtpproxy_tw.media.udpport import bind_media
from rtpproxy_tw.media.userspace import Pair, Receivers, UserspacePlane
from rtpproxy_tw.session import Leg, Session, Stream
from rtpproxy_tw.statistics import Totals

WATCH_EVERY = 0.05
"""Seconds between two looks for silent parties."""

SHARES = 5
"""So many looks until all quick ports have been looked at."""


def is_available() -> bool:
    """Whether this host has epoll."""
    return hasattr(select, "epoll")


class EpollPlane(UserspacePlane):
    """See IMediaPlane.

    ``now`` gives monotonic seconds. ``connecting``: settled ports on a concrete address are
    connected to their party; ``quickening``: settled streams skip what is known not to apply.
    """

    def __init__(
        self,
        *,
        reactor: Any,
        now: Callable[[], float],
        pools: Mapping[int, PortPool],
        relay: Relay,
        totals: Totals,
        tos: int,
        fast_path: IFastPath | None = None,
        quickening: bool = True,
        connecting: bool = False,
        free: bool = False,
    ) -> None:
        self._free = free
        super().__init__(pools=pools, relay=relay, tos=tos, fast_path=fast_path)
        self.media = MediaSet(reactor, now, totals)
        self._circle = Circle(
            media=self.media,
            relay=relay,
            totals=totals,
            now=now,
            quickening=quickening,
            connecting=connecting,
        )
        self._to_watch: list[StreamSocket] = []
        self._share = 0

    def close(self, leg: Leg) -> None:
        """See IMediaPlane."""
        self._slow_down(leg.session)
        super().close(leg)

    def release(self, session: Session) -> None:
        """See IMediaPlane."""
        super().release(session)
        self._slow_down(session)

    def refresh(self, session: Session) -> None:
        """See IMediaPlane. Those of other sessions are LOOK_EVERY seconds old at most."""
        super().refresh(session)
        for leg in session.legs:
            sender = leg.rtp.sender
            if isinstance(sender, StreamSocket):
                sender.fold()

    def port_at(self, local: Address) -> StreamSocket | None:
        """The port of a stream with that local address, which may be a wildcard's."""
        host, number = local
        leg = self._served.get((host, number & ~1))
        if leg is None:
            return None
        sender = leg.streams[number & 1].sender
        return sender if isinstance(sender, StreamSocket) else None

    def watch(self) -> None:
        """To be called every WATCH_EVERY seconds: looks at a share of the quick ports."""
        if not self._to_watch:
            self._to_watch = list(self._circle.quick)
            self._share = -(-len(self._to_watch) // SHARES)
        now = self._circle.now()
        for port in self._to_watch[: self._share]:
            port.watch(now)
        del self._to_watch[: self._share]

    def _bound(
        self, streams: Receivers, host: str, number: int, tos: int
    ) -> tuple[MediaSocket, MediaSocket]:
        self.media.close_retired()
        rtp = bind_media(host, number, tos, self._free)
        try:
            rtcp = bind_media(host, number + 1, tos, self._free)
        except OSError:
            rtp.close()
            raise
        return self._wrapped(streams, (rtp, rtcp))

    def _wrapped(self, streams: Receivers, pair: Pair) -> tuple[MediaSocket, MediaSocket]:
        first: MediaSocket | None = None
        try:
            first = self._wrap_one(streams[0], pair[0])
            return first, self._wrap_one(streams[1], pair[1])
        except OSError:
            if first is None:
                pair[0].close()
            else:
                first.stopListening()
            pair[1].close()
            raise

    def _wrap_one(self, stream: Stream | None, sock: socket.socket) -> MediaSocket:
        if stream is None:
            return MediaSocket(self.media, sock)
        return StreamSocket(self._circle, sock, stream)

    def _slow_down(self, session: Session) -> None:
        for leg in session.legs:
            sender = leg.rtp.sender
            if isinstance(sender, StreamSocket) and sender.quick:
                sender.slow_down()
