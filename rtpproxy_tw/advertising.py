"""The address that replies name: fixed, or learnt and looked at again from time to time.

An advertised address is literal text unless it is one of these words:

``auto``
    the address of the interface, or that of the default route where media is taken on all; if
    that is private and there is a STUN server, what the server sees
``stun``, ``stun:SERVER``
    what the server sees
"""

from __future__ import annotations

from typing import NamedTuple

from rtpproxy_tw import stun
from rtpproxy_tw.addresses import Address


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
