"""Copies of a party's packets, sent as they are to another host: a recording made elsewhere."""

from __future__ import annotations

from typing import Protocol

from zope.interface import implementer

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.interfaces import ITap
from rtpproxy_tw.session import Component, Stream


class Outlet(Protocol):
    """A pair of ports that only sends."""

    @property
    def address(self) -> Address:
        """The local address of the RTP port; RTCP is the next one."""

    def send(self, component: Component, datagram: bytes, to: Address) -> bool:
        """Send from the port of ``component``. Never raises; False when the kernel refused."""

    def close(self) -> None:
        """Close both ports. Idempotent."""


class CopySink:
    """One component's way to ``target``, the RTP address there."""

    __slots__ = ("_component", "_outlet", "_to")

    failed = False

    def __init__(self, outlet: Outlet, component: Component, target: Address) -> None:
        host, port = target
        self._outlet = outlet
        self._component = component
        self._to = host, port + component - 1

    def write(self, record: bytes) -> None:
        """Send it."""
        self._outlet.send(self._component, record, self._to)

    def close(self) -> None:
        """The ports are closed with the first of the two."""
        self._outlet.close()


@implementer(ITap)
class CopyTap:
    """Hands packets to ``sink`` without adding anything."""

    __slots__ = ("_sink",)

    def __init__(self, sink: CopySink) -> None:
        self._sink = sink

    def heard(self, stream: Stream, datagram: bytes, source: Address) -> None:
        """See ITap."""
        self._sink.write(datagram)
