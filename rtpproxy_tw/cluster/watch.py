"""Whether the owner of an address is still alive, judged by nothing but its beats and our clock."""

from __future__ import annotations

from rtpproxy_tw.cluster.store import Owner

VACANT = 3
"""Leases in which an owner that lives writes itself down again after a loss of memory."""


class Watch:
    """Watches one address for whoever stands by.

    An owner is dead when its beat has not changed for ``lease`` seconds in which the store was
    asked all the time and answered: a store that was frozen, or was away, tells nothing about the
    relays. Nor does one that has lost its memory, so an address that nobody seems to have is left
    to those whose own it is.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._seen: Owner | None = None
        self._since = 0.0
        self._asked: float | None = None
        self._owned = False
        self.beats = False
        """Whether the owner was seen to count on: proof that it lives, or did a moment ago."""

    @property
    def owner(self) -> Owner | None:
        """As last seen."""
        return self._seen

    def see(self, owner: Owner | None, now: float) -> bool:
        """The store said so at ``now``; whether the address is to be taken over."""
        gap = self._asked is None or now - self._asked > self._lease / 2
        self._asked = now
        before = self._seen
        if before is None or owner is None or owner[:2] != before[:2]:
            self.beats = False
        elif owner.beat != before.beat:
            self.beats = True
        if owner != self._seen or gap:
            self._seen, self._since = owner, now
        if owner is None:
            return False
        self._owned = True
        return not owner.node or now - self._since >= self._lease

    def is_vacant(self, now: float) -> bool:
        """Whether there never was an owner, or the one there was has not come back for long."""
        if self._seen is not None or self._asked is None:
            return False
        return not self._owned or now - self._since >= VACANT * self._lease

    def blind(self) -> None:
        """The store did not answer."""
        self._asked = None
        self.beats = False

    def is_alive(self, now: float) -> bool:
        """Whether there is an owner, as far as is known."""
        seen = self._seen
        return seen is not None and bool(seen.node) and now - self._since < self._lease
