"""What is written down where all relays can read it, and the seam to whatever keeps it.

What is owned is a *media address*, not a node: packets go where the address is. Its record has an
*epoch*, which every change of hands raises. All writing names the epoch it was meant for and is
refused where that is not the present one, so a relay that slept through its own replacement does
no harm. No clocks are compared, and nothing here expires because a clock said so: an owner
counts *beats*, and who waits for its end watches the count by a clock of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from zope.interface import Attribute, Interface

from rtpproxy_tw.errors import RelayError


class Unavailable(RelayError):
    """The store did not do it, or did not say so in time; the text says why."""


class Owner(NamedTuple):
    """Who has a media address."""

    node: str
    """Empty: nobody has it any more, and whoever stands by may take it at once."""
    epoch: int
    beat: int = 0
    here: bool = True
    """Whether the address is on an interface of that node."""


class Page(NamedTuple):
    """A part of the sessions of an address; ``cursor`` is empty with the last one."""

    cursor: str
    lines: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be written at once: records by name, names that are gone, calls by their names."""

    changed: Mapping[str, bytes]
    gone: Collection[str] = ()
    calls: Collection[str] = ()
    """Call-ids that are to be found at this address."""

    def __len__(self) -> int:
        return len(self.changed) + len(self.gone)


class IStore(Interface):
    """Keeps it. All methods return Deferreds that fail with Unavailable, within bounded time."""

    usable: bool = Attribute("Whether it is worth asking anything just now.")

    def owners(addresses: Sequence[str]) -> Any:
        """For each of ``addresses`` its Owner, None where none was ever written down."""

    def take(address: str, node: str, epoch: int, here: bool) -> Any:
        """Make ``node`` the owner if the epoch still is ``epoch`` (0: there is no record).

        The new Owner, whose epoch is one higher; None where somebody else was quicker.
        """

    def beat(address: str, mine: Owner) -> Any:
        """``mine`` lives. The owner that is written down now.

        Where nothing, or an earlier epoch, was written down (the store lost its memory), ``mine``
        is written down anew.
        """

    def release(address: str, epoch: int) -> Any:
        """The owner of ``epoch`` gives the address up. Whether it was its owner."""

    def write(address: str, epoch: int, batch: Batch) -> Any:
        """Write ``batch``. Whether the owner of ``epoch`` still is the owner."""

    def names(address: str) -> Any:
        """The names of all its sessions, a set."""

    def load(address: str, cursor: str = "") -> Any:
        """A Page of its sessions."""

    def find(call_id: str) -> Any:
        """The address at which that call was last seen, or None."""

    def tell(node: str, about: bytes, seconds: float) -> Any:
        """``about`` is what is known of ``node``, for so many seconds."""

    def nodes() -> Any:
        """What is known of all nodes: octets by name, None for those who fell silent."""
