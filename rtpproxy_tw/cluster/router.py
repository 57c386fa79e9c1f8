"""Which node does a command: this one, the owner of its call, or one that has room for more."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger

from rtpproxy_tw.cluster.node import Node
from rtpproxy_tw.cluster.peers import Dead, Message, Peers
from rtpproxy_tw.cluster.store import Unavailable
from rtpproxy_tw.commands import Command, Origin, Update
from rtpproxy_tw.errors import RelayError

FINDING = 0.1
"""Seconds that a command may wait for the store to say where its call is."""

MOST_SENT = 10_000
"""New calls given to other nodes that are remembered."""


class Router:
    """``has`` tells whether a call is here, ``full`` why no new session can be made here, if so.

    A command that comes from another node is done here, whatever it says, so that none goes round
    in circles: those are never shown to a router.
    """

    log = Logger()

    def __init__(
        self,
        *,
        node: Node,
        peers: Peers,
        has: Callable[[str], bool],
        full: Callable[[], str | None],
        clock: Any,
    ) -> None:
        self._node = node
        self._peers = peers
        self._has = has
        self._full = full
        self._clock = clock
        self._sent: OrderedDict[str, str] = OrderedDict()
        """Nodes by the calls they were given lately, which they may not have written down yet."""
        self.counts: Counter[str] = Counter(
            dict.fromkeys(("forwarded", "steered", "unknown", "unanswered"), 0)
        )

    def route(self, command: Command, line: bytes, origin: Origin) -> Deferred[bytes | None] | None:
        """The reply of another node when it comes; None, at once or then: do it here."""
        call_id = getattr(command, "call_id", None)
        if call_id is None or self._has(call_id):
            return None
        node = self._node
        local = origin.local
        if local in node.holdings and not node.owns(local):
            holding = node.holdings[local]
            if holding.waiting is not None or self._is_to_be_taken(local):
                # It came to an address that packets come to as well, so that is here now.
                return self._taken_over(local, command, line, origin)
        if not self._node.store.usable:
            return None
        if call_id in self._sent:
            return self._find(call_id, line, origin)
        if isinstance(command, Update) and command.to_tag is None and command.notify is None:
            return self._route_new(call_id, line, origin)
        if isinstance(command, Update) and command.to_tag is None:
            # Of old Kamailios it may be a call's; see the negotiator.
            return self._find(call_id, line, origin, new=True)
        return self._find(call_id, line, origin)

    def _is_to_be_taken(self, address: str) -> bool:
        return self._node.store.usable and self._node.calls.is_here(address)

    @inlineCallbacks
    def _taken_over(self, address: str, command: Command, line: bytes, origin: Origin) -> Any:
        try:
            yield self._node.take_over(address, "a command came to it")
        except RelayError as error:
            self.log.warn("{address} is not taken over: {why}", address=address, why=error)
        following = self.route(command, line, origin) if self._node.owns(address) else None
        return None if following is None else (yield following)

    def _route_new(
        self, call_id: str, line: bytes, origin: Origin
    ) -> Deferred[bytes | None] | None:
        node = self._node
        own = [each.address for each in node.holdings.values() if each.own]
        if own and not any(node.is_served(address) for address in own):
            owner = node.holdings[own[0]].watch.owner
            if owner is not None:
                return self._send(owner.node, call_id, line, origin, "forwarded")
        if self._full() is None:
            return None
        other = self._roomiest()
        return None if other is None else self._send(other, call_id, line, origin, "steered")

    def _send(
        self, name: str, call_id: str, line: bytes, origin: Origin, kind: str
    ) -> Deferred[bytes | None]:
        self._sent[call_id] = name
        if len(self._sent) > MOST_SENT:
            self._sent.popitem(last=False)
        forwarding: Deferred[bytes | None] = self._forward(name, line, origin, kind)
        return forwarding.addErrback(lambda failure: failure.trap(Dead) and None)

    def _roomiest(self) -> str | None:
        found = {
            name: about["room"]
            for name in self._node.living()
            if (about := self._node.peers[name])
            and isinstance(about.get("room"), int)
            and about["room"] > 0
            and not about.get("draining")
            and about.get("owns")
        }
        return max(found, key=lambda name: found[name]) if found else None

    @inlineCallbacks
    def _find(self, call_id: str, line: bytes, origin: Origin, new: bool = False) -> Any:
        node = self._node
        sent = self._sent.get(call_id)
        if sent is not None and sent in node.living():
            try:
                answer = yield self._forward(sent, line, origin, "forwarded")
            except Dead:
                answer = None
            if answer is not None:
                return answer
        try:
            address = yield _within(node.store.find(call_id)).addTimeout(FINDING, self._clock)
        except Exception as error:
            if not isinstance(error, Unavailable):
                self.log.info("a call was not looked up: {why}", why=str(error) or repr(error))
            return None
        if address is None or node.owns(address):
            self.counts["unknown"] += 1
            following = self._route_new(call_id, line, origin) if new else None
            return None if following is None else (yield following)
        holding = node.holdings.get(address)
        if holding is not None and holding.waiting is not None:
            yield self._settled(address)
            return None
        owner = (yield self._owner(address)) or ""
        if owner in node.living():
            try:
                answer = yield self._forward(owner, line, origin, "forwarded")
            except Dead:
                answer, owner = None, ""
            if answer is not None or holding is None:
                return answer
        if holding is not None and not (owner and holding.watch.is_alive(self._clock.seconds())):
            yield self._settled(address)
        return None

    @inlineCallbacks
    def _settled(self, address: str) -> Any:
        try:
            yield self._node.take_over(address, "a command came for a call of it")
        except RelayError as error:
            self.log.warn("{address} is not taken over: {why}", address=address, why=error)

    @inlineCallbacks
    def _owner(self, address: str) -> Any:
        for name in self._node.living():
            if address in (self._node.peers[name] or {}).get("owns", ()):
                return name
        try:
            owner = (yield self._node.store.owners([address]))[address]
        except Unavailable:
            return None
        return owner.node if owner else None

    @inlineCallbacks
    def _forward(self, name: str, line: bytes, origin: Origin, kind: str) -> Any:
        message: Message = {
            "kind": "command",
            "command": b64encode(line).decode(),
            "peer": origin.peer,
            "local": origin.local,
            "denied": sorted(origin.denied),
        }
        try:
            answer = yield self._peers.ask(name, message)
            reply = b64decode(str(answer["reply"]), validate=True)
        except Dead as error:
            self.counts["unanswered"] += 1
            self.log.warn("a command was not forwarded: {why}", why=error)
            raise
        except (RelayError, LookupError, ValueError) as error:
            self.counts["unanswered"] += 1
            self.log.warn("a command was not forwarded: {why}", why=error)
            return None
        self.counts[kind] += 1
        return reply


def _within(asked: Deferred[Any]) -> Deferred[Any]:
    """The result of ``asked``, which may be given up without giving that up."""
    waiting: Deferred[Any] = Deferred()

    def done(result: Any) -> None:
        if not waiting.called:
            waiting.callback(result)

    asked.addBoth(done)
    return waiting


def answered(respond: Callable[[bytes, Origin], bytes], message: Message) -> Message:
    """What another node is told that has forwarded a command. Raises RelayError."""
    try:
        line = b64decode(str(message["command"]), validate=True)
        denied = frozenset(str(each) for each in message.get("denied", ()))
    except (LookupError, ValueError, TypeError) as error:
        raise RelayError("that is no command") from error
    peer, local = message.get("peer"), message.get("local")
    origin = Origin(
        "node",
        peer if isinstance(peer, str) else None,
        local if isinstance(local, str) else None,
        denied,
    )
    return {"reply": b64encode(respond(line, origin)).decode()}
