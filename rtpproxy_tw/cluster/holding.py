"""One media address, as this node has it; and what the cluster asks of those who have the calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from rtpproxy_tw.cluster.pending import Pending
from rtpproxy_tw.cluster.store import Owner
from rtpproxy_tw.cluster.watch import Watch
from rtpproxy_tw.session import Session


class Calls(Protocol):
    """The sessions of this process, and its sockets."""

    def all(self) -> Sequence[Session]:
        """Every session."""

    def address_of(self, session: Session) -> str:
        """The media address it belongs to."""

    def record(self, session: Session) -> bytes:
        """The line from which it can be restored."""

    def mark(self, session: Session) -> object:
        """What changes where something worth writing down has changed."""

    def restore(self, lines: Iterable[bytes]) -> int:
        """Go on with the sessions of ``lines``; how many could not be gone on with."""

    def restored(self) -> None:
        """All pages of an address were restored."""

    def leave(self, session: Session) -> None:
        """Another node goes on with it: forget it, and tell nobody that it has ended."""

    def is_here(self, address: str) -> bool:
        """Whether the address is on an interface of this host."""

    def about(self) -> dict[str, Any]:
        """How this node is, for the others: JSON."""


@dataclass(slots=True)
class Holding:
    """An address that is ours, or that we stand by for."""

    address: str
    own: bool
    """Whether new calls are given it here."""
    watch: Watch
    pending: Pending
    mine: Owner | None = None
    """While we are its owner."""
    waiting: list[Deferred[None]] | None = None
    """While it is being taken over: who waits for the end of that."""
    writing: bool = False
    here: bool | None = None
    """Whether the address was on an interface of this host at the last look; None: not looked."""
    confirmed: float = 0.0
    """When the store last said that we are its owner."""
    settled: bool = False
    """While somebody else is its owner: what we had of it was left to that one."""
    taken_at: float | None = None
    """When the last take-over ended."""
    abstains: float = 0.0
    """Until then it is left to whoever asked for it."""
    resync: bool = False
    """What the store has of it must be compared with what we have."""
    taken: int = 0
    """Sessions gone on with, all in all."""
    refused: int = 0
    """Sessions that could not be gone on with."""
    took: float = 0.0
    """Seconds that the last take-over lasted."""
    changes: dict[Session, tuple[object, float]] = field(default_factory=dict)
    """What was written down of each session, and when."""

    def status(self, now: float) -> dict[str, Any]:
        """For people: JSON."""
        owner = self.mine or self.watch.owner
        return {
            "address": self.address,
            "own": self.own,
            "role": "owner" if self.mine else "standby",
            "owner": owner.node if owner else None,
            "epoch": owner.epoch if owner else 0,
            "owner_alive": self.mine is not None or self.watch.is_alive(now),
            "unwritten": len(self.pending),
            "taken_over": self.taken,
            "not_taken_over": self.refused,
            "took_seconds": round(self.took, 3),
            "taken_seconds_ago": None if self.taken_at is None else round(now - self.taken_at, 3),
        }
