"""What was counted and told of calls, in another process: metrics, and who watches calls live."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from twisted.logger import Logger

from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.continuity.channel import MOST_DESCRIPTORS
from rtpproxy_tw.reporting.exposition import Histogram
from rtpproxy_tw.reporting.metrics import Metrics
from rtpproxy_tw.reporting.tally import Passage, Quality, Tally, Traffic
from rtpproxy_tw.session import Component
from rtpproxy_tw.snapshot.kinds import (
    COUNT,
    FLAG,
    INTEGER,
    NUMBER,
    OCTETS,
    Damaged,
    listed,
    row,
    text,
)
from rtpproxy_tw.snapshot.shapes import Shape
from rtpproxy_tw.web.feed import GONE_KEPT, NEWS_KEPT, Feed, Kept, Known, Said
from rtpproxy_tw.web.requests import BoundedSite

WORD = text(64)

HISTOGRAM = Shape(
    lambda: None,
    {"counts": listed(COUNT, 64), "total": NUMBER, "squares": NUMBER},
    left_out=["bounds"],
)

PASSAGE = Shape(
    Passage,
    {
        "accepted": COUNT,
        "octets": COUNT,
        "sent": INTEGER,
        "octets_sent": INTEGER,
        "carried": COUNT,
        "octets_carried": COUNT,
    },
)

TRAFFIC = Shape(
    Traffic,
    {
        "ignored": COUNT,
        "dropped": INTEGER,
        "nowhere": INTEGER,
        "relatches": COUNT,
        "refused": COUNT,
    },
    left_out=["passed"],
)

TALLY = Shape(
    Tally,
    {"seconds": NUMBER, "one_way": COUNT, "unheard": COUNT},
    left_out=["traffic", "closed", "verdicts", "quality"],
)

COUNTED = listed(row(WORD, COUNT), 1000)
RESULTS = listed(row(WORD, WORD, COUNT), 10_000)


class MetricsWhole:
    """All that is counted for metrics, so that no counter falls.

    Before, ``catch_up`` has those sessions counted that have just ended.
    """

    name = "metrics"

    def __init__(self, metrics: Metrics, catch_up: Callable[[], object]) -> None:
        self._metrics = metrics
        self._catch_up = catch_up

    def pack(self, luggage: Luggage) -> Any:
        """See Whole."""
        self._catch_up()
        metrics, tally = self._metrics, self._metrics.tally
        executor = metrics.executor
        return {
            **TALLY.pack(tally),
            "traffic": TRAFFIC.pack(tally.traffic),
            "passed": [PASSAGE.pack(tally.traffic.passed[each]) for each in Component],
            "closed": [list(found) for found in tally.closed.items()],
            "verdicts": [list(found) for found in tally.verdicts.items()],
            "histograms": {
                name: HISTOGRAM.pack(found) for name, found in _histograms(metrics).items()
            },
            "results": [[*words, n] for words, n in executor.results.items()] if executor else [],
        }

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""
        metrics, tally = self._metrics, self._metrics.tally
        TALLY.fill(tally, value, shift)
        TRAFFIC.fill(tally.traffic, value.get("traffic", {}), shift)
        passed = value.get("passed", [])
        for component, record in zip(
            Component, passed if type(passed) is list else (), strict=False
        ):
            PASSAGE.fill(tally.traffic.passed[component], record, shift)
        _count(tally.closed, COUNTED.unpack(value.get("closed", []), shift))
        _count(tally.verdicts, COUNTED.unpack(value.get("verdicts", []), shift))
        if metrics.executor is not None:
            for command, result, number in RESULTS.unpack(value.get("results", []), shift):
                metrics.executor.results[command, result] = number
        histograms = value.get("histograms", {})
        for name, histogram in _histograms(metrics).items():
            if type(histograms) is dict and name in histograms:
                _fill(histogram, histograms[name], shift)


def _count(counter: Counter[str], found: list[tuple[str, int]]) -> None:
    # Words that another version knows are no labels here.
    counter.update({word: number for word, number in found if word in counter})


def _fill(histogram: Histogram, record: Any, shift: float) -> None:
    found = HISTOGRAM.fill(Histogram(histogram.bounds), record, shift)
    # Another version may have had other bounds; there is nothing to be made of that.
    if len(found.counts) == len(histogram.counts):
        HISTOGRAM.fill(histogram, record, shift)


def _histograms(metrics: Metrics) -> dict[str, Histogram]:
    found = {"lag": metrics.lag.seconds}
    if metrics.executor is not None:
        found["control"] = metrics.executor.seconds
    for leg, quality in zip("ab", metrics.tally.quality, strict=True):
        for name in Quality.__dataclass_fields__:
            found[f"{name} {leg}"] = getattr(quality, name)
    return found


SIGNS = listed(row(text(), row(WORD, text(100), text(100), FLAG, FLAG, FLAG)), 65_536, tuple)
RUN = text(32)


def _known(found: list[Any]) -> tuple[str, Known]:
    call_id, told, signs, at, sequence = found
    return call_id, Known(told.encode(), signs, at, sequence)


CALLS = listed(row(text(), text(1 << 20), SIGNS, NUMBER, COUNT, into=_known), 1 << 20)
SAID = row(COUNT, text(1 << 16), into=lambda found: Said(found[0], found[1].encode()))
GONE = listed(SAID, GONE_KEPT)
NEWS = listed(SAID, NEWS_KEPT)


class FeedWhole:
    """What listeners were told, so that who comes again is told just what is new."""

    name = "feed"

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def pack(self, luggage: Luggage) -> Any:
        """See Whole; None where nobody has ever listened."""
        kept = self._feed.kept()
        if not kept.sequence:
            return None
        return {
            "run": kept.run,
            "sequence": kept.sequence,
            "forgotten": kept.forgotten,
            "known": [
                [call_id, known.told.decode(), _signs(known), known.at, known.sequence]
                for call_id, known in kept.known
            ],
            "gone": [[said.sequence, said.octets.decode()] for said in kept.gone],
            "news": [[said.sequence, said.octets.decode()] for said in kept.news],
        }

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""
        if type(value) is not dict:
            raise Damaged("no object")
        self._feed.go_on(
            Kept(
                RUN.unpack(value.get("run"), shift),
                COUNT.unpack(value.get("sequence"), shift),
                COUNT.unpack(value.get("forgotten"), shift),
                CALLS.unpack(value.get("known"), shift),
                GONE.unpack(value.get("gone"), shift),
                NEWS.unpack(value.get("news"), shift),
            )
        )


def _signs(known: Known) -> list[Any]:
    return [[tag, list(sign)] for tag, sign in known.signs]


class Clients:
    """HTTP connections to whom nothing is being answered."""

    _log = Logger()
    name = "http"

    def __init__(self, sites: Mapping[str, BoundedSite], reactor: Any) -> None:
        self._sites = sites
        self._reactor = reactor

    def pack(self, luggage: Luggage) -> Any:
        """See Whole. So many as descriptors go into a message; others have to come again."""
        found = [(name, each) for name, site in self._sites.items() for each in site.clients()]
        return [
            [name, luggage.add(each.descriptor), *map(OCTETS.pack or bytes, each[1:])]
            for name, each in found[:MOST_DESCRIPTORS]
        ]

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""
        for name, number, unsent, unread in CLIENTS.unpack(value, shift):
            site = self._sites.get(name)
            if site is not None:
                self._adopt(luggage.take(number), site, unsent, unread)

    def _adopt(self, descriptor: int, site: BoundedSite, unsent: bytes, unread: bytes) -> None:
        try:
            with socket.socket(fileno=descriptor) as passed:
                if passed.type != socket.SOCK_STREAM:
                    raise Damaged("a connection that is none")
                passed.setblocking(False)
                made = self._reactor.adoptStreamConnection(descriptor, passed.family, site)
        except OSError as error:
            # Its client has gone meanwhile.
            self._log.info("an HTTP connection is not gone on with: {error}", error=error)
            return
        if made is not None and unsent:
            made.write(unsent)
        if made is not None and unread:
            self._reactor.callLater(0, made.protocol.dataReceived, unread)


CLIENTS = listed(row(text(4096), COUNT, OCTETS, OCTETS), MOST_DESCRIPTORS)
"""Name of the endpoint, number of the descriptor, octets unsent and unread."""
