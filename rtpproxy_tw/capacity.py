"""How many calls an instance can carry, and what limits it."""

from __future__ import annotations

from typing import NamedTuple

PER_CALL_PAIRS = 2
"""Port pairs of one call with one medium: one towards each party."""

PER_CALL_DESCRIPTORS = 2 * PER_CALL_PAIRS
"""RTP and RTCP sockets of both legs."""

RESERVED_DESCRIPTORS = 128
"""Kept for control connections, logs, recordings and the reactor itself."""


class Capacity(NamedTuple):
    """``calls`` at once, one medium each; ``why`` names the limit and how to raise it."""

    calls: int
    why: str


def capacity(pairs: int, descriptors: int, max_sessions: int = 0) -> Capacity:
    """What ``pairs`` port pairs, ``descriptors`` and ``max_sessions`` (0: no limit) allow."""
    limits = [
        Capacity(
            pairs // PER_CALL_PAIRS,
            f"limited by {pairs} port pairs; widen the range with -m and -M for more",
        ),
        Capacity(
            max(0, descriptors - RESERVED_DESCRIPTORS) // PER_CALL_DESCRIPTORS,
            f"limited by {descriptors} file descriptors; raise LimitNOFILE (or use -L) for more",
        ),
    ]
    if max_sessions:
        limits.append(
            Capacity(max_sessions, f"limited by --max-sessions {max_sessions}; raise it for more")
        )
    return min(limits)
