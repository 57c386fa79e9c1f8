"""Being told by the kernel that devices, addresses or routes have changed."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.media.kernel import rtnetlink as rt

SETTLE = 0.02
"""Seconds from the first news to looking: they come in swarms, of one change each."""

REST = 0.25
"""Seconds between two looks, however much is going on; there are routers with busy tables."""


@implementer(IReadDescriptor)
class Watcher:
    """Calls ``changed`` soon after something did, once for many things."""

    _log = Logger()

    def __init__(self, reactor: Any, changed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._changed = changed
        self._socket = rt.listener()
        self._call: Any = None
        self._rested_at = 0.0
        reactor.addReader(self)

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """For the reactor's messages."""
        return "netlink"

    def doRead(self) -> None:
        """The kernel has news; which does not matter, all is looked at again."""
        try:
            for _ in rt.news(self._socket):
                pass
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                self._log.warn("cannot hear of changes of the network: {error}", error=error)
                self.close()
                return
        if self._call is None:
            delay = max(SETTLE, self._rested_at - self._reactor.seconds())
            self._call = self._reactor.callLater(delay, self._look)

    def _look(self) -> None:
        self._call = None
        self._rested_at = self._reactor.seconds() + REST
        self._changed()

    def connectionLost(self, reason: object = None) -> None:
        """The reactor is shutting down."""
        self.close()

    def close(self) -> None:
        """Watch no more. Idempotent."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()
