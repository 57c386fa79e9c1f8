"""How many control connections there may be, and what each of them speaks."""

from __future__ import annotations

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory

from rtpproxy_tw.control.access import Access
from rtpproxy_tw.control.framing import FIRST_COMMAND, ControlProtocol, Lines, OneShot, host_of
from rtpproxy_tw.control.responder import Responder

MAX_CONNECTIONS = 100
"""Connections of one listener. A SIP proxy has one per worker at most."""


class ControlFactory(Factory):
    """Takes connections, up to ``limit`` at the same time; further ones are closed at once."""

    noisy = False
    framing: type[OneShot | Lines]

    def __init__(
        self,
        *,
        responder: Responder,
        kind: str,
        clock: IReactorTime,
        limit: int = MAX_CONNECTIONS,
        idle: float | None = FIRST_COMMAND,
        access: Access | None = None,
    ) -> None:
        self._access = Access() if access is None else access
        self.connections: set[ControlProtocol] = set()
        self._responder = responder
        self._kind = kind
        self._clock = clock
        self._limit = limit
        self._idle = idle

    def buildProtocol(self, addr: IAddress | None) -> ControlProtocol | None:
        """The protocol of a new connection; None for strangers, and where there are too many."""
        host = host_of(addr)
        if not self._access.admits(host):
            self._access.refusals.stranger += 1
            self._responder.warn("stranger", stranger_sentence(self._kind, host))
            return None
        if len(self.connections) >= self._limit:
            self._responder.complain(
                "crowded", f"{self._kind} control connection refused: {self._limit} are open"
            )
            return None
        protocol = self.framing(
            responder=self._responder,
            kind=self._kind,
            clock=self._clock,
            idle=self._idle,
            among=self.connections,
            access=self._access,
        )
        protocol.factory = self
        return protocol

    def stopFactory(self) -> None:
        """The listener is gone: so go its connections, lest a client waits on one."""
        for connection in list(self.connections):
            connection.close()


class OneShotFactory(ControlFactory):
    """``unix:``."""

    framing = OneShot


class LinesFactory(ControlFactory):
    """``cunix: tcp: tcp6: systemd:``."""

    framing = Lines


def stranger_sentence(kind: str, host: str | None) -> str:
    """What to tell the operator of somebody who may not command."""
    return (
        f"commands from {host} over {kind} are not answered; if that is a SIP proxy of yours,"
        f" start with --control-allow {host}"
    )
