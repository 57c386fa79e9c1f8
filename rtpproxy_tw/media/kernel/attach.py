"""Putting the program on devices: as TCX links from Linux 6.6 on, as clsact filters before.

A TCX link goes with its descriptor, so a crashed process leaves nothing. A filter stays; it
carries the name of the process that put it there, so that the next one finds what is left over.
Either way the program comes after what others have put on the device, and lets those after it see
what it does not take.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from twisted.logger import Logger

from rtpproxy_tw.media.kernel import bpf_syscall as bpf
from rtpproxy_tw.media.kernel import netlink
from rtpproxy_tw.media.kernel import program as programs
from rtpproxy_tw.media.kernel import rtnetlink as rt

TCX = "tcx"
CLSACT = "clsact"
AUTO = "auto"

_NEW_QDISC = 36
_NEW_FILTER, _DEL_FILTER, _GET_FILTER = 44, 45, 46

_CONTROL = Struct("BxHiIII")
_CLSACT_PARENT = 0xFFFFFFF1
_CLSACT_HANDLE = 0xFFFF0000
INGRESS = 0xFFFFFFF2
EGRESS = 0xFFFFFFF3

_KIND, _OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS = 6, 7, 8
_DIRECT_ACTION = 1

PRIORITY = 0xC0F0
"""After those that administrators choose, and those the kernel chooses (below 0xC000)."""

_EVERYTHING = 0x0300
"""ETH_P_ALL in network order."""

OWNER = "rtpproxy-tw"

_instances = itertools.count()


def _born(pid: int) -> str:
    """When the process was started, empty where there is none: process numbers are used again."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def is_left_over(name: str) -> bool:
    """Whether a filter of that name is ours and its process is gone."""
    words = name.split()
    if len(words) != 4 or words[0] != OWNER or not words[1].isdigit():
        return False
    return _born(int(words[1])) != words[2]


class Filter(NamedTuple):
    """A clsact filter that runs a program."""

    handle: int
    info: int
    """Priority and protocol, as the kernel packs them."""
    name: str


class Filters:
    """The clsact filters of devices, by netlink."""

    def __init__(self, requests: rt.Requests) -> None:
        self._requests = requests

    def add(self, device: int, program: int, name: str, where: int = INGRESS) -> None:
        """Put a program behind all that is there. Raises OSError."""
        clsact = _CONTROL.pack(0, 0, device, _CLSACT_HANDLE, _CLSACT_PARENT, 0)
        clsact += netlink.attribute(_KIND, b"clsact\0")
        how = netlink.CREATE | netlink.EXCLUSIVE | netlink.ACKNOWLEDGE
        # Where somebody else has filters already, there is room for ours.
        with contextlib.suppress(FileExistsError):
            self._requests.ask(_NEW_QDISC, clsact, how)
        options = netlink.attribute(_BPF_FD, program.to_bytes(4, "little"))
        options += netlink.attribute(_BPF_NAME, name.encode() + b"\0")
        options += netlink.attribute(_BPF_FLAGS, _DIRECT_ACTION.to_bytes(4, "little"))
        info = PRIORITY << 16 | _EVERYTHING
        body = _CONTROL.pack(0, 0, device, 0, where, info)
        body += netlink.attribute(_KIND, b"bpf\0") + netlink.attribute(_OPTIONS, options)
        self._requests.ask(_NEW_FILTER, body, netlink.CREATE | netlink.ACKNOWLEDGE)

    def of(self, device: int) -> list[Filter]:
        """Those that run programs."""
        body = _CONTROL.pack(0, 0, device, 0, INGRESS, 0)
        try:
            answers = self._requests.ask(_GET_FILTER, body, netlink.DUMP)
        except OSError:
            return []  # no clsact on this device, or no such device any more
        found = []
        for answer in answers:
            _, _, _, handle, _, info = _CONTROL.unpack_from(answer.body)
            told = netlink.attributes(answer.body[_CONTROL.size :])
            options = netlink.attributes(told.get(_OPTIONS, b""))
            if handle and netlink.text(told, _KIND) == "bpf":
                found.append(Filter(handle, info, netlink.text(options, _BPF_NAME)))
        return found

    def look_at_egress(self, device: int) -> bool:
        """Whether there are any, of whatever kind, for what the device sends. Raises OSError."""
        body = _CONTROL.pack(0, 0, device, 0, EGRESS, 0)
        return bool(self._requests.ask(_GET_FILTER, body, netlink.DUMP))

    def remove(self, device: int, it: Filter) -> None:
        """Raises OSError."""
        body = _CONTROL.pack(0, 0, device, it.handle, INGRESS, it.info)
        body += netlink.attribute(_KIND, b"bpf\0")
        self._requests.ask(_DEL_FILTER, body, netlink.ACKNOWLEDGE)


class Attachments:
    """On which devices the programs are. ``method`` is what is used, once the first is on."""

    _log = Logger()

    def __init__(
        self,
        loaded: Mapping[str, int],
        requests: rt.Requests,
        method: str = AUTO,
        links: Mapping[int, int] | None = None,
    ) -> None:
        """``links`` are there already, by device."""
        self._programs = loaded
        self._filters = Filters(requests)
        self.method = method
        self._name = f"{OWNER} {os.getpid()} {_born(os.getpid())} {next(_instances)}"
        self._links: dict[int, int] = dict(links or {})
        self._filtered: set[int] = set()
        self._refused: set[int] = set()

    @property
    def links(self) -> dict[int, int]:
        """The descriptors that keep it on devices, by device."""
        return dict(self._links)

    @property
    def devices(self) -> set[int]:
        """Those the program is on."""
        return self._links.keys() | self._filtered

    def reap(self, devices: Iterable[int]) -> int:
        """Remove the filters of processes that are gone; how many there were."""
        reaped = 0
        for device in devices:
            for it in self._filters.of(device):
                if is_left_over(it.name):
                    self._remove(device, it)
                    reaped += 1
        return reaped

    def follow(self, links: Iterable[rt.Link]) -> None:
        """Be on all of these that can be used and no others. Raises nothing."""
        usable = {
            link.device: link for link in links if _PROGRAM_FOR.get(link.kind) in self._programs
        }
        for gone in self.devices - usable.keys():
            self._forget(gone)
        self._refused &= usable.keys()
        for index in usable.keys() - self.devices - self._refused:
            try:
                self.attach(usable[index])
            except OSError as error:
                self._refused.add(index)
                self._log.warn(
                    "not on device {name}, whose media goes through sockets: {error}",
                    name=usable[index].name,
                    error=error,
                )

    def attach(self, link: rt.Link) -> None:
        """Put the program on one device. Raises OSError."""
        program = self._programs[_PROGRAM_FOR[link.kind]]
        if self.method in (AUTO, TCX):
            try:
                self._links[link.device] = bpf.attach(program, link.device)
            except OSError as error:
                # A kernel without TCX does not know the kind of link.
                if self.method == TCX or error.errno != errno.EINVAL:
                    raise
            else:
                self.method = TCX
                return
        self._filters.add(link.device, program, self._name)
        self._filtered.add(link.device)
        self.method = CLSACT

    def _forget(self, device: int) -> None:
        descriptor = self._links.pop(device, None)
        if descriptor is not None:
            os.close(descriptor)
        self._filtered.discard(device)

    def _remove(self, device: int, it: Filter) -> None:
        try:
            self._filters.remove(device, it)
        except OSError as error:
            if error.errno not in netlink.NOTHING_THERE:
                self._log.warn(
                    "a filter stays on device {device}: {error}", device=device, error=error
                )

    def close(self) -> None:
        """Take the program off everything. Idempotent."""
        for descriptor in self._links.values():
            os.close(descriptor)
        self._links.clear()
        for device in self._filtered:
            for it in self._filters.of(device):
                if it.name == self._name:
                    self._remove(device, it)
        self._filtered.clear()


_PROGRAM_FOR = {
    rt.ETHERNET: programs.ETHERNET,
    rt.LOOPBACK: programs.ETHERNET,
    rt.BARE: programs.BARE,
}
"""Kinds of device it can be on."""
