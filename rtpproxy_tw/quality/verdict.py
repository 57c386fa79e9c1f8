"""Why is there no audio? For each leg one sentence, its evidence, and what to look at next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

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


def _of(leg: Leg, now: float) -> LegVerdict:
    party = leg.side.value
    if leg.rtp.accepted:
        return LegVerdict("ok", f"media of the {party} arrives")
    if not leg.session.complete:
        return LegVerdict("learning", f"nothing has arrived from the {party} yet")
    return LegVerdict("never-arrived", f"no RTP packet ever arrived from the {party}")
