"""What changes about the calls, found out once a second for everyone who listens.

However many listen, the calls are looked at once; nobody listens, and they are not looked at. What
a listener has heard of is one number, so one that does not keep up costs nothing: when it reads
again it is told the present, not all that it missed.

Changes of state and of verdicts are told within a second. Figures of up to FIGURES calls are as
well; beyond that each call has its turn, so that the work stays the same.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.interfaces import ISessionObserver
from rtpproxy_tw.quality.verdict import final_code
from rtpproxy_tw.registry import SessionRegistry
from rtpproxy_tw.session import Ending, Session
from rtpproxy_tw.views.live import QUIET, Sign, row, sign
from rtpproxy_tw.views.text import identifier, shown, to_json

EVERY = 1.0
"""Seconds from the beginning of one round to the next."""

SLICE = 0.002
"""Seconds that looking may keep the reactor at a time."""

PAUSE = 0.004
"""Seconds between two slices."""

FIGURES = 250
"""Calls whose figures are renewed in one round though nothing else has changed."""

GONE_KEPT = 4096
"""Ended calls that are remembered for who was away; whoever was away longer starts anew."""

NEWS_KEPT = 100
"""Pieces of news that a new listener is told."""

LINGER = 30.0
"""Seconds that looking goes on after the last listener left: it may be about to come back."""

PART = 200
"""Calls in one event."""

View = dict[str, Any]


class Listener:
    """Whoever wants to know."""

    def published(self) -> None:
        """There is something new; see :meth:`Feed.since`."""

    def dismissed(self) -> None:
        """Another process tells from now on."""


@dataclass(slots=True)
class Known:
    """A call as it was told last."""

    told: bytes
    signs: tuple[tuple[str, Sign], ...]
    at: float
    sequence: int

    @property
    def octets(self) -> bytes:
        """As JSON."""
        return b'{"at":%.3f,%b' % (self.at, self.told[1:])


class Said(NamedTuple):
    """Something numbered: the id of a call that is gone, or a piece of news."""

    sequence: int
    octets: bytes


class Kept(NamedTuple):
    """What was told, and to be told to those who come again: see :class:`Feed`."""

    run: str
    sequence: int
    forgotten: int
    known: list[tuple[str, Known]]
    gone: list[Said]
    news: list[Said]


@implementer(ISessionObserver)
@dataclass(slots=True, eq=False)
class Feed:
    """Looks at the calls of ``registry`` (set later, as it is made with its observers).

    ``wall`` gives seconds since the epoch; ``overview`` what is told of the relay as a whole;
    ``now`` seconds that pass while code runs. ``run`` sets this feed's numbers apart from those of
    another run of the relay.
    """

    clock: IReactorTime
    wall: Callable[[], float]
    now: Callable[[], float] = time.perf_counter
    registry: SessionRegistry | None = None
    overview: Callable[[], View] = dict
    sequence: int = 0
    """The number of the last complete round."""
    run: str = field(init=False)
    _listeners: list[Listener] = field(default_factory=list)
    _known: dict[str, Known] = field(default_factory=dict)
    """In the order of their last change."""
    _turns: Iterator[str] = field(default_factory=lambda: iter(()))
    """Whose figures are next."""
    _gone: deque[Said] = field(default_factory=deque)
    _news: deque[Said] = field(default_factory=lambda: deque(maxlen=NEWS_KEPT))
    _relay: bytes = b"{}"
    _forgotten: int = 0
    """Up to this number, ended calls are not remembered any more."""
    _timer: IDelayedCall | None = None
    _alone_since: float | None = None
    _log = Logger()

    def __post_init__(self) -> None:
        self.run = f"{int(1000 * self.wall()):x}"

    # Listeners.

    def join(self, listener: Listener) -> bool:
        """``listener`` is told from now on; whether what is known already is the present."""
        current = self._timer is not None and bool(self.sequence)
        self._listeners.append(listener)
        self._alone_since = None
        if self._timer is None:
            self._timer = self.clock.callLater(0, self._begin)
        return current

    def leave(self, listener: Listener) -> None:
        """It wants to know no more. Idempotent."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        if not self._listeners and self._alone_since is None:
            self._alone_since = self.clock.seconds()

    def __len__(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def stop(self) -> None:
        """Look no more, whoever listens. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def dismiss(self) -> None:
        """Another process goes on: whoever listens is to go there, at once."""
        self.stop()
        for listener in tuple(self._listeners):
            listener.dismissed()

    def kept(self) -> Kept:
        """What another process needs to go on."""
        known, gone, news = list(self._known.items()), list(self._gone), list(self._news)
        return Kept(self.run, self.sequence, self._forgotten, known, gone, news)

    def go_on(self, kept: Kept) -> None:
        """Those who listened elsewhere come here now; nobody has listened here yet."""
        self.run, self.sequence, self._forgotten = kept.run, kept.sequence, kept.forgotten
        self._known = dict(kept.known)
        self._gone = deque(kept.gone)
        self._news.extend(kept.news)
        # If nobody comes, it is forgotten again.
        self._alone_since = self.clock.seconds()
        self._timer = self.clock.callLater(0, self._begin)

    def position(self, event_id: str | None) -> int | None:
        """The number in an event's id; None where it means nothing here any more."""
        run, _, number = (event_id or "").partition("-")
        if run != self.run or not (number.isascii() and number.isdecimal() and len(number) < 16):
            return None
        found = int(number)
        return found if self._forgotten <= found <= self.sequence else None

    def since(self, seen: int | None) -> Iterator[bytes]:
        """Events, in pieces, that bring who has ``seen`` so much up to now; None: nothing yet.

        The last event alone has an id: who is cut off before it is told everything again.
        """
        if seen is not None and seen < self._forgotten:
            seen = None
        sequence, at = self.sequence, seen or 0
        calls = self._newest(seen)
        gone = [] if seen is None else [each.octets for each in self._gone if each.sequence > at]
        news = [each.octets for each in self._news if seen is None or each.sequence > at]
        relay = self._relay
        return self._events(sequence, relay, calls, gone, news, reset=seen is None)

    def _newest(self, seen: int | None) -> list[Known]:
        found = []
        for known in reversed(self._known.values()):
            if seen is not None and known.sequence <= seen:
                break
            found.append(known)
        return found

    def _events(
        self,
        sequence: int,
        relay: bytes,
        calls: Sequence[Known],
        gone: Sequence[bytes],
        news: Sequence[bytes],
        *,
        reset: bool,
    ) -> Iterator[bytes]:
        for first in range(0, max(len(calls), int(bool(gone) or reset)), PART):
            yield _event(
                b"calls",
                b'{"reset":%b,"calls":[%b],"gone":[%b]}'
                % (
                    b"true" if reset and not first else b"false",
                    b",".join(each.octets for each in calls[first : first + PART]),
                    b"" if first else b",".join(gone),
                ),
            )
        if news:
            yield _event(b"news", b"[%b]" % b",".join(news))
        yield _event(b"relay", relay, f"{self.run}-{sequence}".encode())

    # Rounds.

    def _begin(self) -> None:
        self._timer = None
        if self._is_over():
            self._forget()
            return
        registry = self.registry
        calls: Iterable[str] = () if registry is None else registry.calls()
        work = self._look(self.clock.seconds(), calls)
        self._go_on(work, self.clock.seconds() + EVERY)

    def _is_over(self) -> bool:
        since = self._alone_since
        return since is not None and self.clock.seconds() - since >= LINGER

    def _forget(self) -> None:
        self._known, self._gone = {}, deque()
        self._forgotten = self.sequence + 1

    def _go_on(self, work: Iterator[None], due: float) -> None:
        until = self.now() + SLICE
        try:
            for _ in work:
                if self.now() >= until:
                    self._timer = self.clock.callLater(PAUSE, self._go_on, work, due)
                    return
        except Exception:
            self._log.failure("the calls could not be looked at for the listeners")
        self._timer = self.clock.callLater(max(0.0, due - self.clock.seconds()), self._begin)
        for listener in tuple(self._listeners):
            listener.published()

    def _look(self, began: float, calls: Iterable[str]) -> Iterator[None]:
        number = self.sequence + 1
        verdicts: Counter[str] = Counter()
        states: Counter[str] = Counter()
        seen, kernel, turn = set(), 0, self._next_turn()
        for call_id in calls:
            yield
            now = self.clock.seconds()
            found = [(each, sign(each, now)) for each in self._sessions(call_id)]
            if not found:
                continue
            seen.add(call_id)
            for _, (state, caller, callee, by_kernel, and_back, _) in found:
                states[state] += 1
                verdicts.update((caller, callee))
                kernel += by_kernel + and_back
            self._renew(call_id, found, now, number, call_id in turn)
        for call_id in self._known.keys() - seen:
            yield
            self._remove(call_id, number)
        self._relay = to_json(
            {
                **self.overview(),
                "verdicts": dict(verdicts),
                "states": dict(states),
                "kernel": kernel,
            }
        )
        self.sequence = number

    def _sessions(self, call_id: str) -> list[Session]:
        return [] if self.registry is None else self.registry.of_call(call_id)

    def _next_turn(self) -> set[str]:
        """The calls whose figures are told in this round even if nothing else has changed."""
        turn = set(islice(self._turns, FIGURES))
        if len(turn) < FIGURES and self.registry is not None:
            self._turns = iter(self.registry.calls())
            turn.update(islice(self._turns, FIGURES - len(turn)))
        return turn

    def _renew(
        self,
        call_id: str,
        found: list[tuple[Session, Sign]],
        now: float,
        number: int,
        has_turn: bool,
    ) -> None:
        """Have the call told if it must be, or if its turn has come, and it is another."""
        signs = tuple((session.key.from_tag, signs) for session, signs in found)
        known = self._known.get(call_id)
        changed = known is None or known.signs != signs
        if not (changed or has_turn):
            return
        if changed:
            self._tell(call_id, found, dict(known.signs) if known else {}, now, number)
        told = to_json(row(call_id, found, now, self._epoch()))
        if known is None or known.told != told:
            self._known.pop(call_id, None)
            self._known[call_id] = Known(told, signs, self._epoch() + now, number)

    def _epoch(self) -> float:
        return self.wall() - self.clock.seconds()

    def _remove(self, call_id: str, number: int) -> None:
        del self._known[call_id]
        if len(self._gone) == GONE_KEPT:
            self._forgotten = self._gone.popleft().sequence
        self._gone.append(Said(number, to_json(identifier(call_id))))

    # News.

    def _tell(
        self,
        call_id: str,
        found: list[tuple[Session, Sign]],
        before: dict[str, Sign],
        now: float,
        number: int,
    ) -> None:
        """Put what people want to know of the changes into the news."""
        for session, signs in found:
            old = before.get(session.key.from_tag)
            for leg, code, was in zip(
                session.legs, signs[1:3], old[1:3] if old else ("learning",) * 2, strict=True
            ):
                if code != was and not (code in QUIET and was in QUIET):
                    since = leg.monitor.code_since if leg.monitor and old is None else now
                    self._add_news(
                        call_id, "verdict", since or now, number, side=leg.side.value, code=code
                    )
            if old is not None and old[5] != signs[5]:
                what = "started" if signs[5] else "stopped"
                self._add_news(call_id, "recording", now, number, side=None, code=what)

    def announce(self, kind: str, text: str) -> None:
        """News of the relay itself, of no call."""
        now, number = self.clock.seconds(), self.sequence + 1
        self._add_news("", kind, now, number, side=None, code=text)

    def _add_news(
        self, call_id: str, kind: str, at: float, number: int, *, side: str | None, code: str
    ) -> None:
        made = {
            "at": round(self._epoch() + at, 3),
            "id": identifier(call_id),
            "call_id": shown(call_id),
            "kind": kind,
            "side": side,
            "code": code,
        }
        self._news.append(Said(number, to_json(made)))

    # ISessionObserver.

    def created(self, session: Session) -> None:
        """Nothing; the next round finds it."""

    def completed(self, session: Session) -> None:
        """Nothing."""

    def ended(self, session: Session, why: Ending) -> None:
        """Ends that nobody asked for are news, and so is the end of a call without audio."""
        now = self.clock.seconds()
        codes = [final_code(leg, now) for leg in session.legs]
        if why is not Ending.DELETED or not QUIET.issuperset(codes):
            number = self.sequence + 1
            self._add_news(session.key.call_id, "end", now, number, side=None, code=why.value)


def _event(name: bytes, data: bytes, event_id: bytes | None = None) -> bytes:
    head = b"" if event_id is None else b"id: %b\n" % event_id
    return b"%bevent: %b\ndata: %b\n\n" % (head, name, data)
