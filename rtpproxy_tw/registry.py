"""All sessions: finding, admitting, completing, ending and expiring them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from rtpproxy_tw.errors import RelayError
from rtpproxy_tw.interfaces import IMediaPlane, ISessionObserver
from rtpproxy_tw.session import Ending, Leg, Session, SessionKey, Stream
from rtpproxy_tw.statistics import Totals

BEAT = 0.25
"""Seconds between two signs that the process runs; see :meth:`SessionRegistry.beat`."""

STALL = 2 * BEAT
"""Seconds without a sign after which the process, and not the parties, was silent."""

SLACK = 0.01
"""Seconds by which a session may end late rather than have its timer set anew."""


UNCERTAIN = 1.0
"""Seconds after which it is asked again whether the end of a session is ours to tell."""


class TooManySessions(RelayError):
    """A configured limit of sessions is reached; the text says which."""


class Match(NamedTuple):
    """A session and which of its legs faces the party that owns the command's first tag."""

    session: Session
    leg: Leg


class SessionRegistry:
    """Owns every session from its admission to its end.

    Times are seconds of ``clock``. ``ttl`` is the time to live of complete sessions;
    ``independent`` gives each direction one of its own; ``hold_timeout``, ``max_duration`` and
    ``max_sessions`` are off at 0; ``max_media`` limits the sessions of one call.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        plane: IMediaPlane,
        totals: Totals,
        observers: Sequence[ISessionObserver] = (),
        ttl: float = 60.0,
        independent: bool = False,
        hold_timeout: float = 0.0,
        max_duration: float = 0.0,
        max_sessions: int = 0,
        max_media: int = 32,
    ) -> None:
        self._clock = clock
        self._plane = plane
        self._totals = totals
        self._observers = tuple(observers)
        self._ttl = float(ttl)
        self._independent = independent
        self._hold_timeout = hold_timeout
        self._max_duration = max_duration
        self._max_sessions = max_sessions
        self._max_media = max_media
        self._calls: dict[str, dict[str, Session]] = {}
        self._timers: dict[Session, IDelayedCall] = {}
        self._beat: float | None = None
        """When the process last gave a sign."""
        self.short_of_memory: Callable[[], bool] = lambda: False
        """Whether there is no memory for further sessions."""
        self.may_end: Callable[[Session], bool] = lambda session: True
        """Whether it is certain that nobody else goes on with it; asked when its time is over."""
        self.when_empty: Callable[[], None] = lambda: None
        self.when_touched: Callable[[Session], None] = lambda session: None
        """Called for each session that a command finds, before it does anything to it."""

    def __len__(self) -> int:
        """How many sessions there are, half ones included."""
        return len(self._timers)

    def __iter__(self) -> Iterator[Session]:
        """All sessions, as they are now."""
        return iter(tuple(self._timers))

    # Finding.

    def calls(self) -> Iterator[str]:
        """The call-ids of all sessions, as they are now."""
        return iter(tuple(self._calls))

    def of_call(self, call_id: str) -> list[Session]:
        """All sessions of a call, as they are now; none where there is no such call."""
        found = list(self._calls.get(call_id, {}).values())
        for session in found:
            self._plane.refresh(session)
        return found

    def refresh(self) -> None:
        """Bring the counters of all sessions up to date."""
        self._plane.refresh_all()

    def find(self, call_id: str, first: str, second: str | None) -> Match | None:
        """The one session a U, L, P, S, C or Q means.

        The first tag may be the session's from-tag itself (a request of the caller); else the
        second may be, or may be it without the medium number, in which case the first tag must
        carry the same number.
        """
        media = self._calls.get(call_id)
        if media is None:
            return None
        session = media.get(first)
        if session is not None:
            return Match(session, session.caller)
        if second is None:
            return None
        session = media.get(second)
        if session is not None:
            return Match(session, session.callee)
        extended = second + ";"
        medium = first.rpartition(";")[2]
        for tag, session in media.items():
            if tag.startswith(extended) and ";" in first and tag.rpartition(";")[2] == medium:
                return Match(session, session.callee)
        return None

    def matching(self, call_id: str, first: str, second: str | None) -> list[Match]:
        """The sessions a D, R or N means: a bare tag stands for all media of the call."""
        found = []
        for tag, session in self._calls.get(call_id, {}).items():
            if _covers(first, tag):
                found.append(Match(session, session.caller))
            elif second is not None and _covers(second, tag):
                found.append(Match(session, session.callee))
        return found

    # Life.

    def admit(self, call_id: str) -> None:
        """May one more session of that call be made? Raises TooManySessions."""
        if self.short_of_memory():
            raise TooManySessions("memory is short")
        if self._max_sessions and len(self._timers) >= self._max_sessions:
            raise TooManySessions(f"the limit of {self._max_sessions} sessions is reached")
        if len(self._calls.get(call_id, ())) >= self._max_media:
            raise TooManySessions(f"the call has {self._max_media} sessions already")

    def add(self, session: Session) -> None:
        """``session`` has its first ports: it lives from now on."""
        call_id, from_tag = session.key
        self._calls.setdefault(call_id, {})[from_tag] = session
        self._totals.nsess_created += 1
        self._timers[session] = self._clock.callLater(
            self._deadline(session) - self._clock.seconds(), self._check, session
        )
        for observer in self._observers:
            observer.created(session)

    def adopt(self, session: Session) -> None:
        """``session`` has lived elsewhere, and goes on here as it is; observers are not told."""
        call_id, from_tag = session.key
        self._calls.setdefault(call_id, {})[from_tag] = session
        delay = max(0.0, self._deadline(session) - self._clock.seconds())
        self._timers[session] = self._clock.callLater(delay, self._check, session)

    def named(self, key: SessionKey) -> Session | None:
        """The session of exactly that name."""
        return self._calls.get(key.call_id, {}).get(key.from_tag)

    def complete(self, session: Session) -> None:
        """``session`` has both legs: media is relayed from now on. Idempotent."""
        if session.complete:
            return
        now = self._clock.seconds()
        session.complete = True
        session.completed_at = now
        if not session.ttl_set:
            for leg in session.legs:
                leg.ttl = self._ttl
        for leg in session.legs:
            for stream in leg.streams:
                stream.latch.complete(now)
        self._totals.nsess_complete += 1
        self.rearm(session)
        for observer in self._observers:
            observer.completed(session)

    def touch(self, session: Session) -> None:
        """A command found ``session``: its time to live starts anew."""
        session.touched = self._clock.seconds()
        self.when_touched(session)

    def note(self, leg: Leg, kind: str, text: str) -> None:
        """Into the timeline of the session of ``leg``; see ``quality.timeline.KINDS``."""
        leg.session.timeline.add(self._clock.seconds(), kind, f"{leg.side.value}: {text}")

    def set_ttl(self, leg: Leg, seconds: float) -> None:
        """From now on, and at every reset, ``seconds`` are left to ``leg`` (or to the session)."""
        session = leg.session
        for each in (leg,) if self._independent else session.legs:
            each.ttl = float(seconds)
        session.ttl_set = True
        self.touch(session)
        self.rearm(session)

    def release(self, session: Session) -> None:
        """Something about ``session`` is about to change: its packets come through the process."""
        self._plane.release(session)

    def rearm(self, session: Session) -> None:
        """Something may have brought the end of ``session`` nearer."""
        timer = self._timers.get(session)
        if timer is None:
            return
        deadline = self._deadline(session)
        if deadline < timer.getTime() - SLACK:
            # Not reset(): to bring a call forward, Twisted searches all that are scheduled.
            timer.cancel()
            delay = max(0.0, deadline - self._clock.seconds())
            self._timers[session] = self._clock.callLater(delay, self._check, session)

    def ttl_left(self, session: Session) -> int:
        """Whole seconds left to ``session``, as the original counts them down."""
        self._plane.refresh(session)
        deadline = session.expires(independent=self._independent, hold_timeout=self._hold_timeout)
        left = deadline - self._clock.seconds()
        return max(0, -int(-left // 1))

    def end(self, session: Session, why: Ending) -> None:
        """``session`` is over: sockets closed, counters added up, observers told. Idempotent."""
        timer = self._timers.pop(session, None)
        if timer is None:
            return
        if timer.active():
            timer.cancel()
        call_id, from_tag = session.key
        media = self._calls[call_id]
        del media[from_tag]
        if not media:
            del self._calls[call_id]
        session.ended = why
        _stop_feeding(session)
        for leg in session.legs:
            leg.former_port = leg.port
            self._plane.close(leg)
        self._add_up(session, why)
        for observer in self._observers:
            observer.ended(session, why)
        self._log.info(
            "session {call_id!r} {from_tag!r} ended: {why}",
            call_id=call_id,
            from_tag=from_tag,
            why=why.value,
        )
        if not self._timers:
            self.when_empty()

    def delete(
        self,
        call_id: str,
        first: str,
        second: str | None,
        *,
        weak: bool,
        end: Callable[[Session, Ending], None] | None = None,
    ) -> bool:
        """D: give up the strong or a weak hold on all matching sessions; False without a match.

        A session ends when nothing holds it any more. Of the weak holds it is the one of the leg
        that faces the party named by the tag that matched. ``end`` is to have :meth:`end` called.
        """
        found = self.matching(call_id, first, second)
        for session, leg in found:
            if weak:
                leg.weak = False
            else:
                session.strong = False
            if session.deletable:
                (end or self.end)(session, Ending.DELETED)
        return bool(found)

    def end_all(self, why: Ending) -> None:
        """End every session."""
        for session in self:
            self.end(session, why)

    # Time.

    def _deadline(self, session: Session) -> float:
        deadline = session.expires(independent=self._independent, hold_timeout=self._hold_timeout)
        if self._max_duration:
            deadline = min(deadline, session.created + self._max_duration)
        return deadline

    def beat(self) -> None:
        """The process runs. To be called every BEAT seconds.

        Where a sign is late the process was stopped, or its loop was held up, and heard nobody:
        that time counts for no session's time to live. What arrived meanwhile is read afterwards.
        """
        now = self._clock.seconds()
        before, self._beat = self._beat, now
        if before is None or now - before < STALL:
            return
        lost = now - before - BEAT
        for session in self._timers:
            session.touched += lost
            for leg in session.legs:
                leg.last_active += lost if leg.last_active else 0.0
        self._log.warn(
            "this process did nothing for {seconds:.1f} s; no session ends for that", seconds=lost
        )

    def stood_still_since(self, when: float) -> None:
        """Another process, whose sessions we take over, has heard nobody since ``when``.

        The time until our first beat is then a standstill like any other.
        """
        self._beat = when

    def _check(self, session: Session) -> None:
        if self._beat is not None:
            self.beat()  # timers of sessions may fire before the one that gives signs
        # The one timer of a session: packets only remember when they came, so look whether it
        # really is over and else come back when it may be.
        self._plane.refresh(session)
        now = self._clock.seconds()
        deadline = self._deadline(session)
        if deadline > now:
            self._timers[session] = self._clock.callLater(deadline - now, self._check, session)
        elif not self.may_end(session):
            self._timers[session] = self._clock.callLater(UNCERTAIN, self._check, session)
        elif self._max_duration and now >= session.created + self._max_duration:
            self.end(session, Ending.MAX_DURATION)
        else:
            self.end(session, Ending.TIMEOUT)

    # Counting.

    def _add_up(self, session: Session, why: Ending) -> None:
        totals = self._totals
        totals.nsess_destroyed += 1
        totals.total_duration += self._clock.seconds() - session.created
        if why is Ending.TIMEOUT:
            totals.nsess_timeout += 1
        if session.complete:
            caller, callee = session.legs
            match _silent(caller.rtp, callee.rtp):
                case 2:
                    totals.nsess_nortp += 1
                case 1:
                    totals.nsess_owrtp += 1
            match _silent(caller.rtcp, callee.rtcp):
                case 2:
                    totals.nsess_nortcp += 1
                case 1:
                    totals.nsess_owrtcp += 1
        for leg in session.legs:
            analyzer = leg.rtp.analyzer
            if analyzer is not None:
                totals.rtpa_nsent += analyzer.sent
                totals.rtpa_nrcvd += analyzer.received
                totals.rtpa_ndups += analyzer.duplicates
                totals.rtpa_nlost += analyzer.lost
                totals.rtpa_perrs += analyzer.errors


def _covers(tag: str, stored: str) -> bool:
    return stored == tag or stored.startswith(tag + ";")


def _silent(one: Stream, other: Stream) -> int:
    return (one.accepted == 0) + (other.accepted == 0)


def _stop_feeding(session: Session) -> None:
    source = session.outlet_of
    if source is None:
        return
    for leg in source.legs:
        for stream in leg.streams:
            stream.feeds = tuple(feed for feed in stream.feeds if feed.leg.session is not session)
    session.outlet_of = None
