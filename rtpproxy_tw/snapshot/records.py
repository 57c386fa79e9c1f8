"""A session as a record, a line of JSON, and back.

What the relay knows of a session is in its record, but for what belongs to the process: sockets,
timers, files. Those who own such things add their own *parts* to the record. Times in a record are
monotonic seconds of the clock it was written by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from rtpproxy_tw.latch import Latch, RtpproxyLatch, StrictLatch
from rtpproxy_tw.session import (
    Component,
    Leg,
    Session,
    SessionKey,
    Side,
    Stream,
    new_session,
)
from rtpproxy_tw.snapshot.kinds import (
    COUNT,
    FLAG,
    INTEGER,
    NUMBER,
    OCTETS,
    TEXT,
    TIME,
    Damaged,
    either,
    integer,
    listed,
    one_of,
    row,
)
from rtpproxy_tw.snapshot.shapes import Shape
from rtpproxy_tw.snapshot.tables import (
    ANALYZER,
    ANALYZER_KIND,
    BURSTS,
    KEY,
    LOCAL_ADDRESS,
    MONITOR,
    NOTIFY,
    OPINION,
    ORIGINAL_LATCH,
    PAYLOAD_TYPES,
    REFUSALS,
    STRICT_LATCH,
    TIMELINE,
    amend_analyzer,
    amend_monitor,
)

VERSION = 1
"""Of the records written. Raised when a reader of the version before would misunderstand one."""

READABLE = frozenset({VERSION})
"""The versions that are understood: the present one and the one before."""

LONGEST = 1 << 20
"""Octets of a record; more is no session."""

MOST_FEEDS = 64
"""Streams that one stream feeds."""


def _any_latch(component: int) -> Latch:
    return StrictLatch(component)


def _new() -> Session:
    """What every record is read into, and what it leaves out as it is there."""
    return new_session(SessionKey("", ""), 0.0, 0.0, _any_latch)


STREAM = Shape(
    lambda: _new().caller.rtp,
    {
        "analyzer": either(ANALYZER_KIND),
        "accepted": COUNT,
        "relayed": COUNT,
        "dropped": COUNT,
        "nowhere": COUNT,
        "ignored": COUNT,
        "octets": COUNT,
        "first_heard": TIME,
        "last_heard": TIME,
        "longest_gap": NUMBER,
        "early": COUNT,
        "latest": OCTETS,
        "refusals": either(REFUSALS.kind),
        "unreachable": COUNT,
        "unreachable_at": TIME,
        "looped": FLAG,
        "withheld": INTEGER,
        "carried": COUNT,
        "carried_octets": COUNT,
        "added": COUNT,
        "added_octets": COUNT,
    },
    # The latch and the feeds are written by other means, the rest is the process's.
    left_out=(
        *("leg", "component", "latch", "sender", "taps", "stranger", "feeds", "processor"),
        *("offloaded", "offload_after", "letters", "ours"),
    ),
    sparse=True,
)

LEG = Shape(
    lambda: _new().caller,
    {
        "local": either(LOCAL_ADDRESS),
        "port": integer(0, 65534),
        "former_port": integer(0, 65534),
        "tos": either(integer(0, 255)),
        "weak": FLAG,
        "held": FLAG,
        "holds": COUNT,
        "codecs": PAYLOAD_TYPES,
        "packet_ms": integer(0, 10_000),
        "ttl": NUMBER,
        "last_active": TIME,
        "monitor": either(MONITOR.kind),
    },
    left_out=["session", "side", "rtp", "rtcp", "recording", "verdict"],
    sparse=True,
)

SESSION = Shape(
    _new,
    {
        "key": KEY,
        "created": TIME,
        "strong": FLAG,
        "complete": FLAG,
        "completed_at": TIME,
        "touched": TIME,
        "ttl_set": FLAG,
        "notify": either(NOTIFY),
        "to_tag": either(TEXT),
        "timeline": TIMELINE.kind,
    },
    left_out=["caller", "callee", "outlet_of", "ended"],
    sparse=True,
    always=["key"],
)

LATCHES: dict[str, tuple[Callable[[int], Latch], Shape]] = {
    "strict": (
        StrictLatch,
        # That of RTCP begins with another point in time.
        Shape(lambda: StrictLatch(1), STRICT_LATCH, ["_rtp"], sparse=True, always=["_sample_at"]),
    ),
    "rtpproxy": (
        RtpproxyLatch,
        Shape(lambda: RtpproxyLatch(1), ORIGINAL_LATCH, ["_rtp", "asymmetric"], sparse=True),
    ),
}
"""By policy: how latches are made, and written."""

FEED = row(KEY, one_of(Side), one_of(Component))
"""Which stream of which session."""

FEEDS = listed(FEED, MOST_FEEDS, tuple)


class Link:
    """What a record says of other sessions, to be made true when they are all there."""

    def __init__(self, session: Session, outlet_of: SessionKey | None) -> None:
        self._session = session
        self._outlet_of = outlet_of
        self._feeds: list[tuple[Stream, Any]] = []

    def feeds(self, stream: Stream, wanted: Any) -> None:
        """``stream`` is to feed those."""
        self._feeds.append((stream, wanted))

    def make(self, find: Callable[[SessionKey], Session | None]) -> None:
        """Link; what is not there is left out."""
        if self._outlet_of is not None:
            self._session.outlet_of = find(self._outlet_of)
        for stream, wanted in self._feeds:
            for key, side, component in wanted:
                other = find(SessionKey(*key))
                if other is not None:
                    leg = other.caller if side is Side.CALLER else other.callee
                    stream.feeds += (leg.streams[component - 1],)


def pack(session: Session, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The record of ``session``; ``parts`` is what others have to say, by name."""
    record = SESSION.pack(session)
    record["v"] = VERSION
    outlet_of = session.outlet_of
    if outlet_of is not None:
        record["outlet_of"] = list(outlet_of.key)
    for leg in session.legs:
        record[leg.side.value] = _pack_leg(leg)
    if parts:
        record["parts"] = dict(parts)
    return record


def _pack_leg(leg: Leg) -> dict[str, Any]:
    record = LEG.pack(leg)
    record["rtp"] = _pack_stream(leg.rtp)
    record["rtcp"] = _pack_stream(leg.rtcp)
    return record


def _pack_stream(stream: Stream) -> dict[str, Any]:
    record = STREAM.pack(stream)
    latch = stream.latch
    policy = _policy(latch)
    if policy != "strict":
        record["policy"] = policy
    record["latch"] = LATCHES[policy][1].pack(latch)
    if stream.feeds:
        record["feeds"] = [
            [list(feed.leg.session.key), feed.leg.side.value, feed.component.value]
            for feed in stream.feeds
        ]
    return record


def unpack(record: Any, shift: float = 0.0) -> tuple[Session, Link]:
    """The session of ``record``, without sockets, and its links. Raises Damaged.

    ``shift`` is what our clock is ahead of the one the record was written by.
    """
    version = record.get("v") if type(record) is dict else None
    if type(version) is not int or version not in READABLE:
        raise Damaged("not a record of a session, or one of a version not known here")
    key = SessionKey(*KEY.unpack(record.get("key"), shift))
    outlet_of = record.get("outlet_of")
    session = _new()
    SESSION.fill(session, record, shift)
    session.key = key
    other = None if outlet_of is None else SessionKey(*KEY.unpack(outlet_of, shift))
    link = Link(session, other)
    for leg in session.legs:
        try:
            _fill_leg(leg, record.get(leg.side.value), shift, link)
        except Damaged as damage:
            raise Damaged(f"{leg.side.value}: {damage}") from None
    return session, link


def _fill_leg(leg: Leg, record: Any, shift: float, link: Link) -> None:
    LEG.fill(leg, record, shift)
    if leg.port and leg.local is None:
        raise Damaged("a port without an address")
    for stream, word in ((leg.rtp, "rtp"), (leg.rtcp, "rtcp")):
        try:
            _fill_stream(stream, record.get(word), shift, link)
        except Damaged as damage:
            raise Damaged(f"{word}: {damage}") from None


def _fill_stream(stream: Stream, record: Any, shift: float, link: Link) -> None:
    STREAM.fill(stream, record, shift)
    policy = record.get("policy", "strict")
    if policy not in ("strict", "rtpproxy"):
        raise Damaged(f"{policy!r:.80} is no latching policy")
    make, shape = LATCHES[policy]
    if policy != "strict":  # which is what a new one has
        stream.latch = make(stream.component)
    shape.fill(stream.latch, record.get("latch"), shift)
    if "feeds" in record:
        link.feeds(stream, FEEDS.unpack(record["feeds"], shift))


_NESTED: dict[str, Shape] = {
    "caller": LEG,
    "callee": LEG,
    "rtp": STREAM,
    "rtcp": STREAM,
    "analyzer": ANALYZER,
    "monitor": MONITOR,
    "bursts": BURSTS,
    "opinion": OPINION,
}
"""Words of records within a record, and of ``latch``, of which only what has changed is told. Where
one of them was not there before, it is told as a whole."""

_LASTING = ("v", "key", "outlet_of", "local", "port", "feeds", "policy")
"""Words whose values are not changed in a session that is there already."""


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any] | None:
    """What has changed from one record of a session to a later one, for :func:`amend`.

    None where it cannot be told so, and the session has to be made anew from its record.
    """
    return {} if before == after else _changes(before, after, SESSION)


def _changes(
    before: Mapping[str, Any], after: Mapping[str, Any], shape: Shape
) -> dict[str, Any] | None:
    found = {}
    for word, value in after.items():
        was = before.get(word)
        if was == value and word in before:
            continue
        if word in _LASTING:
            return None
        if was is not None and (word in _NESTED or word == "latch"):
            value = _changes(
                was, value, _NESTED.get(word) or LATCHES[after.get("policy", "strict")][1]
            )
            if value is None:
                return None
        found[word] = value
    if before.keys() <= after.keys():
        return found
    for word in before.keys() - after.keys():
        # It is again as in a new session.
        if word in _LASTING:
            return None
        found[word] = shape.usual(word)
    return found


def amend(session: Session, changed: Any, shift: float = 0.0) -> None:
    """Make ``session`` what it is since ``changed`` (see :func:`changes`). Raises Damaged."""
    if type(changed) is not dict or any(word in changed for word in _LASTING):
        raise Damaged("no changes")
    SESSION.fill(session, changed, shift)
    for leg in session.legs:
        if leg.side.value in changed:
            _amend_leg(leg, changed[leg.side.value], shift)


def _amend_leg(leg: Leg, changed: Any, shift: float) -> None:
    if type(changed) is not dict or any(word in changed for word in _LASTING):
        raise Damaged(f"{leg.side.value}: no changes")
    rest = _within(changed, "monitor", leg.monitor, amend_monitor, shift)
    LEG.fill(leg, rest, shift)
    for stream, word in ((leg.rtp, "rtp"), (leg.rtcp, "rtcp")):
        if word in changed:
            _amend_stream(stream, changed[word], shift)


def _amend_stream(stream: Stream, changed: Any, shift: float) -> None:
    rest = _within(changed, "analyzer", stream.analyzer, amend_analyzer, shift)
    STREAM.fill(stream, rest, shift)
    if "latch" in rest:
        LATCHES[_policy(stream.latch)][1].fill(stream.latch, rest["latch"], shift)


def _within(
    changed: Any, word: str, thing: Any, amend: Callable[[Any, Any, float], None], shift: float
) -> Any:
    """Change what is there already; all the rest of what has changed."""
    if thing is None or type(changed) is not dict or changed.get(word) is None:
        return changed
    amend(thing, changed[word], shift)
    return {each: value for each, value in changed.items() if each != word}


def _policy(latch: Latch) -> str:
    return "strict" if isinstance(latch, StrictLatch) else "rtpproxy"


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def to_line(record: Mapping[str, Any]) -> bytes:
    """A line of JSON, of ASCII, with its end."""
    return _encode(record).encode("ascii") + b"\n"


def from_line(line: bytes, longest: int = LONGEST) -> Any:
    """What :func:`to_line` was given, of at most ``longest`` octets. Raises Damaged."""
    if len(line) > longest:
        raise Damaged(f"a record of {len(line)} octets")
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"not JSON: {error}"[:200]) from None


def parts_of(record: Any) -> Mapping[str, Any]:
    """What others had to say. Raises Damaged."""
    parts = record.get("parts", {})
    if type(parts) is not dict:
        raise Damaged("parts that are none")
    return parts
