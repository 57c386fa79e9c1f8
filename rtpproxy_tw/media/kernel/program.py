"""The eBPF program with its maps, loaded; or the reason why this machine has none."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

from twisted.logger import Logger

from rtpproxy_tw.media.kernel import bpf_syscall as bpf
from rtpproxy_tw.media.kernel import capabilities, elf, layout
from rtpproxy_tw.media.kernel.left import MAP, PROGRAM, Left
from rtpproxy_tw.media.kernel.path import Unavailable

OBJECT = Path(__file__).parent.parent / "bpf" / "relay.bpf.o"
"""Compiled from relay.bpf.c beside it; part of the package."""

OLDEST = (5, 10)
"""Linux: the first with bpf_redirect_neigh."""

HOSTS = 4096
"""Addresses of this host that are told to the program."""

NO_PREALLOC = 1

PRIVILEGES = (
    "Give the process CAP_BPF and CAP_NET_ADMIN (with systemd:"
    " AmbientCapabilities=CAP_BPF CAP_NET_ADMIN), or start it as root."
)

MAPS = ("ports", "flows", "slots", "rests", "state", "hops", "hosts", "ring")

ETHERNET = "ethernet"
BARE = "bare"


def explain(error: OSError) -> Unavailable:
    """Why the kernel refused, for the operator."""
    if error.errno == errno.ENOSYS:
        return Unavailable(
            "This kernel has no bpf system call.", "It must be built with CONFIG_BPF_SYSCALL."
        )
    if error.errno == errno.EPERM:
        if capabilities.has_needed():
            return Unavailable(
                "The kernel refuses bpf although the process has the capabilities:"
                " a seccomp filter, kernel lockdown or a user namespace stands before it.",
                "In a container, allow the bpf system call in the initial user namespace.",
            )
        return Unavailable("The process may not load eBPF programs.", PRIVILEGES)
    if error.errno == errno.ENOMEM:
        return Unavailable(
            "There is not enough memory for eBPF maps.",
            "Before Linux 5.11 the limit on locked memory counts: raise it (LimitMEMLOCK).",
        )
    return Unavailable(f"The kernel refuses the eBPF program: {error.strerror}.", "")


def check_machine() -> None:
    """Raises Unavailable where nothing needs to be tried."""
    if platform.system() != "Linux":
        raise Unavailable("The fast path is for Linux.", "")
    if sys.byteorder != "little":
        raise Unavailable("The eBPF program is compiled for little-endian machines.", "")
    release = platform.release()
    numbers = tuple(int(word) for word in release.replace("-", ".").split(".")[:2])
    if numbers < OLDEST:
        raise Unavailable(f"Linux {release} is too old.", "Linux 5.10 or later is needed.")


class Program:
    """Maps by name, and the descriptor of each program.

    The one for devices without link headers is missing where the kernel is too old for it.
    """

    _log = Logger()

    def __init__(self, capacity: int, ring_octets: int, left: Left | None = None) -> None:
        """Room for ``capacity`` flows and a ring of so many octets (a power of two of pages).

        ``left`` has the maps and programs of a process before us, made with the same numbers.
        Raises Unavailable.
        """
        check_machine()
        self.maps: dict[str, bpf.Map] = {}
        self.programs: dict[str, int] = {}
        raise_memory_limit()
        try:
            self._create_maps(capacity, ring_octets, left.take(MAP) if left else {})
            if left:
                self.programs = left.take(PROGRAM)
            else:
                self._load()
        except OSError as error:
            self.close()
            raise explain(error) from None

    def _create_maps(self, capacity: int, ring_octets: int, there: Mapping[str, int]) -> None:
        array, hash_, mapped = bpf.ARRAY, bpf.HASH, bpf.MMAPABLE
        key, number = layout.KEY.size, 4
        shapes: Mapping[str, tuple[int, int, int, int, int]] = {
            "ports": (
                array,
                number,
                layout.PORTS_ROW,
                layout.PORTS * 2 // layout.PORTS_ROW,
                mapped,
            ),
            "flows": (hash_, key, number, capacity, 0),
            "slots": (array, number, layout.SLOT_SIZE, capacity, mapped),
            "rests": (array, number, layout.REST_SIZE, capacity, mapped),
            "state": (array, number, layout.STATE.size, 1, mapped),
            "hops": (array, number, layout.HOP.size, layout.HOPS, mapped),
            "hosts": (hash_, key, number, HOSTS, NO_PREALLOC),
            "ring": (bpf.RINGBUF, 0, 0, ring_octets, 0),
        }
        for name, (kind, key_size, value_size, entries, flags) in shapes.items():
            self.maps[name] = bpf.Map(
                kind, key_size, value_size, entries, flags, f"rtp_{name}", there.get(name)
            )

    def _load(self) -> None:
        compiled = elf.read(OBJECT.read_bytes())
        descriptors = {name: it.descriptor for name, it in self.maps.items()}
        licence = compiled.texts["license"]
        for name in (ETHERNET, BARE):
            code = compiled.programs[name].linked(descriptors)
            try:
                self.programs[name] = bpf.load(bpf.SCHED_CLS, code, f"rtp_{name}", licence)
            except OSError as error:
                if name == ETHERNET:
                    raise
                self._log.info("nothing for tunnels on this kernel: {error}", error=error)

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        for descriptor in self.programs.values():
            os.close(descriptor)
        self.programs.clear()
        for it in self.maps.values():
            it.close()
        self.maps.clear()


def raise_memory_limit() -> None:
    """Before Linux 5.11 maps count as locked memory, of which 64 KiB are usual."""
    if not platform.release().startswith("5.10."):
        return
    unlimited = resource.RLIM_INFINITY
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (unlimited, unlimited))
