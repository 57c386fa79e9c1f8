"""Parties that speak, and networks between them and the recorder."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rtpproxy_tw.tools.speech import mulaw

EPOCH = 1_700_000_000.0

Heard = tuple[float, bytes]
"""When, and what."""


def rtp(
    sequence: int, timestamp: int, payload: bytes, *, ssrc: int = 1, payload_type: int = 0
) -> bytes:
    """A packet, numbers reduced to what fits."""
    head = struct.pack(
        "!BBHII", 0x80, payload_type, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc
    )
    return head + payload


@dataclass(frozen=True, slots=True)
class Talker:
    """Sends a tone in G.711 mu-law, packets of 20 ms, from ``start`` seconds on."""

    hertz: float = 440.0
    start: float = 0.0
    sequence: int = 65_500
    timestamp: int = 2**32 - 4000
    ssrc: int = 1

    def send(self, packets: int, first: int = 0) -> list[Heard]:
        """So many packets, the first of which is number ``first``."""
        return [
            (EPOCH + self.start + number * 0.02, self.packet(number))
            for number in range(first, first + packets)
        ]

    def packet(self, number: int) -> bytes:
        """One packet."""
        return rtp(
            self.sequence + number,
            self.timestamp + number * 160,
            self.payload(number),
            ssrc=self.ssrc,
        )

    def payload(self, number: int) -> bytes:
        """160 samples."""
        step = 2 * math.pi * self.hertz / 8000
        at = number * 160
        return bytes(mulaw(round(8000 * math.sin(step * (at + n)))) for n in range(160))


def disturbed(
    heard: Iterable[Heard], chance: random.Random, *, lost: float = 0.0, late: float = 0.0
) -> list[Heard]:
    """The same after a network that loses packets, and delays some until after the next ones."""
    through = [packet for packet in heard if chance.random() >= lost]
    moved = [
        (when + (0.05 if chance.random() < late else chance.random() * 0.005), packet)
        for when, packet in through
    ]
    return sorted(moved)


def power(samples: Sequence[int], hertz: float, rate: int) -> float:
    """How strong ``hertz`` is in the samples, 1.0 being all there is (Goertzel)."""
    coefficient = 2 * math.cos(2 * math.pi * hertz / rate)
    one = two = 0.0
    total = 0.0
    for sample in samples:
        one, two = sample + coefficient * one - two, one
        total += sample * sample
    if not total:
        return 0.0
    return (one * one + two * two - coefficient * one * two) / (total * len(samples) / 2)
