"""Descriptors of ours that somebody else holds as well, so that they outlive this process.

That is systemd's descriptor store or the keeper of :mod:`rtpproxy_tw.tools.keeper`; both speak
sd_notify(3). Whatever is kept under one name can only be forgotten together. All names come back
in one string of the environment, which the kernel takes up to 128 KiB, so they are short.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from twisted.logger import Logger

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

LONGEST_NAME = 3
"""Digits: 242,234 names."""

MOST_OCTETS = 128_000
"""Of all names with their colons. The kernel refuses 131,072 (MAX_ARG_STRLEN), variable's name and
equals sign included."""


class Tell(Protocol):
    """Says something to whoever keeps; False where it was not taken, for now or for good."""

    def __call__(self, *fields: str, descriptors: Sequence[int] = ()) -> bool:
        """``NAME=value`` each."""


def is_name(text: str) -> bool:
    """Whether that is a name of ours; the units of systemd's sockets have longer ones."""
    return 0 < len(text) <= LONGEST_NAME and all(digit in DIGITS for digit in text)


def name_of(number: int) -> str:
    """The ``number``-th name, from 0; short ones first."""
    length, names = 1, len(DIGITS)
    while number >= names:
        number -= names
        length, names = length + 1, names * len(DIGITS)
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(DIGITS))
        digits.append(DIGITS[digit])
    return "".join(reversed(digits))


class Safe:
    """Gives descriptors names, and has them kept. ``used`` are names that are taken already."""

    _log = Logger()

    def __init__(self, tell: Tell, used: Iterable[str] = ()) -> None:
        self._tell = tell
        self._used = set(used)
        self._octets = 0
        self._held: dict[str, int] = {}
        """Octets that a name takes, as often as it has descriptors."""
        self._next = 0
        self._returned: deque[str] = deque()
        self._to_forget: deque[str] = deque()
        self._complained = False

    @property
    def names(self) -> set[str]:
        """All that are in use, or may be."""
        return {*self._used, *self._held, *self._to_forget}

    def keep(self, descriptors: Sequence[int]) -> str | None:
        """Have copies kept; their name, None where that cannot be now."""
        name = self._name()
        octets = (len(name) + 1) * len(descriptors)
        if self._octets + octets > MOST_OCTETS:
            self._returned.appendleft(name)
            if not self._complained:
                self._complained = True
                self._log.warn("no room for more descriptors that are to outlive a crash")
            return None
        # What is idle, connected or not, is not to be dropped because of an ICMP error.
        if not self._tell("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", descriptors=descriptors):
            self._returned.appendleft(name)
            return None
        self._claimed(name, octets)
        return name

    def expect(self, names: Iterable[str]) -> None:
        """These are kept already, for a process before us."""
        self._used.update(names)

    def claim(self, name: str, count: int) -> None:
        """``count`` descriptors of that name, kept for a process before us, are ours now."""
        self._used.discard(name)
        self._claimed(name, (len(name) + 1) * count)

    def forget(self, name: str) -> None:
        """Nobody needs what has that name any more. Idempotent."""
        if name in self._held or name in self._used:
            self._octets -= self._held.pop(name, 0)
            self._used.discard(name)
            self._to_forget.append(name)
            self.flush()

    def forget_strangers(self) -> None:
        """Forget what was kept for processes before us and nobody has claimed."""
        for name in sorted(self._used):
            self.forget(name)

    def flush(self) -> None:
        """Say again what was not taken."""
        while self._to_forget:
            if not self._tell("FDSTOREREMOVE=1", f"FDNAME={self._to_forget[0]}"):
                return
            self._returned.append(self._to_forget.popleft())

    def _claimed(self, name: str, octets: int) -> None:
        self._held[name] = octets
        self._octets += octets

    def _name(self) -> str:
        while self._returned:
            name = self._returned.popleft()
            if name not in self._held and name not in self._used:
                return name
        while True:
            name = name_of(self._next)
            self._next += 1
            if name not in self._held and name not in self._used:
                return name
