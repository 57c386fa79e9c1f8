"""Metrics of the process and its limits, asked for at a scrape: ports, recordings, the kernel."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from rtpproxy_tw.capacity import Capacity, capacity
from rtpproxy_tw.reporting.exposition import Family, labelled, single

KERNEL_UDP = "/proc/net/snmp"

_FAMILIES = {2: "ipv4", 10: "ipv6"}


class Draining(Protocol):
    """The relay, as far as it can be told to take no new sessions."""

    @property
    def draining(self) -> bool:
        """Whether new sessions are refused."""


class Counts(Protocol):
    """What is known of recordings, since the start but for ``active``."""

    started: int
    finished: int
    failed: int
    packets_written: int
    packets_lost: int

    @property
    def active(self) -> int:
        """How many are being written now."""


class Gauges:
    """``pairs`` is how many pairs of ports there are for each address family.

    ``free_pairs`` tells how many of them are free, ``failures`` why commands had none, ``space``
    how many octets are free for recordings, None before there was any.
    """

    def __init__(
        self,
        *,
        max_sessions: int,
        pairs: int,
        free_pairs: Callable[[], Mapping[int, int]],
        failures: Mapping[str, int],
        recordings: Counts,
        space: Callable[[], int | None],
        relay: Draining,
    ) -> None:
        self._max_sessions = max_sessions
        self._pairs = pairs
        self._free_pairs = free_pairs
        self._failures = failures
        self._recordings = recordings
        self._space = space
        self._relay = relay

    def capacity(self) -> Capacity:
        """How many calls there can be."""
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return capacity(self._pairs, descriptors, self._max_sessions)

    def ports(self) -> list[tuple[str, int, int]]:
        """For each address family its port pairs and how many are free."""
        return [
            (_FAMILIES.get(family, str(family)), self._pairs, free)
            for family, free in self._free_pairs().items()
        ]

    def families(self) -> Iterator[Family]:
        """The metrics."""
        yield single(
            "relay_capacity_sessions", "gauge", "Calls there can be.", self.capacity().calls
        )
        yield from self._of_ports()
        yield from self._of_recordings()
        yield single(
            "relay_draining", "gauge", "1 while no new sessions are taken.", self._relay.draining
        )
        drops = kernel_drops()
        if drops is not None:
            yield single(
                "relay_kernel_udp_drops_total",
                "counter",
                "Datagrams that the kernel dropped for full receive buffers, of all sockets of"
                " this network namespace.",
                drops,
            )

    def _of_ports(self) -> Iterator[Family]:
        ports = self.ports()
        yield labelled(
            "relay_ports",
            "gauge",
            "Port pairs for media, for each address family.",
            [((("address_id", name),), pairs) for name, pairs, _ in ports],
        )
        yield labelled(
            "relay_ports_used",
            "gauge",
            "Port pairs that are taken, by sessions or by other programs.",
            [((("address_id", name),), pairs - free) for name, pairs, free in ports],
        )
        yield labelled(
            "relay_port_alloc_failures_total",
            "counter",
            "How often there were no ports to be had: the whole range in use, all tried ones taken"
            " by other programs, no descriptors left, or an address that cannot be bound.",
            [((("reason", reason),), count) for reason, count in self._failures.items()],
        )

    def _of_recordings(self) -> Iterator[Family]:
        counts = self._recordings
        yield single("relay_recordings", "gauge", "Recordings being written.", counts.active)
        yield single(
            "relay_recordings_started_total", "counter", "Recordings begun.", counts.started
        )
        yield labelled(
            "relay_recordings_closed_total",
            "counter",
            "Recordings that came to their end, or that the disk ended.",
            [
                ((("result", "finished"),), counts.finished),
                ((("result", "failed"),), counts.failed),
            ],
        )
        yield single(
            "relay_recording_packets_total", "counter", "Packets written.", counts.packets_written
        )
        yield single(
            "relay_recording_dropped_packets_total",
            "counter",
            "Packets that recordings lack because the disk did not take them.",
            counts.packets_lost,
        )
        space = self._space()
        if space is not None:
            yield single(
                "relay_recording_free_bytes",
                "gauge",
                "Free for recordings where the last one was begun.",
                space,
            )


class Timers:
    """``pending`` tells what is scheduled: one for each session, a handful for the relay."""

    def __init__(self, pending: Callable[[], Sequence[object]]) -> None:
        self._pending = pending

    def families(self) -> Iterator[Family]:
        """How many there are."""
        yield single(
            "relay_timers",
            "gauge",
            "Timers that wait; what grows here while the sessions do not is a leak.",
            len(self._pending()),
        )


def kernel_drops(path: str = KERNEL_UDP) -> int | None:
    """``RcvbufErrors`` of UDP; None where the kernel does not tell."""
    try:
        with open(path, encoding="ascii") as file:
            rows = [line.split() for line in file if line.startswith("Udp:")]
        return int(rows[1][rows[0].index("RcvbufErrors")])
    except (OSError, ValueError, LookupError):
        return None
