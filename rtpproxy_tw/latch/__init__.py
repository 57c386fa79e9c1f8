"""Who is believed to be the peer: the latching state machines, one per stream.

Two policies: ``strict``, which lets nobody in without a reason, and ``rtpproxy``, which believes
whom the original believes. All is pure: time and datagrams are arguments, nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.latch.base import Latch, LatchState
from rtpproxy_tw.latch.original import RtpproxyLatch
from rtpproxy_tw.latch.strict import StrictLatch

__all__ = ["Latch", "LatchState", "RtpproxyLatch", "StrictLatch", "latch_factory"]


def latch_factory(policy: str, *, rebinding: bool = True) -> Callable[[int], Latch]:
    """What makes the latches of a policy, ``strict`` or ``rtpproxy``, given 1 (RTP) or 2 (RTCP).

    Without ``rebinding`` a strict latch never follows a stream to another source by itself. Raises
    ConfigError for any other text.
    """
    match policy:
        case "strict":
            return partial(StrictLatch, rebinding=rebinding)
        case "rtpproxy":
            return RtpproxyLatch
        case _:
            raise ConfigError(f"no such latching policy: {policy!r}")
