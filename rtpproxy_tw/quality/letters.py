"""RTCP datagrams that wait for whoever looks once a second: all of a second, or the most of it."""

from __future__ import annotations

MOST_LETTERS = 8
"""Parties send one every few seconds, or a handful at once; a flood is not worth memory."""

Letters = list[tuple[float, bytes]]
"""When each came, and the datagram."""


def keep(letters: Letters, when: float, datagram: bytes) -> None:
    """Add one. Where there are too many, the newest takes the place of the one before it."""
    if len(letters) < MOST_LETTERS:
        letters.append((when, datagram))
    else:
        letters[-1] = when, datagram
