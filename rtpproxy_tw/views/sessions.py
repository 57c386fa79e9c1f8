"""What is told of a session, as values that JSON can hold.

Times are seconds since the epoch. Sessions know monotonic time only, so every function takes
``now`` and ``epoch``: what is to be added to a monotonic time to have the other.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.quality.report import LegQuality, report
from rtpproxy_tw.quality.timeline import Entry
from rtpproxy_tw.quality.verdict import LegVerdict, assess
from rtpproxy_tw.session import Leg, Session, Stream
from rtpproxy_tw.views.text import shown

RECENT = 5.0
"""Seconds without RTP after which a party counts as silent: DTX still sends now and then."""

STATES = ("setup", "one_way", "both", "held", "silent")
"""Whose media is heard: before the answer nobody's; then one party's, both's, or no one's."""

View = dict[str, Any]


def state_of(session: Session, now: float) -> str:
    """One of STATES."""
    if not session.complete:
        return "setup"
    caller, callee = session.legs
    if caller.held or callee.held:
        return "held"
    match _speaks(caller.rtp, now) + _speaks(callee.rtp, now):
        case 2:
            return "both"
        case 1:
            return "one_way"
        case _:
            return "silent"


def _speaks(stream: Stream, now: float) -> bool:
    return stream.accepted > 0 and now - stream.last_heard <= RECENT


def brief(session: Session, now: float, epoch: float) -> View:
    """One entry of a list."""
    return {
        "from_tag": shown(session.key.from_tag),
        "state": state_of(session, now),
        "created": _time(session.created, epoch),
        "seconds": round(now - session.created, 1),
        "legs": [
            {
                "side": leg.side.value,
                "verdict": verdict.code,
                "remote": text_of(leg.rtp.latch.remote),
                "packets": leg.rtp.accepted,
                "relayed": leg.rtp.relayed,
            }
            for leg, verdict in zip(session.legs, assess(session, now), strict=True)
        ],
    }


def why(session: Session, now: float) -> View:
    """The verdicts in words."""
    return {
        "from_tag": shown(session.key.from_tag),
        "state": state_of(session, now),
        "ended": None if session.ended is None else session.ended.value,
        "legs": [
            {"side": leg.side.value, **_verdict(verdict)}
            for leg, verdict in zip(session.legs, assess(session, now), strict=True)
        ],
    }


def whole(session: Session, now: float, epoch: float, *, history: bool = False) -> View:
    """All that is known of it; ``history`` adds the intervals of each leg."""
    rows = zip(session.legs, assess(session, now), report(session, now), strict=True)
    return {
        "from_tag": shown(session.key.from_tag),
        "state": state_of(session, now),
        "created": _time(session.created, epoch),
        "answered": _time(session.completed_at, epoch) if session.complete else None,
        "seconds": round(now - session.created, 3),
        "ended": None if session.ended is None else session.ended.value,
        "legs": [
            _leg(leg, verdict, quality, epoch) | (intervals(leg, epoch) if history else {})
            for leg, verdict, quality in rows
        ],
        "timeline": timeline(session, epoch),
    }


def intervals(leg: Leg, epoch: float) -> View:
    """The quality of what a party sent, ten seconds at a time; the last hour of it."""
    if leg.monitor is None:
        return {"history": []}
    began = leg.session.created
    return {
        "history": [
            {
                "at": _time(began + each.at, epoch),
                "seconds": each.seconds,
                "packets": each.packets,
                "lost": each.lost,
                "jitter_ms": each.jitter_ms,
                "mos": each.mos,
            }
            for each in leg.monitor.history
        ]
    }


def timeline(session: Session, epoch: float) -> list[View]:
    """What happened; an entry of kind ``gap`` stands for those that are not kept."""
    diary = session.timeline
    entries = [_entry(entry, epoch) for entry in diary.first]
    if diary.dropped:
        text = f"{diary.dropped} entries are not kept"
        entries.append({"at": None, "kind": "gap", "text": text})
    return entries + [_entry(entry, epoch) for entry in diary.last]


def text_of(address: Address | None) -> str | None:
    """``HOST:PORT``, with brackets around IPv6 (RFC 3986 section 3.2.2)."""
    if address is None:
        return None
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _leg(leg: Leg, verdict: LegVerdict, quality: LegQuality, epoch: float) -> View:
    latch = leg.rtp.latch
    local, port = leg.local, leg.port or leg.former_port
    return {
        "side": leg.side.value,
        "local": text_of((local.host, port)) if local is not None and port else None,
        "signalled": text_of(latch.signalled),
        "source": text_of(latch.source),
        "remote": text_of(latch.remote),
        "latch": latch.state.value,
        "relatches": latch.relatches,
        "held": leg.held,
        "holds": leg.holds,
        "payload_types": list(leg.codecs),
        "recording": _recording(leg),
        "rtp": _stream(leg.rtp, epoch),
        "rtcp": _stream(leg.rtcp, epoch),
        "verdict": _verdict(verdict),
        "quality": _rounded(asdict(quality)),
    }


def _stream(stream: Stream, epoch: float) -> View:
    heard = stream.accepted > 0
    return {
        "accepted": stream.accepted,
        "relayed": stream.relayed,
        "dropped": stream.dropped,
        "ignored": stream.ignored,
        "octets": stream.octets,
        "first_heard": _time(stream.first_heard, epoch) if heard else None,
        "last_heard": _time(stream.last_heard, epoch) if heard else None,
    }


def _recording(leg: Leg) -> View | None:
    state = leg.recording
    if state is None:
        return None
    return {
        "name": state.name,
        "packets": state.packets,
        "lost": state.lost,
        "failed": state.failed,
        "paused": state.paused,
    }


def _verdict(verdict: LegVerdict) -> View:
    return {
        "code": verdict.code,
        "sentence": shown(verdict.sentence),
        "evidence": [shown(text) for text in verdict.evidence],
        "hint": shown(verdict.hint),
    }


def _entry(entry: Entry, epoch: float) -> View:
    return {"at": _time(entry.when, epoch), "kind": entry.kind, "text": shown(entry.text)}


def _time(at: float, epoch: float) -> float:
    return round(epoch + at, 3)


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return round(value, 4) if isinstance(value, float) else value
