"""What turns relayed packets into records: one tap for each format."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from zope.interface import implementer

from rtpproxy_tw.addresses import Address, LocalAddress
from rtpproxy_tw.interfaces import IPatientTap
from rtpproxy_tw.recording import adhoc, pcap
from rtpproxy_tw.recording.files import Heard
from rtpproxy_tw.recording.sinks import Sink
from rtpproxy_tw.session import Stream


@implementer(IPatientTap)
class AdhocTap:
    """Records in the original's own format. ``wall`` gives seconds since the epoch."""

    __slots__ = ("_heard", "_sink", "_wall")

    def __init__(self, sink: Sink, wall: Callable[[], float], heard: Heard | None = None) -> None:
        self._sink = sink
        self._wall = wall
        self._heard = heard

    def heard(self, stream: Stream, datagram: bytes, source: Address) -> None:
        """Record it as received from ``source``."""
        if self._sink.failed:
            self._sink.miss()
            return
        heard = self._heard
        if heard is not None and datagram[8:12] + datagram[1:2] != heard.latest:
            heard.look(datagram)
        self._sink.write(adhoc.record(datagram, source, self._wall()))

    def missed(self, stream: Stream, count: int) -> None:
        """See IPatientTap."""
        for _ in range(count):
            self._sink.miss()


@implementer(IPatientTap)
class PcapTap:
    """Records in pcap format.

    ``local_host`` tells the local address that routes to a host, for sockets bound to all
    addresses; it may raise OSError. With ``relayed`` the packet is written as it leaves,
    towards the far party, as the original does with RTCP in a file for everything.
    """

    __slots__ = ("_heard", "_identify", "_local_host", "_relayed", "_routed", "_sink", "_wall")

    def __init__(
        self,
        sink: Sink,
        wall: Callable[[], float],
        *,
        local_host: Callable[[str], str],
        identify: Iterator[int],
        relayed: bool = False,
        heard: Heard | None = None,
    ) -> None:
        self._heard = heard
        self._sink = sink
        self._wall = wall
        self._local_host = local_host
        self._identify = identify
        self._relayed = relayed
        self._routed = ("", "")

    def heard(self, stream: Stream, datagram: bytes, source: Address) -> None:
        """Record it as received from ``source``, or as relayed."""
        if self._sink.failed:
            self._sink.miss()
            return
        heard = self._heard
        if heard is not None and datagram[8:12] + datagram[1:2] != heard.latest:
            heard.look(datagram)
        sender, receiver = self._leaving(stream.peer) if self._relayed else (source, None)
        if receiver is None:
            receiver = self._ours(stream, sender[0])
        when, number = self._wall(), next(self._identify)
        self._sink.write(pcap.record(datagram, sender, receiver, when, number))

    def missed(self, stream: Stream, count: int) -> None:
        """See IPatientTap."""
        for _ in range(count):
            self._sink.miss()

    def _leaving(self, outlet: Stream) -> tuple[Address, Address]:
        """Whence and whither ``outlet`` sends; zeros for a party whose address is unknown."""
        remote = outlet.latch.remote
        ours = self._ours(outlet, remote[0] if remote else None)
        return ours, remote or ("::" if ":" in ours[0] else "0.0.0.0", 0)

    def _ours(self, stream: Stream, remote: str | None) -> Address:
        """The local address of ``stream``, as ``remote`` sees it."""
        local = stream.leg.local or LocalAddress("::" if remote and ":" in remote else "0.0.0.0")
        if remote is None or not local.wildcard:
            return local.host, stream.port
        if remote != self._routed[0]:
            self._routed = (remote, self._route(remote, local.host))
        return self._routed[1], stream.port

    def _route(self, remote: str, fallback: str) -> str:
        try:
            return self._local_host(remote)
        except OSError:
            return fallback
