"""Which of the sources that nobody signalled is the party: the scores, and when to decide."""

from __future__ import annotations

from rtpproxy_tw.addresses import Address, near
from rtpproxy_tw.latch.candidates import Candidate, Candidates

CONTEST = 0.5
"""Seconds: a rival heard so recently prolongs the choice to so long after the first was ready."""

RIVAL = 2
"""Packets that count, of a source that others have to wait for; a spray sends each port one."""

STALE = 10.0
"""Seconds after which a decision that was due no longer counts for those who come later."""

# The score of a candidate. What a stranger can guess weighs less than what a NAT keeps.
OFFERED = 1
SAME_PORT = 2
NEARBY = 2
KIN = 4
FORMER = -1


class Contest:
    """The candidates of one stream under one signalled address.

    ``former`` is the source believed under the address before, ``kin`` its host where only the
    port behind a NAT was changed: the new source will be at that host too.
    """

    __slots__ = ("_former", "_kin", "_signalled", "candidates", "decision")

    def __init__(self, signalled: Address | None, former: Address | None, kin: str | None) -> None:
        self.candidates = Candidates()
        self.decision: float | None = None
        """When rivals are decided between; None before anybody was ready."""
        self._signalled = signalled
        self._former = former
        self._kin = kin

    def score(self, candidate: Candidate) -> int:
        """What speaks for ``candidate``, besides its perseverance. Never a condition."""
        host, port = candidate.source
        score = OFFERED * candidate.offered
        if self._signalled is not None:
            score += NEARBY * near(host, self._signalled[0])
            score += SAME_PORT * (port == self._signalled[1])
        if host == self._kin:
            score += KIN
        if candidate.source == self._former:
            score += FORMER
        return score

    def chooses(self, candidate: Candidate, now: float) -> bool:
        """Whether ``candidate``, just heard, is to be believed, nobody being so yet.

        At once if it has no rival: a single packet makes none, nor do handshakes. Otherwise
        ``CONTEST`` seconds after the first one was ready: the best score, then the most packets,
        then the first one heard. The former source need not wait, and makes nobody wait who has a
        better score.
        """
        if not candidate.eligible:
            return False
        score = self.score(candidate)
        rivals = [
            each
            for each in self.candidates.alive(now, CONTEST)
            if each is not candidate
            and each.spaced >= RIVAL
            and (each.source != self._former or self.score(each) >= score)
        ]
        if not rivals or candidate.source == self._former:
            return True
        if self.decision is None or now - self.decision > STALE:
            self.decision = now + CONTEST
        if now < self.decision:
            return False
        mine = self._merit(candidate)
        return all(self._merit(each) <= mine for each in rivals if each.eligible)

    def prefers(self, candidate: Candidate, believed: Candidate, *, silent: bool) -> bool:
        """Whether ``candidate`` displaces the foreign source ``believed``.

        At equal scores only one that has fallen ``silent`` gives way, and only to one that has
        sent more: else a pause in speaking would do for a stranger to take over.
        """
        if not candidate.eligible:
            return False
        mine, theirs = self.score(candidate), self.score(believed)
        if mine != theirs:
            return mine > theirs
        return silent and candidate.spaced > believed.spaced

    def _merit(self, candidate: Candidate) -> tuple[int, int, float]:
        return self.score(candidate), candidate.spaced, -candidate.since
