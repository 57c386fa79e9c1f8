"""The plain media plane: one DatagramProtocol and one socket per port, inside the reactor."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from rtpproxy_tw.addresses import Address, LocalAddress, family_of
from rtpproxy_tw.errors import AddressUnusable, NoPortsLeft
from rtpproxy_tw.interfaces import IFastPath, IMediaPlane
from rtpproxy_tw.media.fastpath import NullFastPath
from rtpproxy_tw.media.outlets import Deaf, Outlet
from rtpproxy_tw.media.ports import Elsewhere, PortPool
from rtpproxy_tw.media.quarantine import Quarantine
from rtpproxy_tw.media.relay import Relay
from rtpproxy_tw.media.udpport import OUT_OF_DESCRIPTORS, PORT_TAKEN
from rtpproxy_tw.session import Leg, Session, Stream

TRIES = 512
"""Pairs tried per allocation. Each costs some 20 µs when another process holds the port, and a
command must not wait; pairs found taken go to the back, so the next allocation goes on."""

FAILURES = ("range", "taken", "descriptors", "address")
"""Why there are no ports: all are in use, other programs have them, the process may open no more
sockets, the local address cannot be bound."""


class Port(Protocol):
    """A listening UDP port that can also send."""

    @property
    def socket(self) -> socket.socket:
        """What it reads from."""

    def send(self, datagram: bytes, to: Address) -> bool:
        """Send; False where the kernel refuses."""

    def drain(self) -> None:
        """Have what waits handled now."""

    def fold(self) -> None:
        """Bring the counters of the stream that it receives up to date."""

    def mark(self, tos: int) -> None:
        """Set the TOS of what is sent."""

    def stopListening(self) -> object:
        """Close it."""


Wrap = Callable[[DatagramProtocol, socket.socket], Port]
"""(protocol, bound socket) -> a port that reads from it."""

Source = PortPool | Elsewhere

Receivers = tuple[Stream, Stream] | tuple[None, None]
"""Who has what arrives on RTP and on RTCP; None: nobody."""

Pair = tuple[socket.socket, socket.socket]
"""Of RTP and RTCP."""

Listen = Callable[[DatagramProtocol, str, int, int], Port]
"""(protocol, host, port, tos) -> a port that listens already; raises OSError."""


class StreamProtocol(DatagramProtocol):
    """Hands what arrives on one port to the relay."""

    noisy = False

    def __init__(self, stream: Stream, relay: Relay) -> None:
        self.stream = stream
        self._received = relay.received

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """One packet from ``addr``."""
        self._received(self.stream, datagram, addr)


@implementer(IMediaPlane)
class UserspacePlane:
    """Every packet passes through this process, but for what a fast path carries.

    ``pools`` maps an address family to its pool, ``tos`` is the default mark. ``listen`` opens a
    port, ``wrap`` makes one of an open socket; subclasses may have ways of their own.
    """

    def __init__(
        self,
        *,
        listen: Listen | None = None,
        pools: Mapping[int, PortPool],
        relay: Relay,
        tos: int,
        fast_path: IFastPath | None = None,
        wrap: Wrap | None = None,
    ) -> None:
        self._fast_path: IFastPath = NullFastPath() if fast_path is None else fast_path
        self._listen = listen
        self._wrap = wrap
        self._pools = pools
        self._relay = relay
        self._tos = tos
        self._quarantine = Quarantine()
        self._open: dict[Leg, tuple[Source, Address, tuple[Port, Port]]] = {}
        self._unclaimed: dict[Leg, None] = {}
        """Adopted, and not yet asked about at our pools."""
        self._served: dict[Address, Leg] = {}
        """By local host and RTP port."""
        self.failures: Counter[str] = Counter(dict.fromkeys(FAILURES, 0))
        """How often there were no ports to be had, by one of FAILURES."""

    def open(self, leg: Leg, local: LocalAddress) -> None:
        """See IMediaPlane."""
        pool = self._pools[local.family]
        tos = self._tos if leg.tos is None else leg.tos
        number, ports = self._allocate(local.host, pool, leg.streams, tos)
        if leg.port:
            self.close(leg)
        place = local.host, number
        self._open[leg] = pool, place, ports
        self._served[place] = leg
        leg.local, leg.port = local, number
        leg.rtp.sender, leg.rtcp.sender = ports
        self._quarantine.enters(leg, self._relay.now())

    def adopt(self, sockets: Mapping[Leg, Pair]) -> None:
        """Serve legs whose sockets for RTP and RTCP somebody else has opened, and are ours now.

        They are bound to ``leg.port`` of ``leg.local`` and the next one. Raises OSError; the
        sockets that were not yet taken are then closed. To be followed by :meth:`claim`.
        """
        left = dict(sockets)
        try:
            for leg, pair in sockets.items():
                del left[leg]
                ports = self._wrapped(leg.streams, pair)
                place = "" if leg.local is None else leg.local.host, leg.port
                self._open[leg] = Elsewhere(), place, ports
                self._unclaimed[leg] = None
                self._served[place] = leg
                leg.rtp.sender, leg.rtcp.sender = ports
        finally:
            for unused in left.values():
                for each in unused:
                    each.close()

    def claim(self) -> None:
        """What was adopted, and is in our range of ports, is to go back there one day."""
        adopted, self._unclaimed = self._unclaimed, {}
        for family, pool in self._pools.items():
            legs = {
                leg.port: leg
                for leg in adopted
                if leg in self._open and leg.local and leg.local.family == family
            }
            for port in pool.claim(legs.keys()) if legs else ():
                leg = legs[port]
                self._open[leg] = pool, *self._open[leg][1:]

    def sockets(self, leg: Leg) -> Pair | None:
        """Those of ``leg``, receiving from everybody; None where it has none."""
        opened = self._open.get(leg)
        return None if opened is None else (opened[2][0].socket, opened[2][1].socket)

    def close(self, leg: Leg) -> None:
        """See IMediaPlane."""
        opened = self._open.pop(leg, None)
        if opened is None:
            return
        self._fast_path.release(leg.session)
        self._quarantine.leaves(leg, self._relay.now())
        pool, place, ports = opened
        self._served.pop(place, None)
        leg.port = 0
        leg.rtp.sender = leg.rtcp.sender = None
        for port in ports:
            port.stopListening()
        pool.give_back(place[1])

    def serves(self, host: str, port: int) -> bool:
        """Whether a leg has ``port`` of the local ``host``, which may be a wildcard, now."""
        return (host, port & ~1) in self._served

    def outlet(self, host: str) -> Outlet:
        """A pair of ports on the local ``host`` that only sends.

        Raises NoPortsLeft or AddressUnusable.
        """
        pool = self._pools[family_of(host)]
        number, ports = self._allocate(host, pool, (None, None), self._tos)
        return Outlet((host, number), ports, lambda: pool.give_back(number))

    def free_pairs(self) -> dict[int, int]:
        """How many pairs of ports are free, by address family."""
        return {family: len(pool) for family, pool in self._pools.items()}

    def mark(self, leg: Leg) -> None:
        """See IMediaPlane."""
        opened = self._open.get(leg)
        if opened is not None and leg.tos is not None:
            for port in opened[2]:
                port.mark(leg.tos)

    def release(self, session: Session) -> None:
        """See IMediaPlane."""
        self._fast_path.release(session)

    def refresh(self, session: Session) -> None:
        """See IMediaPlane."""
        self._fast_path.refresh(session)

    def go_on(self, session: Session) -> bool:
        """See IMediaPlane."""
        return self._fast_path.go_on(session)

    def stirred(self) -> Iterator[set[Session]]:
        """See IMediaPlane."""
        return self._fast_path.stirred()

    def refresh_all(self) -> None:
        """See IMediaPlane."""
        self._fast_path.refresh_all()

    def attend(self) -> None:
        """The loop runs. To be called every ``attention.SIGN_EVERY`` seconds."""
        self._relay.attention.sign(self._relay.now())

    def _allocate(
        self,
        host: str,
        pool: PortPool,
        streams: Receivers,
        tos: int,
    ) -> tuple[int, tuple[Port, Port]]:
        taken: list[int] = []
        try:
            for _ in range(min(len(pool), TRIES)):
                number = pool.take()
                try:
                    return number, self._bound(streams, host, number, tos)
                except OSError as error:
                    taken.append(number)
                    if error.errno in OUT_OF_DESCRIPTORS:
                        self.failures["descriptors"] += 1
                        raise NoPortsLeft(f"no socket to be had: {error.strerror}") from error
                    if error.errno not in PORT_TAKEN:
                        self.failures["address"] += 1
                        raise AddressUnusable(
                            f"cannot take media on {host}: {error.strerror}"
                        ) from error
            self.failures["taken" if taken else "range"] += 1
            raise NoPortsLeft(
                f"{len(taken)} port pairs tried, all taken by other programs"
                if taken
                else "every port pair of the range is in use"
            )
        finally:
            for number in taken:
                pool.give_back(number)

    def _bound(self, streams: Receivers, host: str, number: int, tos: int) -> tuple[Port, Port]:
        """Ports for both streams, on ``number`` and the next one. Raises OSError."""
        listen = self._listen
        assert listen is not None, "given where no other way to open ports is"
        rtp = listen(self._protocol(streams[0]), host, number, tos)
        try:
            rtcp = listen(self._protocol(streams[1]), host, number + 1, tos)
        except BaseException:
            rtp.stopListening()
            raise
        return rtp, rtcp

    def _wrapped(self, streams: Receivers, pair: Pair) -> tuple[Port, Port]:
        """Ports for both streams that read from bound sockets. Raises OSError."""
        wrap = self._wrap
        assert wrap is not None, "this plane adopts nothing"
        return (
            wrap(self._protocol(streams[0]), pair[0]),
            wrap(self._protocol(streams[1]), pair[1]),
        )

    def _protocol(self, stream: Stream | None) -> DatagramProtocol:
        return Deaf() if stream is None else StreamProtocol(stream, self._relay)
