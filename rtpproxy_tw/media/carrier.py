"""Choosing the fast path at start, and its life as a service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.interfaces import IFastPath
from rtpproxy_tw.media.arrival import Arrival
from rtpproxy_tw.media.fastpath import NullFastPath, Offloader
from rtpproxy_tw.media.kernel.left import Left
from rtpproxy_tw.media.kernel.path import KernelPath, LastingPath, Unavailable
from rtpproxy_tw.media.processes.path import Port, ProcessPath
from rtpproxy_tw.statistics import Totals

_log = Logger()

FEWEST = 64
"""Flows there is room for at least."""


class Carrier(Service):
    """The fast path of a relay: ``path`` is what the relay asks, stopped with the service.

    ``arrival`` tells when packets came that taps hear.
    """

    def __init__(self, path: IFastPath, arrival: Arrival, kernel: KernelPath | None = None) -> None:
        self.path = path
        self.arrival = arrival
        self._kernel = kernel

    def serve(self, port_at: Callable[[Address], Port | None]) -> None:
        """``port_at`` finds the ports of the plane, which processes are to read."""
        if isinstance(self._kernel, ProcessPath):
            self._kernel.port_at = port_at

    def confine(self) -> None:
        """Let this thread give up, for good, what only loading has needed. Never raises."""
        if self._kernel is not None:
            self._kernel.confine()

    def shape(self) -> Mapping[str, object]:
        """What must be the same where another process is to go on with what is in the kernel."""
        return self._kernel.shape() if isinstance(self._kernel, LastingPath) else {}

    def descriptors(self) -> Mapping[str, int]:
        """Those that such a process needs, by name."""
        return self._kernel.descriptors() if isinstance(self._kernel, LastingPath) else {}

    def settle(self) -> None:
        """Nothing that a process before us let be carried, and nobody has taken back, still is."""
        if isinstance(self._kernel, LastingPath):
            self._kernel.take_back_all()

    def stopService(self) -> None:
        """Carry nothing any more and leave nothing in the kernel."""
        super().stopService()
        if self._kernel is not None:
            self._kernel.stop()


def choose(
    mode: str,
    reactor: Any,
    totals: Totals,
    tos: int,
    flows: int,
    make: Callable[[int], KernelPath] | None = None,
    left: Left | None = None,
    processes: int = 0,
    connecting: bool = False,
) -> Carrier:
    """The fast path that ``mode`` (``auto``, ``ebpf`` or ``none``) stands for on this host.

    Where the kernel does not carry, ``processes`` media processes do, unless that is 0;
    ``connecting``: these may connect ports.

    Loading needs privileges that are given up later, so it is done here, at once. ``flows`` is how
    many there can be; ``make`` gives the path to try, with room for so many. ``left`` is what a
    process before us has in the kernel. Raises ConfigError where ``ebpf`` is demanded and cannot be
    had.
    """
    arrival = Arrival(reactor.seconds)

    def beside() -> Carrier:
        if not processes:
            return Carrier(NullFastPath(), arrival)
        path = ProcessPath(
            reactor, count=processes, capacity=max(FEWEST, flows), connecting=connecting
        )
        path.start()
        _log.info("settled streams go through {count} media processes", count=processes)
        offloader = Offloader(
            path=path,
            now=reactor.seconds,
            totals=totals,
            tos=tos,
            arrival=arrival,
            carrier="a media process",
            copying=False,
            freshen=path.freshen,
        )
        return Carrier(offloader, arrival, path)

    if mode == "none":
        return beside()
    kernel = (make or partial(_ebpf, reactor, left))(max(FEWEST, flows))
    try:
        kernel.start()
    except Unavailable as error:
        if mode == "ebpf":
            raise ConfigError(f"--fast-path ebpf: {error.reason} {error.remedy}") from error
        _log.info(
            "settled streams do not go through the kernel: {reason} {remedy}",
            reason=error.reason,
            remedy=error.remedy,
        )
        return beside()
    _log.info("settled streams go through the kernel (--fast-path none turns that off)")
    offloader = Offloader(path=kernel, now=reactor.seconds, totals=totals, tos=tos, arrival=arrival)
    return Carrier(offloader, arrival, kernel)


def _ebpf(reactor: Any, left: Left | None, flows: int) -> KernelPath:
    # Imported only where it is wanted: ctypes and netlink cost start-up time and memory.
    from rtpproxy_tw.media.kernel.ebpf import EbpfPath

    return EbpfPath(reactor, capacity=flows, left=left)
