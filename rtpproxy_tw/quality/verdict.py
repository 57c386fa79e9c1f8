"""Why is there no audio? For each leg one sentence, its evidence, and what to look at next.

The signs are weighed in a fixed order: what rules out all else first, then what was observed of a
party that was never heard, that fell silent, or that is heard. A silent party's sentence always
says that nothing arrived; whatever else was seen is its evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from rtpproxy_tw.quality import signs, words

if TYPE_CHECKING:
    from rtpproxy_tw.session import Leg, Session

CODES: Mapping[str, str] = MappingProxyType(
    {
        "ok": "media of the party arrives and is passed on",
        "learning": "too early to tell: the other party has not answered yet, or just did",
        "held": "silent because a party is on hold",
        "never-arrived": "no RTP of the party ever arrived",
        "one-way": "media of the party arrived, then stopped, while the other is still heard",
        "stopped": "media of the party arrived, then stopped, as did the other party's",
        "rtcp-only": "RTCP of the party arrives, RTP never did",
        "wrong-source": "packets arrive, but from where the party cannot be",
        "crossed-ports": "media of the party arrives on a port that is not meant for it",
        "looped-to-us": "the address given for the party is one of the relay's own ports",
        "icmp-unreachable": "the network says that the party's port cannot be reached",
        "payload-never-negotiated": "the party sends a payload type the other did not ask for",
        "source-flapping": "the source of the party's media keeps changing",
        "ssrc-changed": "the party's stream was lately replaced by one with another SSRC",
        "silence-only": "packets arrive, but there is nothing in them to hear",
    }
)
"""Each code and what it means. Codes are stable: they are in records and in metrics."""


@dataclass(frozen=True, slots=True)
class LegVerdict:
    """What is to be said of the media of one party."""

    code: str
    """A key of ``CODES``."""
    sentence: str
    """For people; a silent party's says that nothing arrived."""
    evidence: tuple[str, ...] = ()
    """The observations behind it, most telling first."""
    hint: str = ""
    """What to look at next; empty where all is well."""


def assess(session: Session, now: float) -> tuple[LegVerdict, LegVerdict]:
    """The verdicts on the caller's and on the callee's leg at ``now``. Pure."""
    return _of(session.caller, now), _of(session.callee, now)


def code_of(leg: Leg, now: float) -> str:
    """The code alone, which costs next to nothing."""
    if signs.looped(leg):
        return "looped-to-us"
    if not leg.session.complete:
        return "learning"
    if not signs.heard(leg.rtp):
        return _never_heard(leg, now)
    if not signs.speaking(leg.rtp, now):
        return _fallen_silent(leg, now)
    return _speaking(leg, now)


def final_code(leg: Leg, now: float) -> str:
    """The code of a leg whose session has ended: the same for everybody who is told of that."""
    if leg.verdict is None:
        leg.verdict = code_of(leg, now)
    return leg.verdict


def _never_heard(leg: Leg, now: float) -> str:
    early = now - leg.session.completed_at < signs.PATIENCE
    strangers = signs.refused(leg) and not signs.strayed(leg.opposite)
    # Media from elsewhere tells more than that nobody is where the SDP said.
    if strangers and not early and signs.refused(leg, now, rtp=True):
        return "wrong-source"
    if signs.unreachable(leg, now):
        return "icmp-unreachable"
    if signs.crossed(leg) or signs.strayed(leg):
        return "crossed-ports"
    if signs.on_hold(leg):
        return "held"
    if early:
        return "learning"
    if strangers:
        return "wrong-source"
    if leg.rtcp.accepted or leg.rtp.accepted:
        return "rtcp-only"
    return "never-arrived"


def _fallen_silent(leg: Leg, now: float) -> str:
    if signs.on_hold(leg):
        return "held"
    if signs.unreachable(leg, now):
        return "icmp-unreachable"
    if signs.strayed(leg, now):
        return "crossed-ports"
    if signs.refused(leg, now):
        return "wrong-source"
    return "one-way" if signs.speaking(leg.opposite.rtp, now) else "stopped"


def _speaking(leg: Leg, now: float) -> str:
    if signs.impersonated(leg):
        return "crossed-ports"
    if signs.unreachable(leg, now):
        return "icmp-unreachable"
    if signs.unwanted_payload(leg) is not None:
        return "payload-never-negotiated"
    if signs.flaps(leg, now) >= signs.FLAPPING_ENOUGH:
        return "source-flapping"
    if signs.quiet_for(leg, now) >= signs.QUIET_FOR:
        return "silence-only"
    if signs.ssrc_changed(leg, now):
        return "ssrc-changed"
    return "ok"


def _of(leg: Leg, now: float) -> LegVerdict:
    code = code_of(leg, now)
    sentence, hint = words.SENTENCES[code](leg, now)
    return LegVerdict(code, sentence, words.evidence(leg, now), hint)
