"""What was answered lately, and the connections of those who command, in another process."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from twisted.logger import Logger

from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.continuity.channel import MOST_DESCRIPTORS
from rtpproxy_tw.control.factories import ControlFactory
from rtpproxy_tw.control.framing import Carried
from rtpproxy_tw.control.replies import ReplyCache
from rtpproxy_tw.snapshot.kinds import ADDRESS, FLAG, OCTETS, TIME, Damaged, row


class Replies:
    """What was answered lately over UDP, and may be asked for again."""

    name = "replies"

    def __init__(self, caches: Callable[[], Mapping[str, ReplyCache]], now: Callable[[], float]):
        self._caches = caches
        self._now = now

    def pack(self, luggage: Luggage) -> Any:
        """See Whole."""
        now = self._now()
        return {
            name: [REPLY.pack(entry) for entry in cache.entries(now)]
            for name, cache in self._caches().items()
            if REPLY.pack is not None
        }

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""
        if type(value) is not dict:
            raise Damaged("no object")
        for name, cache in self._caches().items():
            for entry in value.get(name, ()):
                cache.store(*REPLY.unpack(entry, shift))


REPLY = row(ADDRESS, OCTETS, OCTETS, OCTETS, TIME)


class Connections:
    """Control connections, but for those over TLS: what is agreed on there cannot be passed on."""

    _log = Logger()
    name = "connections"

    def __init__(self, factories: Callable[[], Mapping[str, ControlFactory]], reactor: Any) -> None:
        self._factories = factories
        self._reactor = reactor

    def pack(self, luggage: Luggage) -> Any:
        """See Whole."""
        carried = [
            (name, found)
            for name, factory in self._factories().items()
            for found in (each.carried() for each in factory.connections)
            if found is not None
        ]
        if len(carried) > MOST_DESCRIPTORS:
            count = len(carried) - MOST_DESCRIPTORS
            self._log.warn("{count} control connections are closed: too many", count=count)
        rows: dict[str, list[list[Any]]] = {}
        for name, found in carried[:MOST_DESCRIPTORS]:
            assert PENDING.pack is not None
            entry = [luggage.add(found.descriptor), *PENDING.pack(found[1:])]
            rows.setdefault(name, []).append(entry)
        return rows

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""
        factories = self._factories()
        if type(value) is not dict:
            raise Damaged("no object")
        for name, rows in value.items():
            factory = factories.get(name)
            for entry in rows if factory is not None and type(rows) is list else ():
                if type(entry) is not list:
                    raise Damaged("no connection")
                pending = PENDING.unpack(entry[1:], shift)
                self._adopt(luggage, entry[0], pending, factory)

    def _adopt(self, luggage: Luggage, number: Any, pending: Any, factory: Any) -> None:
        descriptor = luggage.take(number)
        try:
            with socket.socket(fileno=descriptor) as passed:
                if passed.type != socket.SOCK_STREAM:
                    raise Damaged("a connection that is none")
                passed.setblocking(False)
                made = self._reactor.adoptStreamConnection(descriptor, passed.family, factory)
        except OSError as error:
            # Its client has gone meanwhile.
            self._log.info("a control connection is not gone on with: {error}", error=error)
            return
        if made is not None:
            made.protocol.go_on(Carried(descriptor, *pending))


PENDING = row(OCTETS, OCTETS, FLAG)
"""Unsent, unread, relaxed."""
