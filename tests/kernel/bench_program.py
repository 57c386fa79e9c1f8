"""The loaded program by itself: packets are handed to it, nothing is attached to anything."""

from __future__ import annotations

import time

import pytest

from rtpproxy_tw.addresses import Address, family_of
from rtpproxy_tw.media.kernel import bpf_syscall as bpf
from rtpproxy_tw.media.kernel import layout
from rtpproxy_tw.media.kernel.hops import Hops
from rtpproxy_tw.media.kernel.layout import Hop
from rtpproxy_tw.media.kernel.path import RtpState, Sample, Unavailable
from rtpproxy_tw.media.kernel.program import ETHERNET, Program
from rtpproxy_tw.media.kernel.rtnetlink import Neighbour
from rtpproxy_tw.media.kernel.table import FOR_EVER, Table

NEXT = -1
DROP = 2
REDIRECT = 7

CAPACITY = 8

DEVICE = 1
"""Loopback, out of which nothing really goes here."""

OWN = bytes.fromhex("02aabbccdd01")
NEIGHBOUR = bytes.fromhex("02fedcba9876")


class Bench:
    """A program, with room for eight flows where nothing else is said."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.program = Program(capacity, 1 << 16)
        self.table = Table(self.program.maps, capacity)
        self.table.serve_until(FOR_EVER)
        self.table.vouch_until(FOR_EVER)
        self._hops_memory = self.program.maps["hops"].map()
        self.hop_words = memoryview(self._hops_memory).cast("Q")
        self.hops = Hops(self.hop_words)
        self.hops.own(DEVICE, OWN)
        self.serial = 0

    def flow(
        self,
        local: Address,
        source: Address,
        out: Address,
        to: Address,
        *,
        flags: int = layout.RTP_FLAG,
        tos: int = 0xB8,
        budget: int = 3,
        mtu: int = 1500,
        via: str | None = "same",
        is_local: bool = False,
        rtp: RtpState | None = None,
        neighbour: bytes | None = None,
    ) -> int:
        """Carry a flow out of the loopback device; the slot's number.

        ``neighbour``: the hardware address of where it goes, as far as that is known.
        """
        self.serial += 1
        hop = Hop(DEVICE, out[0], to[0] if via == "same" else via, mtu, 64, is_local)
        place = 0
        if neighbour is not None:
            place = self.hops.take((DEVICE, to[0]))
            self.hops.learn(Neighbour(DEVICE, to[0], neighbour))
            self.ask(place, in_a_second=True)
        description = layout.pack_description(
            local,
            source,
            out[1],
            to,
            hop,
            tos=tos,
            serial=self.serial,
            budget=budget,
            flags=flags,
            place=place,
        )
        return self.table.put(local, description, rtp or RtpState())

    def ask(self, place: int, in_a_second: bool = False) -> None:
        """Let the next packet to that neighbour go the kernel's way, or none for a second."""
        asked = time.monotonic_ns() if in_a_second else 0
        self.hop_words[(place & 0xFFFF) * layout.HOP.size // 8 + 2] = asked

    def own(self, host: str) -> None:
        """Let ``host`` be an address of this machine."""
        key = layout.pack_key((host, 0))
        self.program.maps["hosts"][key] = bytes(4)

    def run(self, frame: object) -> bpf.Run:
        """What the program does with a frame."""
        return bpf.run(self.program.programs[ETHERNET], bytes(frame))  # type: ignore[call-overload]

    def sample(self, slot: int) -> Sample:
        """The counters."""
        return layout.unpack_sample(self.table.read(slot))

    def close(self) -> None:
        """Let go of all."""
        self.hop_words.release()
        self._hops_memory.close()
        self.table.close()
        self.program.close()


def new_bench(capacity: int = CAPACITY) -> Bench:
    """A bench, or a skipped test where this machine has no program."""
    try:
        return Bench(capacity)
    except Unavailable as error:
        pytest.skip(str(error))


def hosts_of(family: int) -> tuple[str, str]:
    """(ours, the peer's)."""
    return ("192.0.2.1", "192.0.2.9") if family == 4 else ("2001:db8::1", "2001:db8::9")


__all__ = ["DROP", "NEXT", "REDIRECT", "Bench", "family_of", "hosts_of", "new_bench"]
