"""Network namespaces: a network of one's own, whose packets reach nobody else. Needs root."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_SYS_ADMIN = 21
"""CAP_SYS_ADMIN, capabilities(7)."""

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


def missing() -> str | None:
    """Why there can be none here, None where there can."""
    if shutil.which("ip") is None:
        return "no ip command here (iproute2)"
    if os.geteuid() or not _capabilities() >> _SYS_ADMIN & 1:
        return "network namespaces need root"
    if not Path("/proc/thread-self/ns/net").exists():
        return "a kernel without network namespaces"
    return None


def _capabilities() -> int:
    for line in Path("/proc/thread-self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return int(value, 16)
    return 0


class Namespace:
    """A network namespace; ``with`` puts the calling thread into it for the block.

    ``role`` is for whoever reads the list of namespaces. Raises CalledProcessError.
    """

    def __init__(self, role: str, *lines: str) -> None:
        """``lines`` are commands of ``ip`` that set it up."""
        self.name = f"rtw{os.getpid()}-{next(_numbers)}-{role}"
        self._outer: list[int] = []
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        try:
            self.ip("link set lo up", *lines)
        except subprocess.CalledProcessError:
            self.delete()
            raise

    def ip(self, *lines: str) -> None:
        """Commands of ``ip``, in here."""
        subprocess.run(
            ["ip", "-n", self.name, "-batch", "-"], input="\n".join(lines), text=True, check=True
        )

    def enter(self) -> None:
        """Put the calling thread into it, for good."""
        with open(f"/run/netns/{self.name}") as inner:
            _enter(inner.fileno())

    def __enter__(self) -> Namespace:
        self._outer.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        self.enter()
        return self

    def __exit__(self, *_: object) -> None:
        outer = self._outer.pop()
        _enter(outer)
        os.close(outer)

    def delete(self) -> None:
        """Away with it, and all that is in it."""
        subprocess.run(["ip", "netns", "del", self.name], check=True)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
