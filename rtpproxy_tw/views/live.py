"""What is told of a call again and again while it lasts: small, and cheap to make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtpproxy_tw.quality.report import LegQuality, report
from rtpproxy_tw.quality.verdict import code_of
from rtpproxy_tw.quality.words import SENTENCES
from rtpproxy_tw.session import Leg, Session
from rtpproxy_tw.views.sessions import state_of, text_of
from rtpproxy_tw.views.text import identifier, shown

View = dict[str, Any]

Sign = tuple[str, str, str, bool, bool, bool]
"""Of a session: its state, both verdicts, whether the kernel carries each leg, whether any of it
is recorded."""

QUIET = frozenset(("ok", "learning", "held"))
"""Verdicts that nobody need do anything about."""


def sign(session: Session, now: float) -> Sign:
    """What is worth telling at once when it changes; the rest are figures that may wait."""
    caller, callee = session.legs
    return (
        state_of(session, now),
        code_of(caller, now),
        code_of(callee, now),
        caller.rtp.offloaded,
        callee.rtp.offloaded,
        caller.recording is not None or callee.recording is not None,
    )


def row(call_id: str, sessions: Sequence[tuple[Session, Sign]], now: float, epoch: float) -> View:
    """One call with its ``sessions``, figures as at ``now``; see the schema ``LiveCall`` less
    the time."""
    return {
        "id": identifier(call_id),
        "call_id": shown(call_id),
        "sessions": [_session(session, signs, now, epoch) for session, signs in sessions],
    }


def _session(session: Session, signs: Sign, now: float, epoch: float) -> View:
    codes, figures = signs[1:3], report(session, now)
    return {
        "from_tag": shown(session.key.from_tag),
        "state": signs[0],
        "created": round(epoch + session.created, 3),
        "recording": signs[5],
        "legs": [
            _leg(leg, code, quality, now)
            for leg, code, quality in zip(session.legs, codes, figures, strict=True)
        ],
    }


def _leg(leg: Leg, code: str, quality: LegQuality, now: float) -> View:
    local = leg.local
    return {
        "side": leg.side.value,
        "verdict": code,
        "sentence": "" if code in QUIET else shown(SENTENCES[code](leg, now)[0]),
        "remote": text_of(leg.rtp.latch.remote),
        "local": text_of((local.host, leg.port)) if local is not None and leg.port else None,
        "kernel": leg.rtp.offloaded,
        "codec": quality.codec,
        "packets": leg.rtp.accepted,
        "relayed": leg.rtp.relayed,
        "received": quality.packets,
        "lost": quality.lost,
        "loss_ratio": round(quality.loss_ratio, 4),
        "jitter_ms": _rounded(quality.jitter_ms),
        "rtt_ms": _rounded(quality.rtt_ms),
        "mos": _rounded(quality.mos),
        "mos_last": _rounded(quality.mos_last),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
