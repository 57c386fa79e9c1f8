"""The kernel's tables of sockets, ``/proc/net/udp`` and its like, and whose sockets they are."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from rtpproxy_tw.addresses import canonical

LISTENING = "0A"
"""TCP's state LISTEN."""

WORD = 4
"""Octets of the words in which the kernel prints an address, in the order of the processor."""


class Entry(NamedTuple):
    """A socket: where it is bound, and its number in the kernel."""

    kind: str
    host: str
    port: int
    inode: int


def table(kind: str, text: str) -> Iterator[Entry]:
    """The bound sockets in a table; ``kind`` is udp or tcp. Lines that are none are passed over."""
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 10 or not fields[9].isdecimal():
            continue
        if kind == "tcp" and fields[3] != LISTENING:
            continue
        host, _, port = fields[1].rpartition(":")
        try:
            yield Entry(kind, _host(host), int(port, 16), int(fields[9]))
        except ValueError:
            continue


def _host(digits: str) -> str:
    octets = bytes.fromhex(digits)
    words = [_ordered(octets[at : at + WORD]) for at in range(0, len(octets), WORD)]
    family = {4: socket.AF_INET, 16: socket.AF_INET6}.get(len(octets))
    if family is None:
        raise ValueError(digits)
    return canonical(socket.inet_ntop(family, b"".join(words)))


def _ordered(word: bytes) -> bytes:
    return word[::-1] if sys.byteorder == "little" else word


def unix_table(text: str) -> dict[str, int]:
    """Of ``/proc/net/unix``: the paths that somebody listens at, with the sockets' numbers."""
    found = {}
    for line in text.splitlines():
        fields = line.split(None, 7)
        # __SO_ACCEPTCON: it listens.
        if len(fields) == 8 and fields[6].isdecimal() and fields[3] == "00010000":
            found[fields[7]] = int(fields[6])
    return found


class Owners:
    """Tells whose a socket is; only root can tell those of others."""

    def __init__(self, wanted: Iterable[int], proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._pids = self._find({f"socket:[{inode}]": inode for inode in wanted})

    def _find(self, wanted: dict[str, int]) -> dict[int, int]:
        found: dict[int, int] = {}
        processes = sorted(self._proc.glob("[0-9]*")) if wanted else []
        for process in processes:
            try:
                links = list(os.scandir(process / "fd"))
            except OSError:
                continue
            for link in links:
                try:
                    inode = wanted.get(os.readlink(link.path))
                except OSError:
                    continue
                if inode is not None:
                    found.setdefault(inode, int(process.name))
        return found

    def owner(self, inode: int) -> tuple[str, bool]:
        """The program and process, empty where unknown; whether it is a relay of ours."""
        pid = self._pids.get(inode)
        if pid is None:
            return "", False
        try:
            octets = (self._proc / str(pid) / "cmdline").read_bytes()
            name = (self._proc / str(pid) / "comm").read_text(errors="replace").strip()
        except OSError:
            return "", False
        words = octets.decode(errors="replace").split("\0")
        return f"{name} (process {pid})", is_relay(words)


def is_relay(words: list[str]) -> bool:
    """Whether a process with this command line is a relay of this package."""
    programs = [os.path.basename(word) for word in words[:2]]
    if "rtpproxy-tw" in programs or words[1:3] == ["-m", "rtpproxy_tw.tools.launcher"]:
        return True
    return any(re.fullmatch(r"twistd3?", name) for name in programs) and "rtpproxy" in words
