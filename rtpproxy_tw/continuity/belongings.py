"""What a relay has to hand over, as those describe it who own it."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Protocol

from rtpproxy_tw.session import Session
from rtpproxy_tw.snapshot.kinds import Damaged


class Luggage:
    """The descriptors that go with a record. Whoever takes one out owns it."""

    def __init__(self, descriptors: Sequence[int] = ()) -> None:
        self.descriptors = list(descriptors)
        self.taken: set[int] = set()

    def add(self, descriptor: int) -> int:
        """A copy of ``descriptor`` is to go along; the number it is known by in the record."""
        self.descriptors.append(descriptor)
        return len(self.descriptors) - 1

    def take(self, number: Any) -> int:
        """The descriptor of that number, once. Raises Damaged."""
        if type(number) is not int or not 0 <= number < len(self.descriptors):
            raise Damaged(f"{number!r:.80} is the number of no descriptor")
        if number in self.taken:
            raise Damaged(f"descriptor {number} is named twice")
        self.taken.add(number)
        return self.descriptors[number]

    def socket(
        self, number: Any, family: int, kind: socket.SocketKind, name: tuple[str, int] | None
    ) -> socket.socket:
        """The socket of that number, which is of that kind and bound to ``name``. Raises Damaged.

        ``name`` None: whatever it is bound to.
        """
        try:
            found = socket.socket(fileno=self.take(number))
        except OSError as error:
            self.taken.discard(number)
            raise Damaged(f"descriptor {number} is no socket: {error}") from None
        bound = found.getsockname() if family == socket.AF_UNIX else found.getsockname()[:2]
        if found.family != family or found.type != kind or name not in (None, bound):
            text = f"{found.family.name} {found.type.name} {bound!r:.200}"
            found.close()
            raise Damaged(f"descriptor {number} is {text}, and not {name}")
        found.setblocking(False)
        return found

    def rest(self) -> list[int]:
        """What nobody took, to be closed."""
        return [fd for number, fd in enumerate(self.descriptors) if number not in self.taken]


class Part(Protocol):
    """What somebody has to add to the record of a session."""

    name: str

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """What JSON can be made of; None where there is nothing to be said."""

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """Go on as ``value`` says. Raises Damaged, having undone what it did."""


class Whole(Protocol):
    """What somebody has to hand over that belongs to no session."""

    name: str

    def pack(self, luggage: Luggage) -> Any:
        """What JSON can be made of; None where there is nothing to be said."""

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """Go on as ``value`` says. Raises Damaged."""
