"""The look at every session once a second that quality and verdicts are made of.

A round goes over all sessions in small slices with pauses between, so that a packet never waits
for more than one slice, however many sessions there are. Those that a faster path carries are
surveyed together first: where media only goes on, or stays away, a look may wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from twisted.application.internet import TimerService
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.addresses import Address, family_of
from rtpproxy_tw.interfaces import ISessionObserver
from rtpproxy_tw.quality.monitor import Monitor
from rtpproxy_tw.quality.verdict import code_of, final_code
from rtpproxy_tw.quality.words import Sentence
from rtpproxy_tw.registry import SessionRegistry
from rtpproxy_tw.session import Ending, Leg, Session

SLICE = 25
"""Sessions looked at in one go: a fraction of a millisecond."""

THOROUGH = 10
"""Every so many rounds ports are forgotten that were never said to be left."""

ROUND = 0.8
"""Seconds over which a round is spread; the next one begins a second after it began."""

STEPS = 2
"""Of the survey, in one go."""

BREATH = 0.002
"""Seconds between such goes."""


def _nothing() -> Iterator[set[Session]]:
    yield set()


@implementer(ISessionObserver)
class Sampler:
    """Looks at all ``sessions`` each time :meth:`tick` is called, once a second.

    ``is_local`` tells whether a numeric host is an address of this machine; ``refresh`` brings the
    counters of a session up to date that another path than ours carries, ``go_on`` those of one
    where that only went on, and ``stirred`` tells where it did not (see IMediaPlane); ``release``
    has every packet of a session judged for a while, those of strangers too.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        is_local: Callable[[str], bool],
        refresh: Callable[[Session], None] = lambda session: None,
        go_on: Callable[[Session], bool] = lambda session: False,
        stirred: Callable[[], Iterator[set[Session]]] = _nothing,
        release: Callable[[Session], None] = lambda session: None,
    ) -> None:
        self.sessions: Sequence[Session] | SessionRegistry = ()
        """What to look at; set later, as the registry is made with its observers."""
        self._clock = clock
        self._is_local = is_local
        self._refresh = refresh
        self._go_on = go_on
        self._ask = stirred
        self._release = release
        self._survey: Iterator[set[Session]] | None = None
        self._stirred: set[Session] = set()
        """Those of which the last survey has told."""
        self._left: list[Session] = []
        self._pause = 0.0
        self._turn: IDelayedCall | None = None
        self._ports: dict[tuple[int, int], Leg] = {}
        """Whose RTP port a number is; by address family. Some that were may still be there."""
        self._found: dict[tuple[int, int], Leg] = {}
        """The same as this round finds them."""
        self._resting: dict[Session, float] = {}
        """Sessions that need no look before then, as long as they only go on."""
        self._thorough = False
        self._thorough_in = 0
        """Rounds until it is looked anew where all ports are."""

    def tick(self) -> None:
        """A second has passed: begin a round, unless one is still going on."""
        if self._left or self._survey is not None:
            return
        self._survey, self._stirred = self._ask(), set()
        self._look_over()

    def _look_over(self) -> None:
        """Some steps of the survey, and after the last one the first slice."""
        self._turn = None
        assert self._survey is not None
        for _ in range(STEPS):
            found = next(self._survey, None)
            if found is None:
                break
            self._stirred |= found
        else:
            self._turn = self._clock.callLater(BREATH, self._look_over)
            return
        self._survey = None
        self._thorough = not self._thorough_in
        self._thorough_in = (self._thorough_in or THOROUGH) - 1
        self._found = {} if self._thorough else self._ports
        self._left = [*self.sessions] if self._thorough else self._due()
        self._pause = ROUND * SLICE / max(1, len(self._left))
        self._slice()

    def _due(self) -> list[Session]:
        """Those that must be looked at in this round."""
        now, resting, stirred = self._clock.seconds(), self._resting, self._stirred
        return [it for it in self.sessions if resting.get(it, 0.0) <= now or it in stirred]

    def stop(self) -> None:
        """Look no more. Idempotent."""
        self._left, self._survey = [], None
        if self._turn is not None and self._turn.active():
            self._turn.cancel()

    def unreachable(self, local: Address, remote: Address) -> None:
        """The network reported that what was sent from ``local`` cannot arrive at ``remote``."""
        family = family_of(local[0])
        for port, component in ((local[1], 0), (local[1] - 1, 1)):
            leg = self._ports.get((family, port))
            if leg is not None and leg.port == port:
                stream = leg.streams[component]
                if stream.latch.remote == remote:
                    stream.unreachable += 1
                    self._resting.pop(leg.session, None)
                    stream.unreachable_at = self._clock.seconds()
                return

    # ISessionObserver.

    def created(self, session: Session) -> None:
        """See ISessionObserver."""
        for leg in session.legs:
            self._note_port(leg, self._ports)

    def completed(self, session: Session) -> None:
        """See ISessionObserver."""
        for leg in session.legs:
            self._note_port(leg, self._ports)
        session.timeline.add(session.completed_at, "command", "both parties are known")

    def ended(self, session: Session, why: Ending) -> None:
        """See ISessionObserver."""
        now = self._clock.seconds()
        self._resting.pop(session, None)
        for leg in session.legs:
            place = _family(leg), leg.former_port
            if self._ports.get(place) is leg:  # the port may have a new session already
                del self._ports[place]
            if leg.monitor is None:
                leg.monitor = Monitor()
            leg.monitor.finish(leg, now)
        session.timeline.add(now, "end", why.value)
        if not session.complete:
            return
        caller, callee = session.legs
        codes = [final_code(leg, now) for leg in session.legs]
        self._log.info(
            "session {call_id!r} {from_tag!r}: caller {caller}: {caller_sentence};"
            " callee {callee}: {callee_sentence}",
            call_id=session.key.call_id,
            from_tag=session.key.from_tag,
            caller=codes[0],
            caller_sentence=Sentence(caller, codes[0], now),
            callee=codes[1],
            callee_sentence=Sentence(callee, codes[1], now),
        )

    # One round.

    def _slice(self) -> None:
        self._turn = None
        now = self._clock.seconds()
        batch, self._left = self._left[:SLICE], self._left[SLICE:]
        for session in batch:
            if session.ended is None:
                self._look(session, now)
        if self._left:
            self._turn = self._clock.callLater(self._pause, self._slice)
        else:
            self._ports = self._found

    def _look(self, session: Session, now: float) -> None:
        due = self._resting.pop(session, None)
        went_on = due is not None and session not in self._stirred
        if went_on and due is not None and now < due:
            self._resting[session] = due
            for leg in session.legs:
                self._note_port(leg, self._found)
            return
        caller, callee = session.legs
        carried = caller.rtp.offloaded or callee.rtp.offloaded
        if carried and not (went_on and self._go_on(session)):
            self._refresh(session)
        for leg in session.legs:
            self._note_port(leg, self._found)
            leg.rtp.looped = self._is_ours(leg)
            if not session.complete:
                continue
            monitor = leg.monitor
            if monitor is None:
                monitor = leg.monitor = Monitor()
            monitor.look(leg, now)
            if monitor.suffering and not leg.rtp.offloaded:
                # A port that is connected to the party does not hear it from a second source.
                self._release(session)
            code = code_of(leg, now)
            if code != monitor.code:
                monitor.code, monitor.code_since = code, now
                session.timeline.add(now, "verdict", f"{leg.side.value}: {code}")
        if caller.rtp.offloaded and callee.rtp.offloaded and session.complete:
            due = min(_rests_until(caller), _rests_until(callee))
            if now < due:
                self._resting[session] = due

    def _note_port(self, leg: Leg, ports: dict[tuple[int, int], Leg]) -> None:
        if leg.port:
            ports[_family(leg), leg.port] = leg

    def _is_ours(self, leg: Leg) -> bool:
        """Whether the party's media is sent to a port of this relay."""
        remote = leg.rtp.latch.remote
        if remote is None:
            return False
        host, port = remote
        other = self._ports.get((family_of(host), port))
        if other is None or other.local is None or other.port != port:
            return False
        local = other.local
        if host in (local.host, local.advertised):
            return True
        return local.wildcard and self._is_local(host)


def _rests_until(leg: Leg) -> float:
    return leg.monitor.rests_until(leg) if leg.monitor is not None else 0.0


def _family(leg: Leg) -> int:
    return leg.local.family if leg.local is not None else 0


class Sampling(TimerService):
    """The service that lets ``sampler`` look at the sessions of ``registry`` each second."""

    def __init__(self, sampler: Sampler, registry: SessionRegistry, clock: IReactorTime) -> None:
        super().__init__(1.0, sampler.tick)
        self.clock = clock
        self.sampler = sampler
        sampler.sessions = registry

    def stopService(self) -> object:
        """Stop, within a round too."""
        self.sampler.stop()
        # One that was never started has nothing to wait for; Twisted's would fail.
        return super().stopService() if self.running else None
