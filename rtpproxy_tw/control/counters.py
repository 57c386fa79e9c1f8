"""The named counters of Q and G, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rtpproxy_tw.commands import Query, Statistics
from rtpproxy_tw.errors import CommandError
from rtpproxy_tw.quality.analyzer import Analyzer
from rtpproxy_tw.registry import Match, SessionRegistry
from rtpproxy_tw.session import Leg
from rtpproxy_tw.statistics import Totals

Value = int | float

_SILENT = Analyzer()
"""What is known of a party that has sent no RTP yet."""


def _analyzer(leg: Leg) -> Analyzer:
    return leg.rtp.analyzer or _SILENT


_OF_LEG: dict[str, Callable[[Leg], Value]] = {
    "npkts_ina": lambda leg: leg.rtp.accepted,
    "npkts_ino": lambda leg: leg.opposite.rtp.accepted,
    "nrelayed": lambda leg: leg.rtp.relayed + leg.opposite.rtp.relayed,
    "ndropped": lambda leg: leg.rtp.dropped + leg.opposite.rtp.dropped,
    "longest_ipi": lambda leg: float(leg.rtp.longest_gap),
    "rtpa_nsent": lambda leg: _analyzer(leg).sent,
    "rtpa_nrcvd": lambda leg: _analyzer(leg).received,
    "rtpa_ndups": lambda leg: _analyzer(leg).duplicates,
    "rtpa_nlost": lambda leg: _analyzer(leg).lost,
    "rtpa_perrs": lambda leg: _analyzer(leg).errors,
    "rtpa_jlast": lambda leg: float(_analyzer(leg).jitter_last),
    "rtpa_jmax": lambda leg: float(_analyzer(leg).jitter_max),
    "rtpa_javg": lambda leg: float(_analyzer(leg).jitter_mean),
}
"""Seen from the party that owns the command's first tag."""

_SHORT = ("ttl", "npkts_ina", "npkts_ino", "nrelayed", "ndropped")
"""What Q answers when it names nothing."""


def query(command: Query, match: Match, registry: SessionRegistry) -> str:
    """The line Q answers. Raises CommandError for an unknown modifier or counter."""
    if command.bad_modifier is not None:
        raise CommandError(19, f"unknown modifier {command.bad_modifier!r} of Q")
    names = command.counters or _SHORT
    values: list[Value] = []
    for name in names:
        if name == "ttl":
            values.append(registry.ttl_left(match.session))
        elif name in _OF_LEG:
            values.append(_OF_LEG[name](match.leg))
        else:
            raise CommandError(62, f"unknown counter {name!r}")
    return _line(names, values, command.verbose)


def statistics(command: Statistics, totals: Totals) -> str:
    """The line G answers. Raises CommandError for an unknown counter."""
    values: list[Value] = []
    for name in command.counters:
        if name not in Totals.__dataclass_fields__:
            raise CommandError(68, f"unknown counter {name!r}")
        values.append(getattr(totals, name))
    return _line(command.counters, values, command.verbose)


def _line(names: Sequence[str], values: Sequence[Value], verbose: bool) -> str:
    words = [f"{value:f}" if isinstance(value, float) else str(value) for value in values]
    if verbose:
        words = [f"{name}={word}" for name, word in zip(names, words, strict=True)]
    return " ".join(words)
