"""Which of the root user's powers the process has, and giving up those no longer needed."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

NET_ADMIN = 12
SYS_ADMIN = 21
PERFMON = 38
BPF = 39

_VERSION_3 = 0x20080522
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_LOWER = 3

_libc = ctypes.CDLL(None, use_errno=True)


def effective() -> int:
    """The capabilities in force, bit n for capability n; 0 where it cannot be known."""
    try:
        for line in Path("/proc/thread-self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    except OSError:
        pass
    return 0


def has_needed() -> bool:
    """Whether loading and attaching need not fail for want of capabilities."""
    mask = effective()
    return bool(mask >> NET_ADMIN & 1 and (mask >> BPF & 1 or mask >> SYS_ADMIN & 1))


def give_up(*which: int) -> None:
    """Drop capabilities from every set of this thread, for ever. Raises OSError.

    Threads that run already keep theirs, so call it before any is started. Those it has not are
    skipped.
    """
    mask = sum(1 << number for number in which)
    header = ctypes.create_string_buffer(struct.pack("Ii", _VERSION_3, 0))
    sets = ctypes.create_string_buffer(24)
    if _libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    words = list(struct.unpack("6I", sets.raw))
    for index in range(6):
        # Effective, permitted, inheritable of the low 32; then of the high ones.
        words[index] &= ~(mask >> (32 if index > 2 else 0)) & 0xFFFFFFFF
    for number in which:
        _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_LOWER, number, 0, 0)
    if _libc.capset(header, ctypes.create_string_buffer(struct.pack("6I", *words), 24)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
