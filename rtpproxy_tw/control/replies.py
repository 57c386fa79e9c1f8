"""What was answered to commands that may come again.

A SIP proxy that hears nothing sends the same datagram once more. Executing it again would be
visible (a repeated ``D`` finds no session), so the first reply is kept for a while and repeated.
An entry belongs to one source address and cookie: cookies of two proxies may well be equal. The
same cookie in front of other bytes is another command, and its reply replaces the former one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from rtpproxy_tw.addresses import Address

KEEP = 35.0
"""Seconds for which a reply can be asked for again; proxies give up after 3 to 6 seconds."""

MAX_ENTRIES = 65536
"""Enough for 1800 commands a second all the time."""

MAX_OCTETS = 32 * 2**20
"""Memory for all entries together."""

OVERHEAD = 500
"""Octets of memory an entry takes beside its bytes, roughly."""


class _Entry(NamedTuple):
    command: bytes
    reply: bytes
    when: float


class ReplyCache:
    """Replies by source and cookie. The oldest are forgotten where there would be too many."""

    def __init__(self, *, entries: int = MAX_ENTRIES, octets: int = MAX_OCTETS) -> None:
        self._most_entries = entries
        self._most_octets = octets
        self._octets = 0
        self.fresh: list[tuple[Address, bytes, bytes, bytes, float]] | None = None
        """What was stored since somebody has taken it from here; None: nobody takes it."""
        self._entries: OrderedDict[tuple[Address, bytes], _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def octets(self) -> int:
        """An estimate of the memory in use."""
        return self._octets

    def find(self, source: Address, cookie: bytes, command: bytes, now: float) -> bytes | None:
        """The reply to send again, None where the command has to be executed."""
        entry = self._entries.get((source, cookie))
        if entry is None or entry.command != command or now - entry.when > KEEP:
            return None
        return entry.reply

    def store(
        self, source: Address, cookie: bytes, command: bytes, reply: bytes, now: float
    ) -> None:
        """Keep ``reply``. Forgets what is too old or too much."""
        key = (source, cookie)
        if key in self._entries:
            self._forget(key)
        self._entries[key] = _Entry(command, reply, now)
        self._octets += len(cookie) + len(command) + len(reply) + OVERHEAD
        if self.fresh is not None:
            self.fresh.append((source, cookie, command, reply, now))
        # Entries stand in the order of their age, so that this never looks far.
        while self._entries:
            oldest, entry = next(iter(self._entries.items()))
            if (
                now - entry.when <= KEEP
                and len(self._entries) <= self._most_entries
                and self._octets <= self._most_octets
            ):
                break
            self._forget(oldest)

    def entries(self, now: float) -> Iterator[tuple[Address, bytes, bytes, bytes, float]]:
        """All that may be asked for again: source, cookie, command, reply and when it was sent.

        In the order in which :meth:`store` is to be given them elsewhere.
        """
        for (source, cookie), (command, reply, when) in self._entries.items():
            if now - when <= KEEP:
                yield source, cookie, command, reply, when

    def _forget(self, key: tuple[Address, bytes]) -> None:
        entry = self._entries.pop(key)
        self._octets -= len(key[1]) + len(entry.command) + len(entry.reply) + OVERHEAD
