"""What a process before us has in the kernel: its maps, programs and links, which work on alone.

A program is attached as long as anybody has its link's descriptor, and maps live with it. Whoever
gets all of them goes on with the very same, and needs no privileges for it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

TCX = "tcx"
"""How a program must be attached to outlive its process; see ``attach``, which costs time."""

MAP, PROGRAM, LINK = "map ", "program ", "link "
"""What descriptors are called, before the name of each or the number of its device."""


def shape(compiled: Path, capacity: int, ring_octets: int) -> dict[str, Any]:
    """What must be the same for two processes to have the same maps and programs."""
    digest = hashlib.sha256(compiled.read_bytes()).hexdigest()[:32]
    return {"object": digest, "capacity": capacity, "ring": ring_octets, "method": TCX}


class Left:
    """``descriptors`` by name, which are its own, of programs and maps of that ``shape``."""

    def __init__(self, shape: Any = None, descriptors: Mapping[str, int] | None = None) -> None:
        self.shape = shape
        self._descriptors = dict(descriptors or {})

    def take(self, kind: str) -> dict[str, int]:
        """Those of a kind, by what follows; they are the caller's from now on."""
        names = [name for name in self._descriptors if name.startswith(kind)]
        return {name.removeprefix(kind): self._descriptors.pop(name) for name in names}

    def has(self, *names: str) -> bool:
        """Whether all of these are there."""
        return all(name in self._descriptors for name in names)

    def close(self) -> None:
        """Let go of what nobody took: what only we hold ends. Idempotent."""
        while self._descriptors:
            with suppress(OSError):
                os.close(self._descriptors.popitem()[1])
