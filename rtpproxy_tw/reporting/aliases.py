"""Metrics under the names that rtpengine gives them, so that boards made for it show something.

Sums go with sums of squares and numbers of samples, as there: jitter and round trips in
milliseconds, loss in per cent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rtpproxy_tw.reporting.exposition import Family, Histogram, labelled, single
from rtpproxy_tw.reporting.metrics import Metrics
from rtpproxy_tw.statistics import Totals

Ports = Callable[[], list[tuple[str, int, int]]]
"""For each address family its name, how many port pairs there are, how many are free."""


class RtpengineNames:
    """Provides Gauges."""

    def __init__(self, metrics: Metrics, totals: Totals, ports: Ports) -> None:
        self._metrics = metrics
        self._totals = totals
        self._ports = ports

    def families(self) -> Iterator[Family]:
        """The metrics."""
        yield from self._sessions()
        yield from self._traffic()
        yield from self._numbers_of_ports()
        yield from self._quality()

    def _sessions(self) -> Iterator[Family]:
        totals, tally = self._totals, self._metrics.tally
        live = totals.nsess_created - totals.nsess_destroyed
        yield labelled("rtpengine_sessions", "gauge", "Sessions now.", [((("type", "own"),), live)])
        uptime = self._metrics.uptime
        yield single("rtpengine_uptime_seconds", "gauge", "Since the start.", uptime)
        for name, about, value in (
            ("sessions_total", "Sessions made.", totals.nsess_created),
            ("one_way_sessions_total", "Ended sessions with one silent party.", tally.one_way),
            ("zero_packet_streams_total", "Parties of ended sessions never heard.", tally.unheard),
            ("call_duration_total", "Seconds that ended sessions lasted.", tally.seconds),
        ):
            yield single(f"rtpengine_{name}", "counter", about, value)
        yield labelled(
            "rtpengine_closed_sessions_total",
            "counter",
            "Sessions ended, by the reason.",
            [
                ((("reason", "terminated"),), tally.closed["delete"]),
                ((("reason", "timeout"),), tally.closed["ttl"] + tally.closed["setup_ttl"]),
                ((("reason", "final_timeout"),), tally.closed["max_duration"]),
            ],
        )

    def _traffic(self) -> Iterator[Family]:
        traffic = self._metrics.census.traffic
        sent = [
            (path, amount)
            for passage in traffic.passed.values()
            for direction, path, amount in passage.parts()
            if direction == "out"
        ]
        paths = (("userspace", "user"), ("kernel", "kernel"))
        packets = [
            ((("type", name),), sum(amount.packets for path, amount in sent if path == ours))
            for name, ours in paths
        ]
        octets = [
            ((("type", name),), sum(amount.octets for path, amount in sent if path == ours))
            for name, ours in paths
        ]
        yield labelled("rtpengine_packets_total", "counter", "Packets passed on.", packets)
        yield labelled("rtpengine_bytes_total", "counter", "Octets passed on.", octets)
        errors = [((("type", "userspace"),), traffic.dropped)]
        yield labelled("rtpengine_errors_total", "counter", "Packets not passed on.", errors)

    def _numbers_of_ports(self) -> Iterator[Family]:
        rows = self._ports()
        for name, about, numbers in (
            ("ports", "Ports for media.", [2 * pairs for _, pairs, _ in rows]),
            ("ports_used", "Those taken.", [2 * (pairs - free) for _, pairs, free in rows]),
            ("ports_free", "Those free.", [2 * free for _, _, free in rows]),
        ):
            labels = [(("name", family),) for family, _, _ in rows]
            yield labelled(
                f"rtpengine_{name}", "gauge", about, list(zip(labels, numbers, strict=True))
            )

    def _quality(self) -> Iterator[Family]:
        kept = self._metrics.tally.quality
        yield from _sums("mos", [each.mos for each in kept], 1.0)
        yield from _sums("jitter", [each.jitter for each in kept], 1000.0)
        yield from _sums("packetloss", [each.loss for each in kept], 100.0)
        yield from _sums("rtt", [each.rtt for each in kept], 1000.0)


def _sums(name: str, found: Sequence[Histogram], unit: float) -> Iterator[Family]:
    """Sum, sum of squares and number, from which mean and deviation can be had."""
    for ending, about, value in (
        ("total", "Sum over ended calls.", sum(each.total for each in found) * unit),
        ("2_total", "Sum of the squares.", sum(each.squares for each in found) * unit * unit),
        ("samples_total", "Addends of it.", sum(each.count for each in found)),
    ):
        joint = "" if ending == "2_total" else "_"
        yield single(f"rtpengine_{name}{joint}{ending}", "counter", about, value)
