"""What goes wrong beside the calls, made to order."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.soaking.party import Address
from bench.soaking.plan import Chance, Fault

LASTING = 0.5
"""Seconds that a disk is gone, or descriptors are short."""

STALLED = 0.2

AFTERWARDS = 0.5
"""Seconds after a fault's end in which commands may still notice it."""

STRANGER = "127.0.0.17"


class Faults:
    """``control`` is the path of a control socket, ``recordings`` the directory of recordings."""

    def __init__(self, pid: int, control: Path, recordings: Path, chance: Chance) -> None:
        self._pid = pid
        self._control = control
        self._recordings = recordings
        self._chance = chance
        self._undo: list[tuple[float, Callable[[], object]]] = []
        self._shaken_until = 0.0
        self.made: Counter[Fault] = Counter()

    def shaken(self) -> bool:
        """Whether there is one that commands may notice, or just was."""
        return bool(self._undo) or time.monotonic() < self._shaken_until

    def make(self, fault: Fault, ports: list[Address]) -> None:
        """Have it happen; ``ports`` are those of calls."""
        match fault:
            case Fault.GARBAGE:
                self._talk(self._chance.garbage() + b"\n", wait=True)
            case Fault.STRANGER:
                lines = ("Q nobody a b", "D nobody a b", "R nobody a b", "P nobody x 0 a b")
                self._talk("\n".join(lines).encode() + b"\n", wait=True)
            case Fault.HANG_UP:
                self._talk(b"U half-a-comm", wait=False)
            case Fault.UNHEARD:
                self._talk(b"V\nI\nV\n", wait=False)
            case Fault.SPRAY:
                self._spray(ports)
            case Fault.STALL:
                os.kill(self._pid, signal.SIGSTOP)
                time.sleep(STALLED)
                os.kill(self._pid, signal.SIGCONT)
            case Fault.DISK:
                self._take_disk()
            case Fault.SHORTAGE:
                self._take_descriptors()
        self.made[fault] += 1

    def tick(self) -> None:
        """Take back what has lasted."""
        while self._undo and self._undo[0][0] <= time.monotonic():
            self._undo.pop(0)[1]()
            self._shaken_until = time.monotonic() + AFTERWARDS

    def end(self) -> None:
        """Take back everything."""
        for _, undo in self._undo:
            undo()
        self._undo.clear()

    def _last(self, undo: Callable[[], object]) -> None:
        self._undo.append((time.monotonic() + LASTING, undo))

    def _talk(self, octets: bytes, wait: bool) -> None:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(0.5)
            sock.connect(str(self._control))
            sock.sendall(octets)
            if wait:
                sock.recv(4096)

    def _spray(self, ports: list[Address]) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((STRANGER, 0))
            for to in ports:
                with suppress(OSError):
                    sock.sendto(self._chance.garbage(), to)

    def _take_disk(self) -> None:
        if self._undo:
            return
        away = self._recordings.with_name("away")
        self._recordings.rename(away)
        self._last(lambda: away.rename(self._recordings))

    def _take_descriptors(self) -> None:
        if self._undo:
            return
        before = resource.prlimit(self._pid, resource.RLIMIT_NOFILE)
        # What has been opened already stays; nothing more can be.
        resource.prlimit(self._pid, resource.RLIMIT_NOFILE, (16, before[1]))
        self._last(lambda: _restore(self._pid, before))


def _restore(pid: int, limits: tuple[int, int]) -> None:
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
