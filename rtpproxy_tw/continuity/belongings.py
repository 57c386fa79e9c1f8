"""What a relay has to hand over, as those describe it who own it."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Protocol

from rtpproxy_tw.session import Session
from rtpproxy_tw.snapshot.kinds import Damaged

SO_DOMAIN = 39
"""socket(7): the family of a socket; Python has no name for it."""


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
        descriptor = self.take(number)
        # Told what it is, Python does not ask the kernel first; then it is asked by us.
        found = socket.socket(family, kind, 0, descriptor)
        try:
            bound: object = found.getsockname()
            actual = found.getsockopt(socket.SOL_SOCKET, SO_DOMAIN)
            actual_kind = found.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
        except OSError as error:
            found.detach()
            self.taken.discard(number)
            raise Damaged(f"descriptor {number} is no socket: {error}") from None
        if type(bound) is tuple:
            bound = bound[:2]
        if actual != family or actual_kind != kind or name not in (None, bound):
            found.close()
            text = f"of family {actual} and type {actual_kind}, bound to {bound!r:.200}"
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
