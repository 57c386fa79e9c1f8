"""Which addresses this host has now, and to be told when that changes (rtnetlink(7)).

The kernel tells of an address before a packet to it can arrive, so whoever serves an address that
moves is told here first.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.addresses import is_loopback
from rtpproxy_tw.host_networks import own_interfaces

RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x10, 0x100
"""The groups of those who are told of addresses."""

BUDGET = 64
"""Messages read in one turn of the reactor."""


class HostAddresses(Service):
    """While it runs, ``changed`` is called whenever addresses may have come or gone.

    Where the kernel tells nothing, each question is asked of it anew.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        changed: Callable[[], object],
        listing: Callable[[], list[Any]] = own_interfaces,
    ) -> None:
        self._reactor = reactor
        self._changed = changed
        self._listing = listing
        self._reader: _Reader | None = None
        self._known: frozenset[str] | None = None

    def has(self, address: str) -> bool:
        """Whether ``address`` is on an interface of this host; so it is where nobody can tell."""
        if is_loopback(address):
            return True
        known = self._known
        if known is None:
            try:
                known = frozenset(str(each.ip) for each in self._listing())
            except OSError:
                return True
            if self._reader is not None:
                self._known = known
        return address in known

    def startService(self) -> None:
        """Be told."""
        super().startService()
        try:
            told = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
                socket.NETLINK_ROUTE,
            )
        except OSError as error:
            self.log.warn("the kernel does not tell of addresses: {why}", why=error)
            return
        try:
            told.bind((0, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
        except OSError as error:
            told.close()
            self.log.warn("the kernel does not tell of addresses: {why}", why=error)
            return
        self._reader = _Reader(told, self._news)
        self._reactor.addReader(self._reader)

    def stopService(self) -> None:
        """Be told no more."""
        super().stopService()
        reader, self._reader, self._known = self._reader, None, None
        if reader is not None:
            self._reactor.removeReader(reader)
            reader.close()

    def _news(self) -> None:
        self._known = None
        self._changed()


@implementer(IReadDescriptor)
class _Reader:
    def __init__(self, told: socket.socket, news: Callable[[], None]) -> None:
        self._told = told
        self._news = news

    def logPrefix(self) -> str:
        """For logs."""
        return "addresses"

    def fileno(self) -> int:
        """Of the socket, -1 once closed."""
        return self._told.fileno()

    def doRead(self) -> None:
        """What it says does not matter: that something has changed is enough."""
        try:
            for _ in range(BUDGET):
                self._told.recv(65536)
        except OSError:
            pass  # no more; or more happened than was kept for us, and it has changed all the more
        self._news()

    def connectionLost(self, reason: object) -> None:
        """The reactor ends."""

    def close(self) -> None:
        """Close the socket."""
        self._told.close()
