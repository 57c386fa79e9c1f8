"""What is known of the host before a relay starts there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rtpproxy_tw import hostcheck
from rtpproxy_tw.checkup.findings import Finding


class Bound(NamedTuple):
    """A socket that has a port already."""

    kind: str
    """``udp`` or ``tcp``."""
    host: str
    port: int
    owner: str = ""
    """Program and process, empty where that may not be known."""
    ours: bool = False
    """A relay of this package has it."""

    @property
    def told(self) -> str:
        """For a sentence."""
        return self.owner or "another program"


class Place(NamedTuple):
    """A path of the file system; ``kind`` is ``none``, ``directory``, ``file`` or ``socket``."""

    kind: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    device: int = 0
    free: int = 0
    """Octets that may still be written."""
    owner: str = ""
    """Of a socket that somebody listens at: who."""
    ours: bool = False

    @property
    def there(self) -> bool:
        """Whether there is anything."""
        return self.kind != "none"


class Account(NamedTuple):
    """Who the relay would be."""

    name: str
    uid: int
    groups: frozenset[int]

    def may(self, place: Place, bits: int) -> bool:
        """Whether all of ``bits`` (4 read, 2 write, 1 enter) are allowed there."""
        if self.uid == 0:
            return True
        shift = 6 if place.uid == self.uid else 3 if place.gid in self.groups else 0
        return (place.mode >> shift) & bits == bits


ROOT = Account("root", 0, frozenset((0,)))


class Unit(NamedTuple):
    """The relay's unit of systemd as it is installed."""

    path: str
    texts: tuple[str, ...]
    """Of the unit and of its drop-ins, in the order in which systemd reads them."""
    shipped: str
    """As it comes with this version."""
    stale: bool = False
    """The files are newer than what systemd has loaded."""


class Kernel(NamedTuple):
    """What trying the fast path came to."""

    works: bool
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """None, or nothing in it, where something is not known: of that nothing is said."""

    machine: hostcheck.Facts = field(default_factory=hostcheck.Facts)
    addresses: frozenset[str] | None = None
    """Numeric, of this host."""
    nonlocal_bind: bool = False
    """The kernel lets sockets be bound to addresses that this host has not."""
    ephemeral: tuple[int, int] | None = None
    """Ports that are given to outgoing connections."""
    bound: tuple[Bound, ...] | None = None
    account: Account = ROOT
    places: Mapping[str, Place] = field(default_factory=dict)
    """What was found at the paths that the settings name, and at their folders."""
    clock: str | None = None
    """The kernel's clock source."""
    synchronised: bool | None = None
    """Whether the wall clock follows others."""
    kernel: Kernel | None = None
    """None where the fast path was not tried."""
    memory: int | None = None
    """Octets that can be had."""
    unit: Unit | None = None
    contents: tuple[Finding, ...] = ()
    """What came of reading certificates and tokens as the relay would."""
    most_files: int | None = None
    """What even root may not raise a limit of open files beyond."""
