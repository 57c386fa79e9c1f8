"""What is written of each class that a session is made of.

``tests/snapshot`` compares the tables with the classes, so that no attribute is forgotten.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import Any

from rtpproxy_tw.addresses import LocalAddress
from rtpproxy_tw.latch.candidates import MOST_CANDIDATES, Candidate, Candidates
from rtpproxy_tw.latch.contest import Contest
from rtpproxy_tw.latch.late import MOST as MOST_STRAGGLERS
from rtpproxy_tw.latch.late import Straggler, Stragglers
from rtpproxy_tw.latch.rank import Rank
from rtpproxy_tw.latch.trail import Trail
from rtpproxy_tw.quality.analyzer import Analyzer
from rtpproxy_tw.quality.bursts import Bursts
from rtpproxy_tw.quality.jitter import SOURCES_KEPT, TIMESTAMPS_KEPT, Jitter, SourceJitter
from rtpproxy_tw.quality.monitor import CHANGES_KEPT, Monitor
from rtpproxy_tw.quality.opinion import REPORTS_KEPT, Opinion
from rtpproxy_tw.quality.refusals import MOST_SOURCES, Refusals
from rtpproxy_tw.quality.timeline import LONGEST_TEXT, MOST_ENTRIES, Entry, Timeline
from rtpproxy_tw.rtp import Header
from rtpproxy_tw.session import NotifySocket
from rtpproxy_tw.snapshot.kinds import (
    ADDRESS,
    BITMAP,
    COUNT,
    FLAG,
    GREATEST,
    HOST,
    INTEGER,
    MOMENT,
    NUMBER,
    OCTETS,
    TEXT,
    TIME,
    Damaged,
    Kind,
    as_it_is,
    either,
    integer,
    listed,
    one_of,
    row,
    text,
)
from rtpproxy_tw.snapshot.shapes import Shape

SSRC = integer(0, 0xFFFFFFFF)
PAYLOAD_TYPE = integer(0, 127)
_PAYLOAD_TYPES = listed(PAYLOAD_TYPE, 256, tuple)


@lru_cache(maxsize=1024)
def _payload_types(values: tuple[Any, ...]) -> tuple[int, ...]:
    found: tuple[int, ...] = _PAYLOAD_TYPES.unpack(list(values), 0.0)
    return found


def _same_payload_types(value: Any, shift: float) -> tuple[int, ...]:
    # Most parties have the same, and each of them has them several times.
    try:
        if type(value) is list:
            return _payload_types(tuple(value))
    except TypeError:
        pass
    raise Damaged(f"{value!r:.80} is no list of payload types")


PAYLOAD_TYPES = Kind(None, _same_payload_types)
KEY = as_it_is(row(TEXT, TEXT))

_LOCAL = row(HOST, either(TEXT), either(TEXT))


@lru_cache(maxsize=1024)
def _local_address(values: tuple[Any, ...]) -> LocalAddress:
    return LocalAddress(*_LOCAL.unpack(list(values), 0.0))


def _same_local_address(value: Any, shift: float) -> LocalAddress:
    try:
        if type(value) is list:
            return _local_address(tuple(value))
    except TypeError:
        pass
    raise Damaged(f"{value!r:.80} is no address of ours")


LOCAL_ADDRESS = Kind(lambda local: [local.host, local.advertised, local.label], _same_local_address)

NOTIFY_SOCKET = row(
    TEXT, TEXT, integer(0, 65535), either(TEXT), into=lambda values: NotifySocket(*values)
)
NOTIFY = row(NOTIFY_SOCKET, OCTETS)

# Quality.

SOURCE_JITTER = Shape(
    SourceJitter,
    {
        "last": NUMBER,
        "peak": NUMBER,
        "total": NUMBER,
        "samples": COUNT,
        "_recent": listed(SSRC, TIMESTAMPS_KEPT, lambda found: deque(found, TIMESTAMPS_KEPT)),
        "_greatest": INTEGER,
        "_clock_rate": COUNT,
        "_ticks": INTEGER,
        "_timestamp": SSRC,
    },
    sparse=True,
)


def _unpack_source(record: Any, shift: float) -> SourceJitter:
    source: SourceJitter = SOURCE_JITTER.unpack(record, shift)
    source._ticks += int(shift * source._clock_rate)
    return source


SOURCES = listed(row(SSRC, Kind(SOURCE_JITTER.pack, _unpack_source)), SOURCES_KEPT, dict)

JITTER = Shape(
    Jitter,
    {
        "_sources": Kind(lambda found: SOURCES.pack and SOURCES.pack(found.items()), SOURCES[1]),
        "_peak": NUMBER,
        "_total": NUMBER,
        "_samples": COUNT,
    },
    sparse=True,
)

ANALYZER = Shape(
    Analyzer,
    {
        "received": COUNT,
        "duplicates": COUNT,
        "errors": COUNT,
        "ssrc": either(SSRC),
        "ssrc_changes": COUNT,
        "payload_type": either(PAYLOAD_TYPE),
        "reordered": COUNT,
        "runs": COUNT,
        "known_from": INTEGER,
        "stray": OCTETS,
        "stray_at": TIME,
        "_earlier": INTEGER,
        "_offset": INTEGER,
        "_lowest": INTEGER,
        "_highest": INTEGER,
        "_seen": BITMAP,
        "_unmarked": COUNT,
        "_jitter": JITTER.kind,
    },
    left_out=["_source", "strays"],
    sparse=True,
)


def _unpack_analyzer(record: Any, shift: float) -> Analyzer:
    analyzer: Analyzer = ANALYZER.unpack(record, shift)
    if analyzer.ssrc is not None:
        analyzer._source = analyzer._jitter.source(analyzer.ssrc)
    return analyzer


ANALYZER_KIND = Kind(ANALYZER.pack, _unpack_analyzer)


def amend_analyzer(analyzer: Analyzer, changed: Any, shift: float) -> None:
    """Make it what it is since ``changed``, which has some of its words. Raises Damaged."""
    ANALYZER.fill(analyzer, changed, shift)
    if analyzer.ssrc is not None:
        analyzer._source = analyzer._jitter.source(analyzer.ssrc)


BURSTS = Shape(
    Bursts,
    {
        "packets": COUNT,
        "lost": COUNT,
        "unjudged": COUNT,
        "runs": COUNT,
        "_since": INTEGER,
        "_span": COUNT,
        "_span_lost": COUNT,
        "_closed": COUNT,
        "_closed_packets": COUNT,
        "_closed_lost": COUNT,
        "_gaps": COUNT,
        "_gap_packets": INTEGER,
        "_run": COUNT,
        "_next": INTEGER,
    },
    sparse=True,
)

OPINION = Shape(
    Opinion,
    {
        "believed": COUNT,
        "doubted": COUNT,
        "round_trip": either(NUMBER),
        "lost": either(INTEGER),
        "jitter": COUNT,
        "said_goodbye": either(TIME),
        "_reports": listed(row(SSRC, TIME), REPORTS_KEPT, lambda found: deque(found, REPORTS_KEPT)),
    },
    left_out=["voip"],
    sparse=True,
)

MONITOR = Shape(
    Monitor,
    {
        "bursts": BURSTS.kind,
        "opinion": OPINION.kind,
        "mos_last": either(NUMBER),
        "mos_min": either(NUMBER),
        "mos_min_at": TIME,
        "mos_sum": NUMBER,
        "mos_count": COUNT,
        "quiet_since": TIME,
        "silent_since": TIME,
        "ssrc_changed": TIME,
        "flaps": listed(TIME, CHANGES_KEPT, lambda found: deque(found, CHANGES_KEPT)),
        "crossed": COUNT,
        "suffering": FLAG,
        "code": text(100),
        "code_since": TIME,
        "_interval": either(row(TIME, INTEGER, INTEGER, INTEGER, INTEGER)),
        "_sent": INTEGER,
        "_received": INTEGER,
        "_ssrc_changes": INTEGER,
        "_payload_type": either(PAYLOAD_TYPE),
        "_relatches": INTEGER,
        "_accepted": INTEGER,
        "_ignored": INTEGER,
        "_unreachable": INTEGER,
    },
    # An hour of it would be most of a record; its worst and its mean are written. What was seen
    # since the last look is seen anew.
    left_out=["history", "_looked", "_slow"],
    sparse=True,
)


def amend_monitor(monitor: Monitor, changed: Any, shift: float) -> None:
    """Make it what it is since ``changed``, which has some of its words. Raises Damaged."""
    if type(changed) is not dict:
        raise Damaged(f"{changed!r:.80} is no object")
    words = dict(changed)
    for word, shape, thing in (
        ("bursts", BURSTS, monitor.bursts),
        ("opinion", OPINION, monitor.opinion),
    ):
        if word in words:
            shape.fill(thing, words.pop(word), shift)
    MONITOR.fill(monitor, words, shift)


_SEEN = listed(row(ADDRESS, COUNT), MOST_SOURCES, dict)

REFUSALS = Shape(
    lambda: Refusals(("", 0)),
    {
        "source": ADDRESS,
        "at": TIME,
        "ssrc": either(SSRC),
        "count": COUNT,
        "sources": Kind(
            lambda found: [[list(source), count] for source, count in found.items()], _SEEN.unpack
        ),
    },
    sparse=True,
)

_ENTRY = row(MOMENT, text(32), text(LONGEST_TEXT), into=lambda values: Entry(*values))


def _entry(value: Any, shift: float) -> Entry:
    # What a session has most of.
    if type(value) is list and len(value) == 3:
        when, kind, told = value
        texts = type(kind) is str is type(told) and len(kind) <= 32 and len(told) <= LONGEST_TEXT
        if texts and not shift and type(when) is float and -GREATEST < when < GREATEST:
            return Entry(when, kind, told)
    found: Entry = _ENTRY.unpack(value, shift)
    return found


ENTRY = Kind(None, _entry)
_ENTRIES = listed(ENTRY, MOST_ENTRIES)
_LAST = either(
    listed(
        ENTRY,
        MOST_ENTRIES // 2,
        lambda found: deque(found, MOST_ENTRIES - MOST_ENTRIES // 2),
    )
)

TIMELINE = Shape(
    Timeline,
    {"_first": _ENTRIES, "_last": _LAST, "dropped": COUNT},
    left_out=["_limit"],
    sparse=True,
)

# Latches.

CANDIDATE = Shape(
    lambda: Candidate(("", 0), 0.0, 0.0),
    {
        "source": ADDRESS,
        "since": TIME,
        "heard": TIME,
        "run": COUNT,
        "spaced": COUNT,
        "first": TIME,
        "last": TIME,
        "ssrc": either(SSRC),
        "sequence": integer(0, 0xFFFF),
        "offered": FLAG,
    },
    sparse=True,
)

_NOTED = listed(CANDIDATE.kind, MOST_CANDIDATES, lambda found: {one.source: one for one in found})

CANDIDATES = Shape(
    Candidates,
    {"_noted": Kind(lambda noted: [CANDIDATE.pack(one) for one in noted.values()], _NOTED.unpack)},
    sparse=True,
)

CONTEST = Shape(
    lambda: Contest(None, None, None),
    {
        "candidates": CANDIDATES.kind,
        "decision": either(TIME),
        "_signalled": either(ADDRESS),
        "_former": either(ADDRESS),
        "_kin": either(HOST),
    },
    sparse=True,
)

TRAIL = Shape(
    lambda: Trail(Header(0, 0, 0, 0, False, 12, 12), 0.0),
    {
        "_ssrc": SSRC,
        "_sequence": integer(0, 0xFFFF),
        "_sampled": TIME,
        "_rate": NUMBER,
    },
    sparse=True,
)

_EVERY_LATCH: dict[str, Kind] = {
    "signalled": either(ADDRESS),
    "remote": either(ADDRESS),
    "source": either(ADDRESS),
    "settled": FLAG,
    "loopback": FLAG,
    "payload_types": PAYLOAD_TYPES,
    "relatches": COUNT,
    "last_heard": TIME,
}

STRAGGLER = row(ADDRESS, either(SSRC), into=lambda found: Straggler(*found))

STRAGGLERS = Shape(
    lambda: Stragglers((), 0.0),
    {"_all": listed(STRAGGLER, MOST_STRAGGLERS, tuple), "_until": TIME},
    sparse=True,
)

STRICT_LATCH = {
    **_EVERY_LATCH,
    "asymmetric": FLAG,
    "_rank": one_of(Rank),
    "_confirmed": FLAG,
    "_completed": FLAG,
    "_open_until": TIME,
    "_changed": TIME,
    "_was_asymmetric": FLAG,
    "_former": either(ADDRESS),
    "_kin": either(HOST),
    "_contest": either(CONTEST.kind),
    "_held": TIME,
    "_trail": either(TRAIL.kind),
    "_sample_at": TIME,
    "_rtp_source": either(ADDRESS),
    "_agreed": FLAG,
    "_rebinding": FLAG,
    "_waits": FLAG,
    "_late": either(STRAGGLERS.kind),
}

ORIGINAL_LATCH = {
    **_EVERY_LATCH,
    "_asymmetric": FLAG,
    "_latched": FLAG,
    "_learned": FLAG,
    "_before": either(ADDRESS),
    "_updated": TIME,
    "_ssrc": either(SSRC),
    "_sequence": integer(0, 0xFFFF),
    "_refreshed": TIME,
    "_current_ssrc": either(SSRC),
    "_current": OCTETS,
    "_look_at": TIME,
}
