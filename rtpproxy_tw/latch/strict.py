"""The policy ``strict``: a source is believed for a reason, and never before it gave one.

The reasons, by rank; each is measured against the address that the last command signalled:

=======  ======================================================================================
EXACT    the signalled source: believed, and beyond doubt, by its first datagram
HOST     the signalled host, another port, as a NAT makes of it: believed at once, confirmed by
         its third consistent datagram. RTCP: likewise any port of the host that RTP came from
FOREIGN  another host, only where the signalled one is private or nothing was signalled: believed
         after five consistent packets over 60 ms. A contest is decided by score
NEVER    everything else
=======  ======================================================================================

While a window is open, the 10 s after completion or a changed address, or after the first belief
where that comes later, a higher rank displaces a lower one. After it only a command moves a
confirmed source, or a NAT that gives its stream a new address (``_rebind``).

A changed address turns the believed source into the *former* one: still forwarded, so that
nothing is lost, and of no rank, so that whoever has one displaces it.
"""

from __future__ import annotations

from math import inf

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.latch.base import Latch
from rtpproxy_tw.latch.candidates import Candidate
from rtpproxy_tw.latch.contest import CONTEST, Contest
from rtpproxy_tw.latch.late import Stragglers
from rtpproxy_tw.latch.rank import Rank, is_possible, rank_of
from rtpproxy_tw.latch.trail import SAMPLE_EVERY, Trail
from rtpproxy_tw.rtp import peek

SETUP_WINDOW = 10.0
"""Seconds after completion, or after the first belief, in which a better source displaces it."""

UPDATE_WINDOW = 10.0
"""Seconds after a command that changed the address, likewise."""

CONFIRMED_BY = 3
"""Consistent datagrams that confirm a source at the signalled host."""

REBIND_SILENCE = 1.0
"""Seconds a believed source must be silent before its stream may go on from elsewhere."""

HOLD_DOWN = 5.0
"""Seconds between two changes of source that no command asked for."""

FALL_BACK = 2.0
"""Seconds after which a former source that goes on sending is answered again, if nobody came from
the changed address: the re-INVITE was rejected, or the party did not mean it."""


class StrictLatch(Latch):
    """``component`` is 1 for RTP, 2 for RTCP; without ``rebinding`` only commands move a source."""

    __slots__ = (
        "_agreed",
        "_changed",
        "_completed",
        "_confirmed",
        "_contest",
        "_former",
        "_held",
        "_kin",
        "_late",
        "_open_until",
        "_rank",
        "_rebinding",
        "_rtp",
        "_rtp_source",
        "_sample_at",
        "_trail",
        "_waits",
        "_was_asymmetric",
    )

    def __init__(self, component: int, *, rebinding: bool = True) -> None:
        super().__init__()
        self._rtp = component == 1
        self._rank = Rank.NEVER
        """Why ``source`` is believed; NEVER where it is not, or is the former one."""
        self._confirmed = False
        """Whether ``source`` is beyond doubt once the window is closed."""
        self._completed = False
        self._open_until = -inf
        self._changed = -inf
        """When a command last changed the address."""
        self._was_asymmetric = False
        """``asymmetric`` as of the last command."""
        self._former: Address | None = None
        """The source believed before the address was changed."""
        self._kin: str | None = None
        """The host of the former one, where only the port behind a NAT was changed."""
        self._contest: Contest | None = None
        """The evidence collected; None while there is none to collect."""
        self._held = -inf
        """Until when no other source takes over unasked."""
        self._trail: Trail | None = None
        self._sample_at = -inf if self._rtp else inf
        self._rtp_source: Address | None = None
        """RTCP only: what RTP believes."""
        self._agreed = False
        """RTCP only: RTP believes that under the present address."""
        self._rebinding = rebinding
        self._waits = False
        """Whether it would be ``settled``, were there no straggler at the very same source."""
        self._late: Stragglers | None = None
        """Parties of an earlier call on this port, for as long as they may still send."""

    # What commands and the other component tell.

    def complete(self, now: float) -> None:
        """The session now has both legs; media is relayed from here on."""
        self._completed = True
        self._open_until = max(self._open_until, now + SETUP_WINDOW)

    def signal(self, address: Address, now: float) -> None:
        """A command gave the party's address. One that repeats it changes nothing."""
        old = self.signalled
        if address == old and self.asymmetric == self._was_asymmetric:
            return
        self.signalled = address
        self._was_asymmetric = self.asymmetric
        if self._completed:
            self._open_until = now + UPDATE_WINDOW
        self._changed = now
        self._contest = None
        rtp = self._rtp_source
        if rtp is not None and address[0] != rtp[0] and (old is None or address[0] != old[0]):
            self._agreed = False
        target = address if address[1] else None
        if self.source is None:
            # Where RTP comes from another host, RTCP will too, and goes there already.
            if not (self._agreed and rtp is not None and rtp[0] != address[0]):
                self.remote = target
        elif self.asymmetric:
            self.remote = target
            if self.source[0] != address[0]:
                self._forget()
        elif self.source == address:
            self._believe(self.source, Rank.EXACT, now)
        else:
            self._retire(self.source, old, address, target)

    def shun(self, stragglers: Stragglers) -> None:
        """The port was another call's: what its parties still send is not this one's."""
        self._late = stragglers

    def carried(self, ssrc: int, sequence: int, at: float) -> None:
        """Others relayed packets of ``source``, the last one at ``at``."""
        if self._trail is not None:
            self._trail.note(ssrc, sequence, at)

    def follow(self, rtp: Address, now: float) -> None:
        """RTCP is to agree with ``rtp`` in its host (one party has one address)."""
        moved = self._rtp_source not in (None, rtp)
        self._rtp_source = rtp
        self._agreed = True
        host, port = rtp
        if self.source is not None and self.source[0] != host and not self.asymmetric:
            self._forget()
        if self.source is None:
            heard = self._contest.candidates.latest_of(host) if self._contest else None
            if heard is not None and self._rank_of(heard.source) >= Rank.HOST:
                self._believe(heard.source, self._rank_of(heard.source), now)
                self._confirmed |= heard.run >= CONFIRMED_BY
            elif self.signalled is not None and self.signalled[0] == host:
                self.remote = self.signalled if self.signalled[1] else None
            elif port < 65535:
                self.remote = (host, port + 1)
        elif moved and not self.asymmetric:
            # A NAT that moved RTP has most likely moved RTCP as well.
            self._doubt(self.source)
            self._open_until = now + UPDATE_WINDOW

    # What datagrams tell.

    def hear(self, source: Address, datagram: bytes, now: float) -> bool:
        """Judge one datagram: True when it comes from the believed party."""
        if self._late is not None and self._is_late(self._late, source, datagram, now):
            return False
        if not self.settled and not self._waits:
            return self._judge(source, datagram, now)
        if source == self.source:
            self.last_heard = now
            if now >= self._sample_at:
                self._sample(datagram, now)
            return True
        if self.asymmetric and self.signalled is not None:
            return self._same_host(source, self.signalled, now)
        return self._rebind(source, datagram, now)

    def _is_late(self, late: Stragglers, source: Address, datagram: bytes, now: float) -> bool:
        if not late.are_past(now):
            return late.sent(source, datagram, self.signalled)
        self._late = None
        self.settled |= self._waits
        self._waits = False
        return False

    def _judge(self, source: Address, datagram: bytes, now: float) -> bool:
        if self.asymmetric and self.signalled is not None:
            return self._same_host(source, self.signalled, now)
        if self._confirmed and now >= self._open_until:
            self._settle()
            return self.hear(source, datagram, now)
        if source == self.source:
            return self._again(source, datagram, now)
        rank = self._rank_of(source)
        match rank:
            case Rank.EXACT:
                accepted = True
            case Rank.HOST if self._rank is Rank.HOST:
                return self._contend(source, datagram, now)
            case Rank.HOST:
                accepted = True
            case Rank.FOREIGN if self._rank is not Rank.HOST:
                accepted = self._compete(source, datagram, now)
            case Rank.FOREIGN if not self._confirmed:
                accepted = self._compete(source, datagram, now) and self._lapsed(now)
            case _:
                accepted = False
        if not accepted:
            return self._confirmed and self._rebind(source, datagram, now)
        self._believe(source, rank, now)
        return self._again(source, datagram, now)

    def _lapsed(self, now: float) -> bool:
        """Whether the believed source was not confirmed and has fallen silent."""
        return not self._confirmed and now - self.last_heard >= CONTEST

    def _contend(self, source: Address, datagram: bytes, now: float) -> bool:
        """Another port of the host whose one port is believed already.

        Before either is confirmed both are forwarded. The newer one is answered, as a port that
        is left behind falls silent, until one of them is confirmed.
        """
        if self._confirmed:
            return self._rebind(source, datagram, now)
        if source == self._former and not self._lapsed(now):
            # Its last packets may cross with the first ones from the new place.
            return False
        known = self._contest is not None and source in self._contest.candidates
        confirmed = self._confirms(source, datagram, now)
        if confirmed or not known or self._lapsed(now):
            self._believe(source, Rank.HOST, now)
            self._confirmed = confirmed
        return True

    def _again(self, source: Address, datagram: bytes, now: float) -> bool:
        """A datagram of the believed source, which is not settled."""
        self.last_heard = now
        if now >= self._sample_at:
            self._sample(datagram, now)
        if self._rank is Rank.NEVER:
            self._persist(source, datagram, now)
        elif not self.settled and not self._waits:
            self._confirmed |= self._confirms(source, datagram, now)
        return True

    def _persist(self, source: Address, datagram: bytes, now: float) -> None:
        """The former source goes on sending: it may be believed anew under the new address."""
        if self.remote not in (None, source) and now - self._changed >= FALL_BACK:
            self.remote = source
        rank = self._rank_of(source)
        confirmed = True
        if rank is Rank.FOREIGN:
            anew = self._compete(source, datagram, now)
        elif rank is Rank.HOST:
            confirmed = self._confirms(source, datagram, now)
            anew = now >= self._open_until
        else:
            anew = rank is Rank.EXACT
        if anew:
            self._believe(source, rank, now)
            self._confirmed = confirmed

    def _same_host(self, source: Address, signalled: Address, now: float) -> bool:
        """An asymmetric party: the port it sends from says nothing about where it receives."""
        if source[0] != signalled[0] or not source[1]:
            return False
        if source != self.source:
            self.source = source
        self.remote = signalled if signalled[1] else None
        self.last_heard = now
        self._confirmed = True
        self._settle()
        return True

    def _rebind(self, source: Address, datagram: bytes, now: float) -> bool:
        """Whether a NAT, or a change of network, gave the believed stream a new address."""
        trail = self._trail
        if (
            trail is None
            or not self._rebinding
            or now - self.last_heard < REBIND_SILENCE
            or now < self._held
        ):
            return False
        header = peek(datagram)
        if header is None or not trail.continues(header, now):
            return False
        if not is_possible(source, self.signalled, loopback=self.loopback):
            return False
        if self.remote == self.source:
            self.remote = source
        self.source = source
        self.relatches += 1
        self.last_heard = now
        self._held = now + HOLD_DOWN
        trail.sample(header, now)
        return True

    def _rank_of(self, source: Address) -> Rank:
        rank = rank_of(source, self.signalled, loopback=self.loopback)
        rtp = self._rtp_source
        if rtp is None:
            return rank
        if source[0] == rtp[0]:
            return max(rank, Rank.HOST) if source[1] else Rank.NEVER
        return Rank.NEVER if self._agreed else rank

    # The contest of foreign sources.

    def _note(self, source: Address, datagram: bytes, now: float) -> Candidate | None:
        if self._contest is None:
            self._contest = Contest(self.signalled, self._former, self._kin)
        candidate = self._contest.candidates.note(source, now, self.source)
        if candidate is not None:
            candidate.hear(datagram, now, self.payload_types)
        return candidate

    def _confirms(self, source: Address, datagram: bytes, now: float) -> bool:
        """Note a datagram from the signalled host; whether its port is the right one for sure."""
        heard = self._note(source, datagram, now)
        return heard is not None and heard.run >= CONFIRMED_BY

    def _compete(self, source: Address, datagram: bytes, now: float) -> bool:
        """Note a foreign datagram; whether its source is believed now."""
        candidate = self._note(source, datagram, now)
        contest = self._contest
        if candidate is None or contest is None:
            return False
        if self._rank is not Rank.FOREIGN or self.source is None:
            return contest.chooses(candidate, now)
        believed = contest.candidates.note(self.source, now, self.source)
        # RTCP is silent most of the time.
        silent = self._rtp and now >= self._held and now - self.last_heard >= CONTEST
        return believed is not None and contest.prefers(candidate, believed, silent=silent)

    # Changes of state.

    def _believe(self, source: Address, rank: Rank, now: float) -> None:
        if source != self.source:
            if self.source is not None:
                self.relatches += 1
                if rank is Rank.FOREIGN:
                    self._held = now + HOLD_DOWN
            self._trail = None
            if self._rtp:
                self._sample_at = now
        # Assigned even if equal: a new object tells the caller that it is believed anew.
        self.source = source
        if self._rank is Rank.NEVER and self._completed and source != self._former:
            self._open_until = max(self._open_until, now + SETUP_WINDOW)
        self.remote = self.source
        self.last_heard = now
        self._rank = rank
        self._confirmed = rank is not Rank.HOST
        if rank is Rank.EXACT:
            self._settle()

    def _settle(self) -> None:
        # Whoever takes over a settled stream looks at sources alone.
        self._waits = self._late is not None and self._late.are_at(self.source)
        self.settled = not self._waits
        self._contest = self._former = self._kin = None

    def _retire(
        self, source: Address, old: Address | None, new: Address, target: Address | None
    ) -> None:
        """The address was changed: ``source`` is the former one."""
        self._doubt(source)
        same_host = old is not None and old[0] == new[0]
        behind_nat = self.remote == source != old
        self._kin = source[0] if behind_nat and same_host else None
        if not (behind_nat and (same_host or source[0] == new[0])):
            self.remote = target

    def _doubt(self, source: Address) -> None:
        self._former = source
        self._kin = None
        self._rank = Rank.NEVER
        self._confirmed = self._waits = self.settled = False

    def _forget(self) -> None:
        """Nobody is believed any more."""
        self.source = self._former = self._kin = self._trail = None
        self._rank = Rank.NEVER
        self._confirmed = self._waits = self.settled = False

    def _sample(self, datagram: bytes, now: float) -> None:
        self._sample_at = now + SAMPLE_EVERY
        header = peek(datagram)
        if header is None:
            return
        if self._trail is None:
            self._trail = Trail(header, now)
        else:
            self._trail.sample(header, now)
