"""A store in the memory of one process: for tests, and as the plainest statement of the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from rtpproxy_tw.cluster.store import Batch, IStore, Owner, Page, Unavailable

_Result = TypeVar("_Result")

PER_PAGE = 500
"""Sessions."""


@dataclass
class Shared:
    """What several stores of one memory share."""

    owners: dict[str, Owner] = field(default_factory=dict)
    sessions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    calls: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, tuple[bytes, float]] = field(default_factory=dict)


@implementer(IStore)
class MemoryStore:
    """``now`` gives seconds. While ``broken`` nothing is done."""

    def __init__(self, shared: Shared | None = None, now: Callable[[], float] = float) -> None:
        self.shared = shared or Shared()
        self.broken = False
        self.asked = 0
        self._now = now

    @property
    def usable(self) -> bool:
        """See IStore."""
        return not self.broken

    def owners(self, addresses: Sequence[str]) -> Deferred[dict[str, Owner | None]]:
        """See IStore."""
        return self._do(lambda: {each: self.shared.owners.get(each) for each in addresses})

    def take(self, address: str, node: str, epoch: int, here: bool) -> Deferred[Owner | None]:
        """See IStore."""

        def do() -> Owner | None:
            present = self.shared.owners.get(address)
            if (present.epoch if present else 0) != epoch:
                return None
            made = self.shared.owners[address] = Owner(node, epoch + 1, 0, here)
            return made

        return self._do(do)

    def beat(self, address: str, mine: Owner) -> Deferred[Owner]:
        """See IStore."""

        def do() -> Owner:
            present = self.shared.owners.get(address)
            ahead = -1 if present is None else present.epoch - mine.epoch
            if present is None or ahead < 0 or (ahead == 0 and present.node == mine.node):
                present = self.shared.owners[address] = mine
            return present

        return self._do(do)

    def release(self, address: str, epoch: int) -> Deferred[bool]:
        """See IStore."""

        def do() -> bool:
            if not self._owns(address, epoch):
                return False
            self.shared.owners[address] = self.shared.owners[address]._replace(node="")
            return True

        return self._do(do)

    def write(self, address: str, epoch: int, batch: Batch) -> Deferred[bool]:
        """See IStore."""

        def do() -> bool:
            if not self._owns(address, epoch):
                return False
            kept = self.shared.sessions.setdefault(address, {})
            kept.update(batch.changed)
            for name in batch.gone:
                kept.pop(name, None)
            for call_id in batch.calls:
                self.shared.calls[call_id] = address
            return True

        return self._do(do)

    def names(self, address: str) -> Deferred[set[str]]:
        """See IStore."""
        return self._do(lambda: set(self.shared.sessions.get(address, ())))

    def load(self, address: str, cursor: str = "") -> Deferred[Page]:
        """See IStore."""

        def do() -> Page:
            lines = list(self.shared.sessions.get(address, {}).values())
            begin = int(cursor or 0)
            end = begin + PER_PAGE
            return Page(str(end) if end < len(lines) else "", lines[begin:end])

        return self._do(do)

    def find(self, call_id: str) -> Deferred[str | None]:
        """See IStore."""
        return self._do(lambda: self.shared.calls.get(call_id))

    def tell(self, node: str, about: bytes, seconds: float) -> Deferred[None]:
        """See IStore."""
        return self._do(lambda: self.shared.nodes.update({node: (about, self._now() + seconds)}))

    def nodes(self) -> Deferred[dict[str, bytes | None]]:
        """See IStore."""
        now = self._now()
        return self._do(
            lambda: {
                node: about if until > now else None
                for node, (about, until) in self.shared.nodes.items()
            }
        )

    def _owns(self, address: str, epoch: int) -> bool:
        present = self.shared.owners.get(address)
        return present is not None and present.epoch == epoch

    def _do(self, do: Callable[[], _Result]) -> Deferred[_Result]:
        self.asked += 1
        return fail(Unavailable("out of order")) if self.broken else succeed(do())
