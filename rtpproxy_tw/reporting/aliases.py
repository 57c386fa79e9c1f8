"""Metrics under the names that rtpengine gives them, so that boards made for it show something.

Sums go with numbers of samples, as there: jitter and round trips in
milliseconds, loss in per cent.
"""

from __future__ import annotations

from collections.abc import Iterator

from rtpproxy_tw.reporting.exposition import Family, labelled, single
from rtpproxy_tw.reporting.metrics import Metrics
from rtpproxy_tw.statistics import Totals


class RtpengineNames:
    """Provides Gauges."""

    def __init__(self, metrics: Metrics, totals: Totals) -> None:
        self._metrics = metrics
        self._totals = totals

    def families(self) -> Iterator[Family]:
        """The metrics."""
        totals, tally = self._totals, self._metrics.tally
        live = totals.nsess_created - totals.nsess_destroyed
        yield labelled("rtpengine_sessions", "gauge", "Sessions now.", [((("type", "own"),), live)])
        for name, about, value in (
            ("sessions_total", "Sessions made.", totals.nsess_created),
            ("one_way_sessions_total", "Ended sessions with one silent party.", tally.one_way),
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
        packets = [
            ((("type", "userspace"),), totals.npkts_relayed),
        ]
        yield labelled("rtpengine_packets_total", "counter", "Packets passed on.", packets)
        kept = tally.quality
        for name, unit, found in (
            ("mos", 1.0, [each.mos for each in kept]),
            ("jitter", 1000.0, [each.jitter for each in kept]),
            ("packetloss", 100.0, [each.loss for each in kept]),
            ("rtt", 1000.0, [each.rtt for each in kept]),
        ):
            total = sum(each.total for each in found) * unit
            count = sum(each.count for each in found)
            yield single(f"rtpengine_{name}_total", "counter", "Sum over ended calls.", total)
            yield single(f"rtpengine_{name}_samples_total", "counter", "Addends of it.", count)
