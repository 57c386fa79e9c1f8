"""Learns the addresses that replies name where the operator said ``auto`` or ``stun``.

Each is looked at when the relay starts and every minute from then on. What is known stays known
when nobody answers: an address does not go because a server did.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from ipaddress import ip_address
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtpproxy_tw import stun
from rtpproxy_tw.addresses import Address, LocalAddress, canonical, is_private
from rtpproxy_tw.advertising import Policy, Told, plausible, policy_of
from rtpproxy_tw.configuration.settings import MAX_LISTEN, Settings
from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.errors import RelayError
from rtpproxy_tw.media.routes import local_for
from rtpproxy_tw.registry import SessionRegistry
from rtpproxy_tw.reporting.exposition import Family, labelled, single
from rtpproxy_tw.snapshot.kinds import HOST, either, listed, row, text

EVERY = 60.0
"""Seconds between two looks: where a provider gives another address, new calls should not fail for
long."""

SOON = 10.0
"""The same while it is not known."""

ANYWHERE: dict[int, str] = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""For documentation (RFC 5737, RFC 3849): the default route leads there. Nothing is sent."""

ENTRIES = listed(row(HOST, either(text(64)), HOST), MAX_LISTEN)
"""Of ToldAddresses."""

Ask = Callable[[LocalAddress, Address], "Deferred[str]"]
"""How the address is seen by a server. Fails with RelayError."""

Changed = Callable[[LocalAddress, str, str], object]
"""Is told of an address, what was told of it until now, and what is told from now on."""


class NoAnswer(RelayError):
    """A STUN server did not answer, or not in its language."""


class Advertiser(Service):
    """Looks at the addresses among ``addresses`` that have a policy.

    ``route`` gives the local host that leads to another, None without one; ``server`` is asked
    where a policy names none.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        addresses: Iterable[LocalAddress],
        told: Told,
        ask: Ask,
        route: Callable[[str], str | None],
        clock: IReactorTime,
        server: Address | None,
        changed: Changed = lambda local, before, now: None,
    ) -> None:
        found = [(local, policy_of(local.advertised)) for local in addresses]
        self._looked_at = [(local, policy) for local, policy in found if policy is not None]
        self.told = told
        self._ask = ask
        self._route = route
        self._clock = clock
        self._server = server
        self.changed = changed
        self.changes = 0
        """How often an address became another one."""
        self.failures = 0
        """How often it could not be learnt."""
        self._failing: set[str] = set()
        self._timer: IDelayedCall | None = None
        self._asking: set[Deferred[str]] = set()

    def startService(self) -> None:
        """Look, and go on looking."""
        super().startService()
        if self._looked_at:
            self._look()

    def stopService(self) -> None:
        """Look no more. Idempotent."""
        super().stopService()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        for asking in tuple(self._asking):
            asking.cancel()

    def _look(self) -> None:
        for local, policy in self._looked_at:
            asking: Deferred[str] = maybeDeferred(self._learn, local, policy)
            self._asking.add(asking)
            asking.addBoth(self._asked, asking)
            asking.addCallback(partial(self._learnt, local))
            asking.addErrback(partial(self._not_learnt, local))
            asking.addBoth(self._wait)
        self._wait(None)

    def _asked(self, result: str | Failure, asking: Deferred[str]) -> str | Failure:
        self._asking.discard(asking)
        return result

    def _wait(self, _: object) -> None:
        """Look again later, once all of this look's answers are there."""
        if self._asking or not self.running or (self._timer and self._timer.active()):
            return
        unknown = any(self.told.known(local) is None for local, _ in self._looked_at)
        self._timer = self._clock.callLater(SOON if unknown or self._failing else EVERY, self._look)

    def _learn(self, local: LocalAddress, policy: Policy) -> Deferred[str]:
        server = policy.server or self._server
        if policy.interface:
            own = self._route(ANYWHERE[local.family]) if local.wildcard else local.host
            if own is not None and (server is None or not is_private(own)):
                return succeed(own)
        if server is None:
            raise NoAnswer("there is no route, and no STUN server to ask")
        return self._ask(local, server)

    def _learnt(self, local: LocalAddress, host: str) -> None:
        if not self.running:
            return
        if not plausible(host, local):
            raise NoAnswer(f"{host} cannot be the address of {local.host}")
        self._failing.discard(local.host)
        before = self.told.learn(local, host)
        if before is None:
            self._log.info("media address {host} is told as {now}", host=local.host, now=host)
        elif before != host:
            self.changes += 1
            self._log.warn(
                "media address {host} is told as {now} from now on, no longer as {before}; calls"
                " that were set up before hear nothing until they are set up anew",
                host=local.host,
                now=host,
                before=before,
            )
            self.changed(local, before, host)

    def _not_learnt(self, local: LocalAddress, failure: Failure) -> None:
        failure.trap(RelayError, OSError, CancelledError)
        if not self.running:
            return
        self.failures += 1
        if local.host not in self._failing:
            self._failing.add(local.host)
            self._log.warn(
                "how media address {host} is seen outside cannot be learnt ({why}); replies name"
                " {told}",
                host=local.host,
                why=failure.getErrorMessage(),
                told=self.told.known(local) or "it as it is",
            )

    def families(self) -> Iterator[Family]:
        """Metrics; none where nothing is learnt."""
        if not self._looked_at:
            return
        yield single(
            "relay_advertised_changes_total",
            "counter",
            "How often an advertised address became another one.",
            self.changes,
        )
        yield single(
            "relay_advertised_failures_total",
            "counter",
            "How often an advertised address could not be learnt.",
            self.failures,
        )
        yield labelled(
            "relay_advertised_known",
            "gauge",
            "1 where the advertised address of a media address is known.",
            [
                ((("address_id", local.label or local.host),), self.told.known(local) is not None)
                for local, _ in self._looked_at
            ],
        )


class StunClient:
    """Asks servers from the address itself, so that the answer is about it."""

    def __init__(self, reactor: Any, random: Callable[[int], bytes]) -> None:
        """``random`` makes so many unpredictable octets."""
        self._reactor = reactor
        self._random = random

    def __call__(self, local: LocalAddress, server: Address) -> Deferred[str]:
        """See Ask."""
        found: Deferred[Address]
        try:
            found = maybeDeferred(lambda: (canonical(server[0]), server[1]))
            ip_address(server[0])
        except ValueError:
            found = deferToThread(resolve, server, local.family)
        return found.addCallback(partial(self._send, local))

    def _send(self, local: LocalAddress, server: Address) -> Deferred[str]:
        question = _Question(self._reactor, server, self._random(stun.ID_OCTETS))
        self._reactor.listenUDP(0, question, interface=local.host)
        return question.answer


def resolve(server: Address, family: int) -> Address:
    """The numeric address of ``server``. Blocks; raises OSError."""
    found = socket.getaddrinfo(*server, family, socket.SOCK_DGRAM)
    return str(found[0][4][0]), server[1]


class _Question(DatagramProtocol):
    """One request, sent until it is answered or time is over."""

    noisy = False

    def __init__(self, reactor: Any, server: Address, transaction: bytes) -> None:
        self.answer: Deferred[str] = Deferred(lambda _: self._close())
        self._reactor = reactor
        self._server = server
        self._transaction = transaction
        self._waits = iter(stun.RESEND)
        self._timer: IDelayedCall | None = None

    def startProtocol(self) -> None:
        """The socket is open."""
        self._again()

    def _again(self) -> None:
        self._timer = None
        wait = next(self._waits, None)
        if wait is None:
            host, port = self._server
            self._end(Failure(NoAnswer(f"no answer from the STUN server {host} port {port}")))
            return
        try:
            self.transport.write(stun.request(self._transaction), self._server)  # type: ignore[union-attr]  # it is open
        except OSError as error:
            self._end(Failure(NoAnswer(f"{self._server[0]} cannot be asked: {error.strerror}")))
            return
        self._timer = self._reactor.callLater(wait, self._again)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Something came; only the server's answer counts."""
        if self.answer.called or (canonical(addr[0]), addr[1]) != self._server:
            return
        try:
            host, _ = stun.mapped_in(datagram, self._transaction)
        except stun.NotStun:
            return
        self._end(host)

    def _end(self, outcome: str | Failure) -> None:
        self._close()
        if isinstance(outcome, str):
            self.answer.callback(outcome)
        else:
            self.answer.errback(outcome)

    def _close(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self.transport is not None:
            self.transport.stopListening()


class ToldAddresses:
    """What is known, for a relay that goes on in our place: it must not begin by asking."""

    name = "advertised"

    def __init__(self, told: Told, looked_at: Iterable[LocalAddress]) -> None:
        """``looked_at`` are the addresses that may be learnt; others are told as configured."""
        self._told = told
        self._looked_at = [each for each in looked_at if policy_of(each.advertised) is not None]

    def pack(self, luggage: Luggage) -> Any:
        """See Whole."""
        return [list(entry) for entry in self._told.entries()] or None

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole. What the new settings do not have learnt is left out."""
        known = {(host, label): told for host, label, told in ENTRIES.unpack(value, shift)}
        for local in self._looked_at:
            told = known.get((local.host, local.label))
            if told is not None and plausible(told, local):
                self._told.learn(local, told)


class Announcing(Protocol):
    """Tells people of what happens."""

    def announce(self, kind: str, text: str) -> None:
        """``text`` has happened."""


def make_advertiser(settings: Settings, reactor: Any) -> Advertiser:
    """The one that ``settings`` ask for."""
    return Advertiser(
        addresses=settings.addresses.all(),
        told=Told(),
        ask=StunClient(reactor, secrets.token_bytes),
        route=local_for,
        clock=reactor,
        server=settings.stun_server,
    )


def telling(registry: SessionRegistry, feed: Announcing, now: Callable[[], float]) -> Changed:
    """Puts a change into the feed, and into the timelines of the calls that it concerns."""

    def changed(local: LocalAddress, before: str, host: str) -> None:
        feed.announce("address", f"{local.host} is told as {host}, no longer as {before}")
        text = f"the relay is at {host} now, no longer at {before}"
        for session in tuple(registry):
            legs = [leg.local for leg in session.legs if leg.local is not None]
            if any((each.host, each.label) == (local.host, local.label) for each in legs):
                session.timeline.add(now(), "address", text)

    return changed
