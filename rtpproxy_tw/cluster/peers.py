"""Relays of one cluster talk to each other: one asks, the other one answers, over TCP.

A message is a line of JSON. The first of a connection shows the token that the asked one has told
all others through the store, so whoever cannot read the store cannot command a relay by this way.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hmac import compare_digest
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from rtpproxy_tw.errors import RelayError

PATIENCE = 0.5
"""Seconds for an answer to a command."""

LONGEST = 65_536
"""Octets of a message; no command and no answer comes near it."""

MOST = 256
"""Connections."""

Message = dict[str, Any]


class NoAnswer(RelayError):
    """The other node did not answer; the text says why."""


class Dead(NoAnswer):
    """There is no process any more where it was."""


class Refused(NoAnswer):
    """The other node answered that it does not do that."""


class Asked(LineReceiver):
    """The side that answers."""

    transport: Any
    delimiter = b"\n"
    MAX_LENGTH = LONGEST
    log = Logger()

    def __init__(self, factory: Answering) -> None:
        self._owner = factory
        self._trusted = False

    def connectionMade(self) -> None:
        """See IProtocol."""
        if len(self._owner.connections) >= MOST:
            self.transport.abortConnection()
        self._owner.connections.add(self)
        _hurry(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See IProtocol."""
        self._owner.connections.discard(self)

    def lineReceived(self, line: bytes) -> None:
        """A message."""
        try:
            message = json.loads(line)
            number, kind = int(message["n"]), str(message["kind"])
        except (ValueError, LookupError, TypeError, RecursionError):
            self.transport.abortConnection()
            return
        if not self._trusted:
            token = str(message.get("token", ""))
            if not compare_digest(token.encode(), self._owner.token.encode()):
                self.log.warn("somebody without our token wanted to be a node of the cluster")
                self.transport.abortConnection()
                return
            self._trusted = True
        answer = maybeDeferred(self._owner.answer, kind, message)
        answer.addErrback(self._failed)
        answer.addCallback(lambda told: self._tell({"n": number, **told}))

    def _failed(self, failure: Failure) -> Message:
        if not failure.check(RelayError):
            self.log.failure("another node could not be answered", failure)
        return {"error": failure.getErrorMessage()[:500]}

    def _tell(self, message: Message) -> None:
        if self.connected:
            self.sendLine(json.dumps(message).encode())


class Answering(Factory):
    """Answers nodes that show ``token`` by ``answer(kind, message)``, a message or a Deferred."""

    noisy = False

    def __init__(self, token: str, answer: Callable[[str, Message], Any]) -> None:
        self.token = token
        self.answer = answer
        self.connections: set[Asked] = set()

    def buildProtocol(self, addr: object) -> Asked:
        """See IProtocolFactory."""
        return Asked(self)

    def stopFactory(self) -> None:
        """No more."""
        for each in list(self.connections):
            each.transport.abortConnection()


class Asking(LineReceiver):
    """The side that asks."""

    transport: Any
    delimiter = b"\n"
    MAX_LENGTH = LONGEST

    def __init__(self) -> None:
        self.waiting: dict[int, Deferred[Message]] = {}
        self._number = 0
        self.gone = False

    def connectionMade(self) -> None:
        """See IProtocol."""
        _hurry(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See IProtocol."""
        self.gone = True
        waiting, self.waiting = self.waiting, {}
        for each in waiting.values():
            each.errback(NoAnswer("the connection broke"))

    def lineReceived(self, line: bytes) -> None:
        """An answer."""
        try:
            message = json.loads(line)
            waiting = self.waiting.pop(int(message["n"]), None)
        except (ValueError, LookupError, TypeError, RecursionError):
            self.transport.abortConnection()
            return
        if waiting is not None:
            if "error" in message:
                waiting.errback(Refused(str(message["error"])))
            else:
                waiting.callback(message)

    def ask(self, message: Message, token: str) -> Deferred[Message]:
        """The answer to ``message``."""
        self._number += 1
        number = self._number
        answer: Deferred[Message] = Deferred(lambda _: self._given_up(number))
        self.waiting[number] = answer
        if number == 1:
            message = {**message, "token": token}
        self.sendLine(json.dumps({"n": number, **message}).encode())
        return answer

    def _given_up(self, number: int) -> None:
        self.waiting.pop(number, None)


class _Asking(Factory):
    noisy = False


class Peers:
    """Asks other nodes. ``about`` gives what a node tells of itself, None where it is gone."""

    def __init__(self, reactor: Any, about: Callable[[str], Message | None]) -> None:
        self._reactor = reactor
        self._about = about
        self._connections: dict[tuple[str, int, str], Asking] = {}

    def ask(self, node: str, message: Message, patience: float = PATIENCE) -> Deferred[Message]:
        """The answer of ``node``; fails with NoAnswer within ``patience`` seconds."""
        about = self._about(node)
        try:
            host, port = (about or {})["listen"]
            place = str(host), int(port), str((about or {})["token"])
        except (LookupError, TypeError, ValueError):
            return fail(NoAnswer(f"{node} takes no commands from other nodes"))
        asked = self._connected(place).addCallback(lambda made: made.ask(message, place[2]))
        asked.addTimeout(patience, self._reactor)
        return asked.addErrback(self._failed, node, place)

    def close(self) -> None:
        """Hang up."""
        for each in self._connections.values():
            each.transport.abortConnection()

    def _connected(self, place: tuple[str, int, str]) -> Deferred[Asking]:
        made = self._connections.get(place)
        if made is not None and not made.gone:
            ready: Deferred[Asking] = Deferred()
            ready.callback(made)
            return ready
        host, port, _ = place
        kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
        endpoint = kind(self._reactor, host, port, timeout=1)
        connecting: Deferred[Any] = endpoint.connect(_Asking.forProtocol(Asking))

        def connected(protocol: Asking) -> Asking:
            self._connections[place] = protocol
            return protocol

        return connecting.addCallback(connected)

    def _failed(self, failure: Failure, node: str, place: tuple[str, int, str]) -> Message:
        made = self._connections.get(place)
        if made is not None and made.gone:
            del self._connections[place]
        why = failure.getErrorMessage() or type(failure.value).__name__
        kind: type[NoAnswer] = NoAnswer
        if failure.check(ConnectionRefusedError):
            kind = Dead
        elif failure.check(Refused):
            kind = Refused
        raise kind(f"{node}: {why}") from failure.value


def _hurry(transport: Any) -> None:
    if ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
