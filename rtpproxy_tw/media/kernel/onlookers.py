"""Whether anybody looks at what leaves by a device.

From the end of a pair of devices (veth) a packet may go to the other end at once, as the program
does where it is told to. It then passes nothing that is at the device's way out: a filter or a
program there would miss it, and so would ``tcpdump``. So it is done only where there is nothing of
that kind. Programs can be looked for as long as there is CAP_NET_ADMIN; after that the last answer
counts, and a device of which none is known is left alone.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from rtpproxy_tw.media.kernel import bpf_syscall as bpf
from rtpproxy_tw.media.kernel import rtnetlink as rt
from rtpproxy_tw.media.kernel.attach import Filters

LISTENERS = "/proc/thread-self/net/packet"
"""All packet sockets of this network namespace."""

_EVERYTHING = "0003"
"""ETH_P_ALL: the only protocol with which a socket is given what the host sends."""

_PROTOCOL, _DEVICE = 3, 4
"""Columns."""

ANY = 0
"""The device of a socket that listens to all."""

PAGE = 1 << 16
MOST = 1 << 20
"""Octets of the list; a longer one is as good as somebody who listens to all."""


def listened_to(table: str) -> set[int]:
    """The devices that packet sockets listen to, in the words of the kernel's list of them."""
    rows = (line.split() for line in table.splitlines()[1:])
    return {int(row[_DEVICE]) for row in rows if row[_PROTOCOL] == _EVERYTHING}


class Onlookers:
    """Of the network namespace in which it was made."""

    def __init__(self, filters: Filters) -> None:
        self._filters = filters
        self._programs: dict[int, bool] = {}
        self._quiet: set[int] = set()
        try:
            self._listeners = os.open(LISTENERS, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._listeners = -1

    def follow(self, links: Iterable[rt.Link]) -> None:
        """These are the devices: look for filters and programs at those that matter."""
        paired = {link.device for link in links if link.paired}
        self._programs = {it: self._programs[it] for it in paired & self._programs.keys()}
        self._quiet = {it for it in paired if not (self._has_programs(it) or self._filtered(it))}

    def unseen(self) -> frozenset[int]:
        """The devices from which packets may go to the other end, as of now."""
        if not self._quiet or self._listeners < 0:
            return frozenset()
        try:
            heard = listened_to(self._read())
        except (OSError, ValueError, IndexError):
            return frozenset()
        return frozenset() if ANY in heard else frozenset(self._quiet - heard)

    def _read(self) -> str:
        """The list as it is now, which comes a page at a time. Raises OSError."""
        text = b""
        while more := os.pread(self._listeners, PAGE, len(text)):
            text += more
            if len(text) > MOST:
                raise OSError(errno.EFBIG, "too many packet sockets")
        return text.decode()

    def close(self) -> None:
        """Let go of the list. Idempotent."""
        if self._listeners >= 0:
            os.close(self._listeners)
            self._listeners = -1

    def _has_programs(self, device: int) -> bool:
        try:
            self._programs[device] = bpf.attached(device, bpf.TCX_EGRESS) > 0
        except OSError as error:
            if error.errno == errno.EINVAL:  # before Linux 6.6, or the device is gone
                return False
        return self._programs.get(device, True)

    def _filtered(self, device: int) -> bool:
        try:
            return self._filters.look_at_egress(device)
        except OSError:
            return True
