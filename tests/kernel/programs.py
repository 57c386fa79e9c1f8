"""Small programs of others, to stand beside ours."""

from __future__ import annotations

import struct
from collections.abc import Callable

from rtpproxy_tw.media.kernel import bpf_syscall as bpf


def counting(verdict: int) -> tuple[int, Callable[[], int]]:
    """A program that counts packets and then says ``verdict``; how many it has seen."""
    counter = bpf.Map(bpf.ARRAY, 4, 8, 1)
    code = b"".join(
        struct.pack("<BBhi", *words)
        for words in (
            (0x62, 0x0A, -4, 0),  # *(u32 *)(r10 - 4) = 0
            (0x18, 0x11, 0, counter.descriptor),  # r1 = the map
            (0, 0, 0, 0),
            (0xBF, 0xA2, 0, 0),  # r2 = r10
            (0x07, 0x02, 0, -4),  # r2 += -4
            (0x85, 0, 0, 1),  # r0 = look up
            (0x15, 0x00, 2, 0),  # if r0 == 0 skip two
            (0xB7, 0x01, 0, 1),  # r1 = 1
            (0xDB, 0x10, 0, 0),  # *(u64 *)r0 += r1
            (0xB7, 0x00, 0, verdict),  # r0 = verdict
            (0x95, 0, 0, 0),  # exit
        )
    )
    program = bpf.load(bpf.SCHED_CLS, code, "counting", "BSD-2-Clause")
    return program, lambda: int.from_bytes(counter[bytes(4)], "little")
