"""One node of a cluster: keeps what is its own, writes it down, takes over what others lose.

Nothing here is waited for by a command or a packet: what is to be written waits in ``Pending``,
and the store is asked by a timer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtpproxy_tw.cluster.holding import Calls, Holding
from rtpproxy_tw.cluster.pending import Pending, name_of
from rtpproxy_tw.cluster.store import Batch, Owner, Unavailable
from rtpproxy_tw.cluster.watch import Watch
from rtpproxy_tw.errors import RelayError
from rtpproxy_tw.session import Session

SOON = 0.02
"""Seconds from a change to its writing, in which more changes join it."""

PER_WRITE = 25
"""Sessions; to make lines of them takes some two milliseconds, in which no packet is relayed."""

RENEW = 300.0
"""Seconds after which a session is written again although nothing has happened to it: by so much
at most its age and its counters are too small where another node goes on with it."""

PER_DEPOSIT = 500
"""The same when this node stops and need relay no more."""

ABSTAIN = 5
"""Leases for which an address that somebody asked us for is left to it."""

SHARES = 8
"""In so many ticks all sessions are looked at."""

SLICE = 0.005
"""Seconds that restoring sessions may keep the reactor at a time."""

TELLING = 5.0
"""Seconds without a word after which a node is thought to be gone, by the list of nodes alone."""


CAME = "it has come to this host"


class NotTaken(RelayError):
    """An address was not taken over; the text says why."""


class Node:
    """``name`` is unique among the nodes, ``own`` are the addresses on which new calls are taken
    here, ``standby`` those of others to be taken over. ``lease``: seconds of silence by which an
    owner is known to be dead. ``give`` asks a live owner to write everything down and to stop.
    """

    log = Logger()

    def __init__(
        self,
        *,
        name: str,
        store: Any,
        clock: IReactorTime,
        calls: Calls,
        own: Sequence[str],
        standby: Sequence[str] = (),
        lease: float = 1.0,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.name = name
        self.store = store
        self.clock = clock
        self.calls = calls
        self.lease = lease
        self.holdings = {
            address: Holding(
                address, address in own, Watch(lease), Pending(self._line, clock.seconds)
            )
            for address in dict.fromkeys((*own, *standby))
        }
        self.peers: dict[str, dict[str, Any] | None] = {}
        """What the other nodes tell of themselves; None for those that fell silent."""
        self.give: Callable[[str, str], Deferred[Any]] = lambda node, address: succeed(None)
        self.splits = 0
        """How often two nodes thought that an address was theirs."""
        self._now = now
        self._asking = False
        self._soon: Any = None
        self._share = 0
        self._to_look: list[Session] = []
        self.stopped = False

    # What the rest of the relay tells.

    def changed(self, session: Session) -> None:
        """Something worth writing down happened to ``session``."""
        holding = self.holdings.get(self.calls.address_of(session))
        if holding is not None and session.ended is None:
            holding.pending.changed(session)
            self._flush_soon()

    def gone(self, session: Session) -> None:
        """It has ended, and not because another node goes on with it."""
        holding = self.holdings.get(self.calls.address_of(session))
        if holding is not None:
            holding.changes.pop(session, None)
            holding.pending.gone(session)
            self._flush_soon()

    # What others ask.

    def owns(self, address: str) -> bool:
        """Whether it is ours."""
        holding = self.holdings.get(address)
        return holding is not None and holding.mine is not None

    def is_served(self, address: str) -> bool:
        """Whether calls on it are ours to make: we own it, or nobody else is known to."""
        holding = self.holdings.get(address)
        if holding is None or holding.mine is not None:
            return True
        return holding.own and not holding.watch.is_alive(self.clock.seconds())

    def may_end(self, session: Session) -> bool:
        """Whether the end of ``session`` by lapse of time is ours to tell.

        Not where another node may go on with it: where we have not been told for long that we are
        the owner, though the store answers, or though packets go elsewhere.
        """
        holding = self.holdings.get(self.calls.address_of(session))
        if holding is None:
            return True
        if holding.mine is None:
            owner = holding.watch.owner
            return owner is None or not holding.watch.beats
        if self.clock.seconds() - holding.confirmed <= 2 * self.lease:
            return True
        return not self.store.usable and self.calls.is_here(holding.address)

    def living(self) -> list[str]:
        """The other nodes that are alive."""
        return [name for name, about in self.peers.items() if about and name != self.name]

    @property
    def lag(self) -> float:
        """Seconds for which something that is to be written down has been waiting."""
        since = [each.pending.since for each in self.holdings.values() if len(each.pending)]
        return max((self.clock.seconds() - at for at in since), default=0.0)

    def status(self) -> dict[str, Any]:
        """For people: JSON."""
        now = self.clock.seconds()
        return {
            "node": self.name,
            "store": {
                "where": self.store.location.text if hasattr(self.store, "location") else "",
                "usable": self.store.usable,
                "why": getattr(getattr(self.store, "breaker", None), "why", ""),
                "queue": sum(len(each.pending) for each in self.holdings.values()),
                "lag_seconds": round(self.lag, 3),
            },
            "splits": self.splits,
            "addresses": [each.status(now) for each in self.holdings.values()],
        }

    def take_over(self, address: str, why: str) -> Deferred[None]:
        """Become the owner of ``address``, and go on with its sessions. Idempotent.

        Fires when that is done; fails with Unavailable or NotTaken.
        """
        holding = self.holdings.get(address)
        if holding is None:
            raise NotTaken(f"{address} is neither ours nor do we stand by for it")
        if holding.waiting is None and holding.mine is not None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        if holding.waiting is not None:
            holding.waiting.append(done)
            return done
        holding.waiting = [done]
        taking: Deferred[Any] = self._take(holding, why)
        taking.addBoth(self._taken, holding)
        return done

    @inlineCallbacks
    def hand_over(self, address: str) -> Any:
        """Write everything of ``address`` down, and stop: somebody else is about to take it."""
        holding = self.holdings[address]
        if holding.mine is None:
            return
        for session in self._of(holding):
            holding.pending.changed(session)
        yield self._write_all(holding)
        self.log.info("{address} is given up", address=address)
        mine, holding.mine = holding.mine, None
        self._forget(holding)
        holding.abstains = self.clock.seconds() + ABSTAIN * self.lease
        yield self.store.release(address, mine.epoch)

    def leave(self) -> Deferred[Any]:
        """This node stops: what others stand by for is theirs, the rest ends.

        Nobody else need be told of those sessions: they are forgotten when this returns. Fires
        when all is written down.
        """
        self.stop()
        left: list[tuple[Holding, dict[str, bytes], set[str]]] = []
        for holding in self.holdings.values():
            if holding.mine is None or not self.store.usable:
                continue
            sessions = self._of(holding)
            lines: dict[str, bytes] = {}
            if self.heirs(holding.address):
                lines = {name_of(session): self.calls.record(session) for session in sessions}
                for session in sessions:
                    self.calls.leave(session)
            left.append((holding, lines, {name_of(session) for session in sessions} - set(lines)))
        depositing: Deferred[Any] = self._deposit(left)
        return depositing.addErrback(self._not_deposited)

    @inlineCallbacks
    def _deposit(self, left: list[tuple[Holding, dict[str, bytes], set[str]]]) -> Any:
        for holding, lines, gone in left:
            assert holding.mine is not None
            address, epoch = holding.address, holding.mine.epoch
            names = list(lines)
            gone |= (yield self.store.names(address)) - set(names)
            for at in range(0, len(names), PER_DEPOSIT):
                some = {name: lines[name] for name in names[at : at + PER_DEPOSIT]}
                yield self.store.write(address, epoch, Batch(some))
            yield self.store.write(address, epoch, Batch({}, list(gone)))
            yield self.store.release(address, epoch)
            self.log.info(
                "{address} is given up, {count} sessions go on elsewhere",
                address=address,
                count=len(lines),
            )

    def _not_deposited(self, failure: Failure) -> None:
        self.log.error(
            "not all sessions could be left to others: {why}", why=failure.getErrorMessage()
        )

    @inlineCallbacks
    def bequeath(self) -> Any:
        """Hand over what others stand by for, and go on. Fails with Unavailable."""
        for holding in self.holdings.values():
            if holding.mine is not None and self.heirs(holding.address):
                yield self.hand_over(holding.address)

    def heirs(self, address: str) -> list[str]:
        """The living nodes that would take ``address`` over."""
        return [
            name
            for name in self.living()
            if address in (self.peers[name] or {}).get("addresses", ())
        ]

    def stop(self) -> None:
        """Do nothing any more."""
        self.stopped = True
        if self._soon is not None and self._soon.active():
            self._soon.cancel()
        self._soon = None

    # The timer.

    def tick(self) -> None:
        """To be called four times a lease."""
        if self.stopped:
            return
        self._look_at_some()
        if not self._asking:
            self._asking = True
            asked: Deferred[Any] = self._ask()
            asked.addErrback(self._blind).addBoth(self._asked)

    def _asked(self, result: object) -> None:
        self._asking = False
        if any(len(holding.pending) for holding in self.holdings.values()):
            self._flush_soon()

    def _blind(self, failure: Failure) -> None:
        if not failure.check(Unavailable):
            self.log.failure("the cluster was not looked at", failure)
        for holding in self.holdings.values():
            holding.watch.blind()
            holding.settled = False
            holding.resync = holding.resync or holding.mine is not None

    @inlineCallbacks
    def _ask(self) -> Any:
        about = {"addresses": list(self.holdings), **self.calls.about()}
        about["owns"] = [each.address for each in self.holdings.values() if each.mine]
        # This one writes: a store that only reads tells nothing about others' beats.
        yield self.store.tell(self.name, json.dumps(about).encode(), TELLING)
        owners = yield self.store.owners(list(self.holdings))
        for holding in self.holdings.values():
            if self.stopped:
                return
            if holding.waiting is not None:
                continue
            if holding.mine is not None:
                yield self._beat(holding, owners[holding.address])
            else:
                self._watch(holding, owners[holding.address])
        found = yield self.store.nodes()
        self.peers = {
            node: None if about is None else _read(about) for node, about in found.items()
        }

    @inlineCallbacks
    def _beat(self, holding: Holding, written: Owner | None) -> Any:
        mine = holding.mine
        assert mine is not None
        if written is None or written.epoch < mine.epoch:
            holding.resync = True
        here = self.calls.is_here(holding.address)
        mine = holding.mine = mine._replace(beat=mine.beat + 1, here=here)
        found = yield self.store.beat(holding.address, mine)
        if holding.mine is None or holding.mine.epoch != mine.epoch:
            return
        if (found.node, found.epoch) != (mine.node, mine.epoch):
            yield self._lost(holding, found)
            return
        holding.confirmed = self.clock.seconds()
        if holding.resync:
            yield self._compare(holding)

    def _watch(self, holding: Holding, written: Owner | None) -> None:
        now = self.clock.seconds()
        dead = holding.watch.see(written, now)
        # What is our own is taken where nobody has it, or where we had it before we were restarted.
        if self._came(holding) and written is not None:
            self._take_if_possible(holding, CAME)
            return
        if now < holding.abstains:
            return
        if written is not None and written.node != self.name and holding.watch.beats and not dead:
            self._settle(holding, written)
            return
        mine = holding.own and holding.watch.is_vacant(now)
        if written is not None:
            mine = written.node == self.name
        if dead or mine:
            gone = written.node if written is not None else ""
            why = "it was nobody else's" if mine else f"{gone or 'its owner'} is gone"
            self._take_if_possible(holding, why)

    def _settle(self, holding: Holding, owner: Owner) -> None:
        """Somebody else lives and has it: what we began, or were left, without knowing is its."""
        if holding.settled:
            return
        holding.settled = True
        if not (sessions := self._of(holding)):
            return
        if self.calls.is_here(holding.address) and not owner.here:
            self._take_if_possible(holding, "it is here, where packets come")
        else:
            self._leave_to(holding, owner, sessions)

    def _leave_to(self, holding: Holding, owner: Owner, sessions: list[Session]) -> None:
        for session in sessions:
            self.calls.leave(session)
        self.log.error(
            "{address} is {node}'s now: {count} sessions are left to it",
            address=holding.address,
            node=owner.node,
            count=len(sessions),
        )

    def addresses_changed(self) -> None:
        """Addresses came to this host, or left it. Where one is, packets come to."""
        for holding in self.holdings.values():
            idle = holding.mine is None and holding.waiting is None and holding.here is not None
            if idle and not self.stopped and self._came(holding) and holding.watch.owner:
                self._take_if_possible(holding, CAME)

    def _came(self, holding: Holding) -> bool:
        here = self.calls.is_here(holding.address)
        came, holding.here = here and holding.here is False, here
        return came

    def _take_if_possible(self, holding: Holding, why: str) -> None:
        self.take_over(holding.address, why).addErrback(self._not_taken, holding)

    def _not_taken(self, failure: Failure, holding: Holding) -> None:
        failure.trap(RelayError)
        holding.watch.blind()
        self.log.warn(
            "{address} is not taken over: {why}",
            address=holding.address,
            why=failure.getErrorMessage(),
        )

    # Losing and taking.

    @inlineCallbacks
    def _lost(self, holding: Holding, found: Owner) -> Any:
        self.splits += 1
        if self.calls.is_here(holding.address) and not found.here:
            taken = yield self.store.take(holding.address, self.name, found.epoch, True)
            if taken is not None:
                self.log.error(
                    "{node} took {address} over although it is here, where packets come; it is"
                    " taken back",
                    node=found.node,
                    address=holding.address,
                )
                holding.mine, holding.resync = taken, True
                return
        sessions = self._of(holding)
        holding.mine = None
        self._leave_to(holding, found, sessions)
        self._forget(holding)

    def _forget(self, holding: Holding) -> None:
        for session in self._of(holding):
            self.calls.leave(session)
        holding.pending.clear()
        holding.changes.clear()
        holding.watch, holding.here = Watch(self.lease), None
        holding.settled = False

    @inlineCallbacks
    def _take(self, holding: Holding, why: str) -> Any:
        address = holding.address
        owner = (yield self.store.owners([address]))[address]
        alive = holding.watch.is_alive(self.clock.seconds())
        if owner is not None and alive and owner.node in self.living():
            try:
                yield self.give(owner.node, address)
            except RelayError as error:
                self.log.warn("{node} did not give way: {why}", node=owner.node, why=error)
        began = self._now()
        here = self.calls.is_here(address)
        mine = yield self.store.take(address, self.name, owner.epoch if owner else 0, here)
        if mine is None:
            raise NotTaken("another node was quicker")
        before, refused = len(self._of(holding)), 0
        cursor, first = "", True
        while first or cursor:
            page = yield self.store.load(address, cursor)
            refused += yield self._restore(list(page.lines))
            cursor, first = page.cursor, False
        self.calls.restored()
        holding.mine, holding.taken_at = mine, self.clock.seconds()
        holding.confirmed = holding.taken_at
        count = len(self._of(holding)) - before
        holding.took = self._now() - began
        holding.taken += count
        holding.refused += refused
        # What we had before anybody could be asked, and what was not taken, is put right.
        holding.resync = bool(before or refused)
        log = self.log.warn if count or refused else self.log.info
        log(
            "{address} is ours, as {why}: {count} sessions go on, {refused} do not; that took"
            " {milliseconds:.0f} ms",
            address=address,
            why=why,
            count=count,
            refused=refused,
            milliseconds=1000 * holding.took,
        )

    @inlineCallbacks
    def _restore(self, lines: list[bytes]) -> Any:
        refused, until = 0, self._now() + SLICE
        for line in lines:
            refused += self.calls.restore([line])
            if self._now() >= until:
                yield deferLater(self.clock, 0, lambda: None)
                until = self._now() + SLICE
        return refused

    def _taken(self, result: object, holding: Holding) -> None:
        waiting, holding.waiting = holding.waiting or [], None
        for each in waiting:
            if isinstance(result, Failure):
                each.errback(result)
            else:
                each.callback(None)

    # Writing.

    def _of(self, holding: Holding) -> list[Session]:
        return [
            session
            for session in self.calls.all()
            if self.calls.address_of(session) == holding.address
        ]

    def _line(self, session: Session) -> bytes:
        return self.calls.record(session)

    def _look_at_some(self) -> None:
        """What packets have changed, which nobody tells of; and what was not written for long."""
        if not self._to_look:
            self._to_look = list(self.calls.all())
            self._share = -(-len(self._to_look) // SHARES)
        now = self.clock.seconds()
        some, self._to_look = self._to_look[: self._share], self._to_look[self._share :]
        for session in some:
            if session.ended is not None:
                continue  # nothing of it may be there any more
            holding = self.holdings.get(self.calls.address_of(session))
            if holding is None or holding.mine is None:
                continue
            mark = self.calls.mark(session)
            before = holding.changes.get(session)
            if before is None or before[0] != mark or now - before[1] >= RENEW:
                holding.changes[session] = mark, now
                holding.pending.changed(session)

    def _flush_soon(self) -> None:
        if self._soon is None and not self.stopped and self.store.usable:
            self._soon = self.clock.callLater(SOON, self._flush)

    def _flush(self) -> None:
        self._soon = None
        for holding in self.holdings.values():
            if holding.mine is None or holding.writing or not len(holding.pending):
                continue
            if holding.pending.incomplete:
                holding.resync = True
            self._write(holding).addBoth(self._flushed)

    def _flushed(self, result: object) -> None:
        # Where the writing failed, the timer looks first what has become of the store.
        if result is True and any(
            holding.mine and len(holding.pending) for holding in self.holdings.values()
        ):
            self._flush_soon()

    def _write(self, holding: Holding) -> Deferred[Any]:
        assert holding.mine is not None
        batch, sessions = holding.pending.take(PER_WRITE)
        holding.writing = True

        def done(result: Any) -> Any:
            holding.writing = False
            if result is not True and holding.mine is not None:
                holding.pending.put_back(batch, sessions)
                holding.resync = True
            return False if isinstance(result, Failure) else result

        writing: Deferred[Any] = self.store.write(holding.address, holding.mine.epoch, batch)
        return writing.addBoth(done)

    @inlineCallbacks
    def _write_all(self, holding: Holding) -> Any:
        while len(holding.pending):
            if holding.writing:
                yield deferLater(self.clock, SOON, lambda: None)
                continue
            written = yield self._write(holding)
            if not written:
                raise Unavailable("not all could be written down")

    @inlineCallbacks
    def _compare(self, holding: Holding) -> Any:
        """Have the store what we have, and no more."""
        names = yield self.store.names(holding.address)
        holding.resync = holding.pending.incomplete = False
        for session in self._of(holding):
            names.discard(name_of(session))
            holding.pending.changed(session)
        for name in names:
            holding.pending.forget(name)


def _read(about: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(about)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
