"""The loaded program by itself: packets are handed to it, nothing is attached to anything."""

from __future__ import annotations

import pytest

from rtpproxy_tw.addresses import Address, family_of
from rtpproxy_tw.media.kernel import bpf_syscall as bpf
from rtpproxy_tw.media.kernel import layout
from rtpproxy_tw.media.kernel.layout import Hop
from rtpproxy_tw.media.kernel.path import RtpState, Sample, Unavailable
from rtpproxy_tw.media.kernel.program import ETHERNET, Program
from rtpproxy_tw.media.kernel.table import FOR_EVER, Table

NEXT = -1
DROP = 2
REDIRECT = 7

CAPACITY = 8


class Bench:
    """A program with room for eight flows."""

    def __init__(self) -> None:
        self.program = Program(CAPACITY, 1 << 16)
        self.table = Table(self.program.maps, CAPACITY)
        self.table.serve_until(FOR_EVER)
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
    ) -> int:
        """Carry a flow out of the loopback device; the slot's number."""
        self.serial += 1
        hop = Hop(1, out[0], to[0] if via == "same" else via, mtu, 64, is_local)
        description = layout.pack_description(
            local, source, out[1], to, hop, tos=tos, serial=self.serial, budget=budget, flags=flags
        )
        return self.table.put(local, description, rtp or RtpState())

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
        self.table.close()
        self.program.close()


def new_bench() -> Bench:
    """A bench, or a skipped test where this machine has no program."""
    try:
        return Bench()
    except Unavailable as error:
        pytest.skip(str(error))


def hosts_of(family: int) -> tuple[str, str]:
    """(ours, the peer's)."""
    return ("192.0.2.1", "192.0.2.9") if family == 4 else ("2001:db8::1", "2001:db8::9")


__all__ = ["DROP", "NEXT", "REDIRECT", "Bench", "family_of", "hosts_of", "new_bench"]
