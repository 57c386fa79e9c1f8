"""Whether the fast path works on this machine, proved with packets on loopback.

It does what the relay does: loads, attaches to every device, adds flows. Then datagrams are sent
from one socket to another past the two that stand for the relay's, for each IP version. When it
returns, nothing is left behind.
"""

from __future__ import annotations

import mmap
import platform
import select
import socket
import struct
import sys
from dataclasses import dataclass

from twisted.internet.task import Clock

from rtpproxy_tw.addresses import Address, family_of
from rtpproxy_tw.media.kernel.ebpf import EbpfPath
from rtpproxy_tw.media.kernel.path import Flow, Unavailable

DATAGRAMS = 50
"""Sent each way of asking."""

PATIENCE = 1.0
"""Seconds that one datagram may take."""

_LOOPBACKS = {"IPv4": "127.0.0.1", "IPv6": "::1"}

_TOS = 0xB8


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out. ``sentence`` tells the operator; ``details`` are lines to go with it."""

    works: bool
    sentence: str
    remedy: str = ""
    """What would help, where it does not work."""
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        """All of it, as lines."""
        first = f"{self.sentence} {self.remedy}".strip()
        return "\n".join((first, *(f"  {line}" for line in self.details)))


class _Failed(Exception):
    """A proof came to nothing; the text says how."""


class _StillReactor(Clock):
    """A reactor for so short a time that nothing needs to happen by itself."""

    def addReader(self, reader: object) -> None:
        """Whatever it would read, is not wanted."""

    def removeReader(self, reader: object) -> None:
        """See addReader."""


def check() -> Verdict:
    """Try it. Takes some milliseconds; raises nothing that a machine can be the cause of."""
    path = EbpfPath(_StillReactor(), capacity=16, ring_octets=16 * mmap.PAGESIZE)
    try:
        path.start()
    except Unavailable as error:
        return Verdict(False, f"The fast path does not work here. {error.reason}", error.remedy)
    details = [
        f"Linux {platform.release()}, attached by {path.method}",
        f"devices: {', '.join(sorted(path.devices))}",
    ]
    proved = False
    try:
        for name, host in _LOOPBACKS.items():
            try:
                _prove(path, host)
            except OSError as error:
                details.append(f"{name}: not tried, there is no loopback ({error.strerror})")
            else:
                proved = True
                details.append(
                    f"{name}: {DATAGRAMS} datagrams relayed by the kernel, a stranger's left out"
                )
    except _Failed as error:
        return Verdict(
            False,
            f"The eBPF program is attached but does not relay on loopback: {error}.",
            "Another eBPF program or a filter on lo may stand before it.",
            tuple(details),
        )
    finally:
        path.stop()
    if not proved:
        return Verdict(
            False,
            "The eBPF program is attached, but nothing could be sent through it.",
            "Bring the device lo up.",
            tuple(details),
        )
    return Verdict(True, "The fast path works here.", details=tuple(details))


def _prove(path: EbpfPath, host: str) -> None:
    """Relay on ``host``. Raises _Failed, or OSError where there is no such loopback."""
    sockets: list[socket.socket] = []
    try:
        for _ in range(5):
            sockets.append(socket.socket(family_of(host), socket.SOCK_DGRAM))
            sockets[-1].bind((host, 0))
        _relay(path, *sockets)
    finally:
        for it in sockets:
            it.close()


def _relay(
    path: EbpfPath,
    caller: socket.socket,
    towards: socket.socket,
    out: socket.socket,
    callee: socket.socket,
    stranger: socket.socket,
) -> None:
    flow = Flow(_name(towards), _name(caller), _name(out), _name(callee), _TOS)
    id = path.add(flow)
    if id is None:
        raise _Failed(f"the flow is refused ({', '.join(path.refusals)})")
    try:
        for number in range(DATAGRAMS):
            datagram = struct.pack("!BBHII20x", 0x80, 0, number, number * 160, 1)
            caller.sendto(datagram, flow.local)
            if _hear(callee, towards) != (datagram, flow.out):
                raise _Failed(f"datagram {number} did not arrive as it should")
        stranger.sendto(b"stranger", flow.local)
        if _hear(towards, callee) != (b"stranger", _name(stranger)):
            raise _Failed("a stranger's datagram did not come to the socket")
    finally:
        sample = path.remove(id)
    if (sample.packets, sample.rtp.received, sample.foreign) != (DATAGRAMS, DATAGRAMS, 1):
        raise _Failed(f"{sample.packets} datagrams of {DATAGRAMS} are counted")


def _name(sock: socket.socket) -> Address:
    host, port = sock.getsockname()[:2]
    return host, port


def _hear(wanted: socket.socket, other: socket.socket) -> tuple[bytes, Address] | None:
    """What arrives at ``wanted``; None where nothing does, or at the other one."""
    ready, _, _ = select.select([wanted, other], [], [], PATIENCE)
    if ready != [wanted]:
        return None
    datagram, source = wanted.recvfrom(2048)
    return datagram, source[:2]


def main() -> int:
    """``python -m rtpproxy_tw.media.kernel.check``: prints the verdict; 0 where it works."""
    verdict = check()
    print(verdict)
    return 0 if verdict.works else 1


if __name__ == "__main__":
    sys.exit(main())
