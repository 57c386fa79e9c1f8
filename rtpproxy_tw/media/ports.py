"""Which port pair is handed out next: the pool of one address family."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Set
from typing import Protocol

from rtpproxy_tw.errors import NoPortsLeft


class PortPool(Protocol):
    """Even RTP port numbers; the RTCP port is the next one up."""

    def take(self) -> int:
        """A free pair, no longer free. Raises NoPortsLeft."""

    def give_back(self, port: int) -> None:
        """The pair ``port`` is closed and free again."""

    def claim(self, ports: Set[int]) -> Set[int]:
        """Those of ``ports`` that are free pairs, no longer free: somebody has them already."""

    def __len__(self) -> int:
        """How many pairs are free."""


class Elsewhere:
    """The pool of ports that belong to no pool: when they are given back they are forgotten."""

    def give_back(self, port: int) -> None:
        """Nothing."""


class ShuffledPool:
    """Unpredictable order; a pair just freed is the last to be used again.

    Late packets of a dead call must not reach a new one, so freed pairs rest: they come into play
    again, the older half of them first, only when no other is left. Both operations take constant
    time however full the range is. ``pick(n)`` gives a random number below n.
    """

    def __init__(self, low: int, high: int, pick: Callable[[int], int]) -> None:
        self._ready = list(range(low, high + 1, 2))
        self._resting: deque[int] = deque()
        self._pick = pick

    def __len__(self) -> int:
        return len(self._ready) + len(self._resting)

    def take(self) -> int:
        ready, resting = self._ready, self._resting
        if not ready:
            ready.extend(resting.popleft() for _ in range((len(resting) + 1) // 2))
        if not ready:
            raise NoPortsLeft("every port pair of the range is in use")
        index = self._pick(len(ready))
        ready[index], ready[-1] = ready[-1], ready[index]
        return ready.pop()

    def claim(self, ports: Set[int]) -> Set[int]:
        found = ports & {*self._ready, *self._resting}
        self._ready = [port for port in self._ready if port not in found]
        self._resting = deque(port for port in self._resting if port not in found)
        return found

    def give_back(self, port: int) -> None:
        self._resting.append(port)


class AscendingPool:
    """Strictly ascending from the bottom, wrapping round (the original's ``-b``)."""

    def __init__(self, low: int, high: int) -> None:
        self._ahead = list(range(low, high + 1, 2))  # sorted, hence a heap
        self._behind: list[int] = []
        self._last = low - 2

    def __len__(self) -> int:
        return len(self._ahead) + len(self._behind)

    def take(self) -> int:
        if not self._ahead:
            self._ahead, self._behind = self._behind, self._ahead
        if not self._ahead:
            raise NoPortsLeft("every port pair of the range is in use")
        self._last = heapq.heappop(self._ahead)
        return self._last

    def claim(self, ports: Set[int]) -> Set[int]:
        found = ports & {*self._ahead, *self._behind}
        self._ahead = sorted(port for port in self._ahead if port not in found)
        self._behind = sorted(port for port in self._behind if port not in found)
        return found

    def give_back(self, port: int) -> None:
        heapq.heappush(self._ahead if port > self._last else self._behind, port)
