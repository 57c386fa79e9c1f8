"""The address that replies name: fixed, or learnt and looked at again from time to time.

An advertised address is literal text unless it is one of these words:

``auto``
    the address of the interface, or that of the default route where media is taken on all; if
    that is private and there is a STUN server, what the server sees
``stun``, ``stun:SERVER``
    what the server sees
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from rtpproxy_tw import stun
from rtpproxy_tw.addresses import Address, LocalAddress, family_of, is_loopback, is_peer


class Policy(NamedTuple):
    """How the address is learnt. ``interface`` may do where that is public; ``server`` is asked.

    Without a ``server`` of its own it is the one that the relay was given.
    """

    interface: bool
    server: Address | None = None


def policy_of(advertised: str | None) -> Policy | None:
    """The policy that the text stands for, None where it is to be told as it is.

    Raises ValueError for ``stun:`` with something that is no server.
    """
    if advertised == "auto":
        return Policy(interface=True)
    if advertised == "stun":
        return Policy(interface=False)
    if advertised is not None and advertised.startswith("stun:"):
        return Policy(interface=False, server=stun.server(advertised.removeprefix("stun:")))
    return None


Place = tuple[str, str | None]
"""Host and label of a configured address, which tell it from all others."""


class Told:
    """What replies name in place of the policies, as far as it is known."""

    def __init__(self) -> None:
        self._known: dict[Place, str] = {}

    def learn(self, local: LocalAddress, host: str) -> str | None:
        """``local`` is seen as ``host``; what was told before, None where nothing was."""
        place = local.host, local.label
        before = self._known.get(place)
        self._known[place] = host
        return before

    def known(self, local: LocalAddress) -> str | None:
        """What is known of ``local``."""
        return self._known.get((local.host, local.label))

    def entries(self) -> list[tuple[str, str | None, str]]:
        """All that is known: host, label, what is told."""
        return [(host, label, told) for (host, label), told in self._known.items()]

    def current(self, local: LocalAddress) -> LocalAddress:
        """``local`` with what is to be told of it now; a policy is never told."""
        known = self.known(local)
        if known is None:
            if _is_policy(local.advertised):
                return replace(local, advertised=None)
            return local
        return local if known == local.advertised else replace(local, advertised=known)


def _is_policy(advertised: str | None) -> bool:
    return advertised is not None and (
        advertised in ("auto", "stun") or advertised.startswith("stun:")
    )


def plausible(host: str, local: LocalAddress) -> bool:
    """Whether somebody outside may have seen ``local`` as ``host``."""
    if family_of(host) != local.family or not is_peer(host):
        return False
    # Nobody outside means loopback, unless all of it is on one machine.
    return not is_loopback(host) or local.wildcard or is_loopback(local.host)
