"""The store in Redis, or whatever speaks its protocol, by txredisapi.

Every answer is waited for a bounded time only. After a failure the connection is given up, since
what comes over it afterwards might answer another question, and a breaker has the others refused
at once until one try went well: a Redis that hangs costs nobody any time but the one who tries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import txredisapi
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, FirstError, fail, maybeDeferred, succeed
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtpproxy_tw.cluster import scripts
from rtpproxy_tw.cluster.breaker import Breaker
from rtpproxy_tw.cluster.location import Location
from rtpproxy_tw.cluster.store import Batch, IStore, Owner, Page, Unavailable

PATIENCE = 1.0
"""Seconds for an answer."""

LOADING = 2.0
"""Seconds for a page of sessions."""


class Protocol(txredisapi.RedisProtocol):  # type: ignore[misc]
    """One connection. Whatever is no answer of Redis ends it."""

    log = Logger()

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """See IProtocol."""
        try:
            super().dataReceived(data, unpause)
        except Exception as error:
            self.log.warn("this is not Redis: {error!r}", error=error)
            self.transport.abortConnection()

    def lineReceived(self, line: str) -> None:
        """One line of an answer."""
        if line and line[0] not in "$*+-:":
            raise ValueError(line[:40])
        super().lineReceived(line)


class _Connecting(Factory):
    """What a connection of txredisapi expects of its factory."""

    noisy = False
    isLazy = False

    def __init__(self, make: Callable[[], Protocol]) -> None:
        self._make = make
        self.failed: Deferred[None] = Deferred()

    def buildProtocol(self, addr: object) -> Protocol:
        made = self._make()
        made.factory = self
        return made

    def stopTrying(self) -> None:
        """It never tries again by itself."""

    def connectionError(self, why: str) -> None:
        """Redis does not let us in."""
        self.failed.errback(Unavailable(why))


@implementer(IStore)
class RedisStore:
    """``reactor`` connects and tells the time."""

    log = Logger()

    def __init__(self, location: Location, reactor: Any, patience: float = PATIENCE) -> None:
        self.location = location
        self.breaker = Breaker()
        self._reactor = reactor
        self._patience = patience
        self._protocol: Protocol | None = None
        self._connecting: list[Deferred[Protocol]] | None = None
        self._sentinel = 0

    @property
    def usable(self) -> bool:
        """See IStore."""
        return self.breaker.closed

    def close(self) -> None:
        """Give the connection up."""
        protocol, self._protocol = self._protocol, None
        if protocol is not None and protocol.transport is not None:
            protocol.transport.abortConnection()

    # IStore.

    def owners(self, addresses: Sequence[str]) -> Deferred[dict[str, Owner | None]]:
        """See IStore."""

        def ask(redis: Protocol) -> Any:
            from twisted.internet.defer import gatherResults

            return gatherResults(
                [
                    redis.execute_command(
                        "HMGET", scripts.owner_key(each), "node", "epoch", "beat", "here"
                    )
                    for each in addresses
                ],
                consumeErrors=True,
            )

        return self._ask(ask, lambda found: dict(zip(addresses, map(_owner, found), strict=True)))

    def take(self, address: str, node: str, epoch: int, here: bool) -> Deferred[Owner | None]:
        """See IStore."""
        keys, values = [scripts.owner_key(address)], [node, str(epoch), str(int(here))]
        return self._ask(lambda redis: redis.eval(scripts.TAKE, keys, values), _owner)

    def beat(self, address: str, mine: Owner) -> Deferred[Owner]:
        """See IStore."""
        keys = [scripts.owner_key(address), scripts.sessions_key(address)]
        values = [mine.node, str(mine.epoch), str(mine.beat), str(int(mine.here))]
        return self._ask(lambda redis: redis.eval(scripts.BEAT, keys, values), _owner)

    def release(self, address: str, epoch: int) -> Deferred[bool]:
        """See IStore."""
        keys = [scripts.owner_key(address)]
        return self._ask(lambda redis: redis.eval(scripts.RELEASE, keys, [str(epoch)]), bool)

    def write(self, address: str, epoch: int, batch: Batch) -> Deferred[bool]:
        """See IStore."""
        keys = [scripts.owner_key(address), scripts.sessions_key(address)]
        values: list[str | bytes] = [str(epoch), str(len(batch.changed))]
        for name, line in batch.changed.items():
            values += (_octets(name), line)
        values += map(_octets, batch.gone)

        def ask(redis: Protocol) -> Any:
            for call_id in batch.calls:
                key = scripts.call_key(call_id)
                sent = redis.execute_command("SET", key, address, "EX", str(scripts.CALL_KEPT))
                sent.addErrback(lambda failure: None)
            return redis.eval(scripts.WRITE, keys, values)

        return self._ask(ask, bool)

    def names(self, address: str) -> Deferred[set[str]]:
        """See IStore."""
        key = scripts.sessions_key(address)
        return self._ask(
            lambda redis: redis.execute_command("HKEYS", key),
            lambda found: {each.decode("utf-8", "surrogateescape") for each in found},
            LOADING,
        )

    def load(self, address: str, cursor: str = "") -> Deferred[Page]:
        """See IStore."""
        keys = [scripts.sessions_key(address)]

        def read(found: Any) -> Page:
            following = found[0].decode()
            return Page("" if following == "0" else following, bytes(found[1]).splitlines())

        return self._ask(
            lambda redis: redis.eval(scripts.LOAD, keys, [cursor or "0"]), read, LOADING
        )

    def find(self, call_id: str) -> Deferred[str | None]:
        """See IStore."""
        return self._ask(
            lambda redis: redis.execute_command("GET", scripts.call_key(call_id)),
            lambda found: None if found is None else found.decode(),
        )

    def tell(self, node: str, about: bytes, seconds: float) -> Deferred[None]:
        """See IStore."""

        def ask(redis: Protocol) -> Any:
            redis.execute_command("SADD", scripts.NODES, node).addErrback(lambda failure: None)
            lasts = str(int(1000 * seconds))
            return redis.execute_command("SET", scripts.node_key(node), about, "PX", lasts)

        return self._ask(ask, lambda _: None)

    def nodes(self) -> Deferred[dict[str, bytes | None]]:
        """See IStore."""

        def ask(redis: Protocol) -> Any:
            return redis.execute_command("SMEMBERS", scripts.NODES).addCallback(
                lambda names: self._about(redis, sorted(names))
            )

        return self._ask(ask, lambda found: found)

    def _about(self, redis: Protocol, names: list[bytes]) -> Any:
        if not names:
            return {}
        texts = [name.decode(errors="replace") for name in names]
        keys = [scripts.node_key(text) for text in texts]
        return redis.execute_command("MGET", *keys).addCallback(
            lambda found: dict(zip(texts, found, strict=True))
        )

    # How anything is asked.

    def _ask(
        self,
        ask: Callable[[Protocol], Any],
        read: Callable[[Any], Any],
        patience: float | None = None,
    ) -> Deferred[Any]:
        if not self.breaker.admits(self._reactor.seconds()):
            return fail(Unavailable(self.breaker.why))
        asked: list[Protocol] = []

        def connected(protocol: Protocol) -> Any:
            asked.append(protocol)
            return ask(protocol)

        def well(found: Any) -> Any:
            answer = read(found)
            if not self.breaker.closed:
                self.log.warn("Redis at {where} answers again", where=self.location.text)
            self.breaker.succeeded()
            return answer

        def badly(failure: Failure) -> Any:
            self._failed(failure, asked[0] if asked else None)
            raise Unavailable(self.breaker.why) from failure.value

        answer = self._connection().addCallback(connected).addCallback(well)
        answer.addTimeout(patience or self._patience, self._reactor)
        return answer.addErrback(badly)

    def _failed(self, failure: Failure, protocol: Protocol | None) -> None:
        if isinstance(failure.value, FirstError):  # of several questions asked together
            failure = failure.value.subFailure
        why = failure.getErrorMessage() or type(failure.value).__name__
        if self.breaker.closed:
            self.log.error(
                "Redis at {where} is not to be used: {why}", where=self.location.text, why=why[:300]
            )
        self.breaker.failed(why[:300], self._reactor.seconds())
        if protocol is self._protocol:
            self.close()

    def _connection(self) -> Deferred[Protocol]:
        if self._protocol is not None and self._protocol.connected:
            return succeed(self._protocol)
        waiting: Deferred[Protocol] = Deferred()
        if self._connecting is not None:
            self._connecting.append(waiting)
            return waiting
        self._connecting = [waiting]
        made: Deferred[Protocol] = maybeDeferred(self._connect)
        made.addTimeout(self._patience, self._reactor)
        made.addCallbacks(self._connected, self._not_connected)
        return waiting

    def _connected(self, protocol: Protocol) -> None:
        self._protocol = protocol
        waiting, self._connecting = self._connecting or [], None
        for each in waiting:
            if not each.called:
                each.callback(protocol)

    def _not_connected(self, failure: Failure) -> None:
        waiting, self._connecting = self._connecting or [], None
        for each in waiting:
            if not each.called:
                each.errback(failure)

    def _connect(self) -> Deferred[Protocol]:
        location = self.location
        if location.master is None:
            return self._open(self._endpoint(), location.password, location.user, location.database)
        # One that hangs takes all the time there is: the next attempt begins with another one.
        first, places = self._sentinel % len(location.places), location.places
        self._sentinel += 1
        return self._ask_sentinels([*places[first:], *places[:first]])

    def _endpoint(self) -> Any:
        location = self.location
        if location.path is not None:
            return UNIXClientEndpoint(self._reactor, location.path, timeout=1)
        return self._server(*location.places[0])

    def _server(self, host: str, port: int) -> Any:
        """With TLS where that is wanted."""
        plain, location = self._tcp(host, port), self.location
        if not location.tls:
            return plain
        return wrapClientTLS(_trusting(host, location.ca), plain)

    def _tcp(self, host: str, port: int) -> Any:
        """An address needs no resolver, which may be out of order when Redis is."""
        kind: Any = HostnameEndpoint
        if isIPAddress(host):
            kind = TCP4ClientEndpoint
        elif isIPv6Address(host):
            kind = TCP6ClientEndpoint
        return kind(self._reactor, host, port, timeout=1)

    def _open(
        self, endpoint: Any, password: str | None, user: str | None, database: int
    ) -> Deferred[Protocol]:
        factory = _Connecting(
            lambda: Protocol(
                charset="utf-8" if password else None,
                password=password,
                username=user,
                dbid=database or None,
                convertNumbers=False,
            )
        )
        made: list[Protocol] = []

        def give_up(_: object) -> None:
            # As where Redis takes the connection and then does not let us in.
            for protocol in made:
                protocol.transport.abortConnection()
            connecting.cancel()

        opened: Deferred[Protocol] = Deferred(give_up)

        def ready(protocol: Protocol) -> Any:
            made.append(protocol)
            return protocol.whenConnected()

        def connected(protocol: Protocol) -> None:
            protocol.charset = None
            if not opened.called:
                opened.callback(protocol)

        def refused(failure: Failure) -> None:
            if not opened.called:
                opened.errback(failure)

        factory.failed.addErrback(refused)
        connecting = endpoint.connect(factory)
        connecting.addCallback(ready)
        connecting.addCallbacks(connected, refused)
        return opened

    def _ask_sentinels(self, places: list[tuple[str, int]]) -> Deferred[Protocol]:
        host, port = places[0]

        def asked(sentinel: Protocol) -> Any:
            found = sentinel.execute_command(
                "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.location.master
            )
            return found.addBoth(_hang_up, sentinel).addCallback(told)

        def told(found: Any) -> Deferred[Protocol]:
            if not found:
                raise Unavailable(f"the sentinel does not know {self.location.master}")
            master = self._server(found[0].decode(), int(found[1]))
            return self._open(master, location.password, location.user, location.database)

        location = self.location
        opened: Deferred[Protocol] = maybeDeferred(self._server, host, port)
        opened.addCallback(self._open, location.sentinel_password, location.sentinel_user, 0)
        opened.addCallback(asked)
        return opened.addErrback(self._ask_others, places[1:])

    def _ask_others(self, failure: Failure, places: list[tuple[str, int]]) -> Deferred[Protocol]:
        """The last one tells why."""
        return self._ask_sentinels(places) if places else fail(failure)


def _trusting(host: str, ca: str | None) -> Any:
    """How a server at ``host`` has to prove that it is that. Raises OSError, or ValueError."""
    from OpenSSL import SSL
    from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates

    if ca is None:
        return optionsForClientTLS(host)
    with open(ca, "rb") as file:
        text = file.read()
    marks = b"-----BEGIN CERTIFICATE-----"
    try:
        roots = [Certificate.loadPEM(marks + each) for each in text.split(marks)[1:]]
    except SSL.Error as error:
        raise ValueError(f"{ca} holds no certificates") from error
    if not roots:
        raise ValueError(f"{ca} holds no certificates")
    return optionsForClientTLS(host, trustRootFromCertificates(roots))


def _hang_up(found: Any, protocol: Protocol) -> Any:
    protocol.transport.loseConnection()
    return found


def _octets(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _owner(found: Any) -> Owner | None:
    """As scripts and HMGET answer."""
    if not found or found[1] is None:
        return None
    node, epoch, beat, here = found
    return Owner(node.decode(errors="replace"), int(epoch), int(beat), int(here) == 1)
