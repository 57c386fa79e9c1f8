"""Being told by the kernel that devices, addresses, routes or neighbours have changed."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.media.kernel import netlink
from rtpproxy_tw.media.kernel import rtnetlink as rt

NEIGHBOURLY = frozenset((rt.NEW_NEIGHBOUR, rt.DEL_NEIGHBOUR))
"""News that no route depends on."""

SETTLE = 0.02
"""Seconds from the first news to looking: they come in swarms, of one change each."""

REST = 0.25
"""Seconds between two looks, however much is going on; there are routers with busy tables."""


@implementer(IReadDescriptor)
class Watcher:
    """Calls ``changed`` soon after something did, once for many things.

    ``heard`` gets every message at once. ``missed``: there were some that nobody gets, as too many
    came, or as nothing is heard any more (False).
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        changed: Callable[[], None],
        heard: Callable[[netlink.Message], None],
        missed: Callable[[bool], None],
    ) -> None:
        self._reactor = reactor
        self._changed = changed
        self._heard = heard
        self._missed = missed
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
        """The kernel has news; whichever it is of routes, all of them are looked at again."""
        of_routes = False
        try:
            for message in rt.news(self._socket):
                of_routes |= message.kind not in NEIGHBOURLY
                self._heard(message)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS or not self._skip():
                self._log.warn("cannot hear of changes of the network: {error}", error=error)
                self.close()
                self._missed(False)
                return
            of_routes = True
            self._missed(True)
        if of_routes and self._call is None:
            delay = max(SETTLE, self._rested_at - self._reactor.seconds())
            self._call = self._reactor.callLater(delay, self._look)

    def _skip(self) -> bool:
        """Read what is older than what was lost, which must not be believed after a look at how
        things are; whether that succeeded."""
        while True:
            try:
                for _ in rt.news(self._socket):
                    pass
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    return False

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
