"""Who may command at a listener, how much, and which commands.

The control language knows no passwords, so whoever is heard can end every call. Three questions
are asked before a command is executed, none of which needs the command to be understood but the
last:

========  ========================================================================================
admitted  does the source lie in a network whose members may command? The others get no answer
          over UDP, and are disconnected over TCP
budget    has it sent more commands than it may? Over UDP there is silence, over TCP nothing is
          read until it may again
denied    is the command among those that this listener does not take? Answered with E3
========  ========================================================================================

A source that is admitted only because it is near, not because the operator named it, is a
*stranger*: over UDP its replies are never longer than three times what it sent, so that a forged
source address gains nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from rtpproxy_tw.addresses import canonical
from rtpproxy_tw.commands import (
    Command,
    Copy,
    Delete,
    DeleteAll,
    Feature,
    Info,
    Lookup,
    Outlet,
    Play,
    Query,
    Record,
    Statistics,
    StopPlay,
    StopRecord,
    SubCommand,
    SubDelete,
    SubLookup,
    Update,
    Version,
)

Network = IPv4Network | IPv6Network

AMPLIFICATION = 3
"""A reply to a stranger over UDP has at most so many times the octets of the request."""

RATE = 2000
"""Commands a second from one source, for as long as it likes: some 600 new calls a second."""

BURST_SECONDS = 5
"""A source that was quiet may have the commands of so many seconds at once."""

MOST_SOURCES = 1024
"""Sources whose spending is remembered; SIP proxies are few."""

MOST_KNOWN = 4096
"""Hosts for which is remembered whether they are in a list."""

LOOPBACK = ("127.0.0.0/8", "::1/128")


def network(text: str) -> Network:
    """The network that ``text`` means; an address alone is a network of one.

    IPv4 networks in the guise of IPv6 become plain ones. Raises ValueError.
    """
    found = ip_network(text, strict=False)
    if isinstance(found, IPv6Network) and found.prefixlen >= 96:
        inner = found.network_address.ipv4_mapped
        if inner is not None:
            return IPv4Network((inner, found.prefixlen - 96), strict=False)
    return found


def listed(host: str) -> str:
    """``host`` as lists know it: canonical, and without the name of an interface.

    Raises ValueError where it is no numeric address.
    """
    return canonical(host.partition("%")[0])


class Networks:
    """A set of networks. Hosts are canonicalised before they are looked for."""

    def __init__(self, networks: Iterable[str | Network] = ()) -> None:
        found = (network(each) if isinstance(each, str) else each for each in networks)
        self._networks = tuple(dict.fromkeys(found))
        self._known: dict[str, bool] = {}

    def __contains__(self, host: str) -> bool:
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[host] = self._holds(host)
        return known

    def __str__(self) -> str:
        return ", ".join(str(each) for each in self._networks)

    def _holds(self, host: str) -> bool:
        try:
            address = ip_address(listed(host))
        except ValueError:
            return False
        return any(address.version == each.version and address in each for each in self._networks)


class Budgets:
    """A bucket of commands for each source, refilled at ``rate`` a second; 0: no limit."""

    def __init__(self, rate: float = RATE, burst: float | None = None) -> None:
        self._rate = rate
        self._burst = rate * BURST_SECONDS if burst is None else burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def spend(self, source: str, now: float) -> float:
        """Take one command out: 0.0, or after how many seconds there will be one again."""
        if not self._rate:
            return 0.0
        left, when = self._left.pop(source, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - when) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._left[source] = (left if wait else left - 1), now
        if len(self._left) > MOST_SOURCES:
            self._left.popitem(last=False)
        return wait


@dataclass(slots=True)
class Refusals:
    """What was not answered, or not in full, of all listeners."""

    stranger: int = 0
    """Datagrams and connections from outside the networks that may command."""
    budget: int = 0
    """Datagrams beyond what their source may send."""
    denied: int = 0
    """Commands that their listener does not take."""
    amplification: int = 0
    """Replies that would have been too long for who asked."""
    tls: int = 0
    """Connections whose client had no certificate, or none we trust."""


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one listener.

    ``admitted`` may command, None being everybody; of them those in ``named`` are trusted not to
    be forged. ``denied`` are the letters of commands it does not take. By default everything is
    allowed, as on a UNIX socket, whose mode says who gets that far.
    """

    admitted: Networks | None = None
    named: Networks | None = None
    denied: frozenset[str] = frozenset()
    budgets: Budgets = field(default_factory=lambda: Budgets(0))
    refusals: Refusals = field(default_factory=Refusals)

    def admits(self, host: str | None) -> bool:
        """Whether ``host`` may command; None is a client without an address, a local one."""
        return host is None or self.admitted is None or host in self.admitted

    def is_stranger(self, host: str) -> bool:
        """Whether a datagram with the source ``host`` is only known by being near."""
        return self.named is not None and host not in self.named

    def spend(self, host: str | None, now: float) -> float:
        """One command of ``host`` comes: 0.0 to execute it, or seconds until there may be one."""
        return 0.0 if host is None else self.budgets.spend(_source(host), now)


def _source(host: str) -> str:
    """Whose budget ``host`` shares: one IPv6 host has all addresses of its /64."""
    if ":" not in host:
        return host
    try:
        return str(network(f"{listed(host)}/64"))
    except ValueError:
        return host


LETTERS = "UDLPSRCNQGIVX"
"""The commands that a policy can name; ``V`` stands for ``VF``, too."""


def letters_of(command: Command) -> frozenset[str]:
    """The letters of ``command`` and of what follows it after ``&&``."""
    match command:
        case Update(subs=subs) | Lookup(subs=subs) | Query(subs=subs):
            return frozenset((_letter(command), *_letters_within(subs)))
        case _:
            return frozenset(_letter(command))


def _letter(command: Command) -> str:
    match command:
        case Update():
            return "U"
        case Lookup():
            return "L"
        case Delete():
            return "D"
        case Play():
            return "P"
        case StopPlay():
            return "S"
        case Record():
            return "R"
        case Copy():
            return "C"
        case StopRecord():
            return "N"
        case Query():
            return "Q"
        case Statistics():
            return "G"
        case Info():
            return "I"
        case Version() | Feature():
            return "V"
        case DeleteAll():
            return "X"


def _letters_within(subs: Iterable[SubCommand]) -> Iterable[str]:
    for sub in subs:
        match sub:
            case SubDelete():
                yield "D"
            case SubLookup():
                yield "L"
            case Outlet():
                yield "C"
            case _:
                pass  # a detail of the session that the main command names
