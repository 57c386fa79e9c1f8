"""The scores of a call's intervals, in another process: nearly all of them go ahead.

An hour of them is ten kilobytes a session, so they are no part of its record. While both processes
stand still only intervals that have ended since are told, which most sessions have none of.
"""

from __future__ import annotations

from typing import Any

from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.quality.history import History
from rtpproxy_tw.quality.monitor import Monitor
from rtpproxy_tw.session import Leg, Session
from rtpproxy_tw.snapshot.kinds import OCTETS, Damaged


class HistoryPart:
    """All intervals there are when a session goes ahead."""

    name = "history"

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part; None where no interval has ended."""
        return histories(session)

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part."""
        set_histories(session, value)


class FreshHistoryPart:
    """Those that have ended since it went."""

    name = "history since"

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part; None where none has."""
        found = None
        for leg in session.legs:
            monitor = leg.monitor
            if monitor is not None and monitor.history.untold:
                found = found or {}
                found[leg.side.value] = _packed(monitor.history.since_told())
        return found

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part."""
        for leg, octets in _by_leg(session, value):
            _monitor(leg).history.extend(octets)


def histories(session: Session) -> Any:
    """What JSON can be made of; None where no interval has ended. They are told by that."""
    found = {}
    for leg in session.legs:
        if leg.monitor is not None and leg.monitor.history.octets:
            found[leg.side.value] = _packed(leg.monitor.history.tell())
    return found or None


def set_histories(session: Session, value: Any) -> None:
    """What :func:`histories` gave is that of ``session``. Raises Damaged."""
    for leg, octets in _by_leg(session, value):
        _monitor(leg).history = History(octets)


def _packed(octets: bytes) -> Any:
    assert OCTETS.pack is not None, "octets are no JSON"
    return OCTETS.pack(octets)


def _by_leg(session: Session, value: Any) -> list[tuple[Leg, bytes]]:
    if type(value) is not dict:
        raise Damaged("no object")
    legs = [leg for leg in session.legs if leg.side.value in value]
    return [(leg, OCTETS.unpack(value[leg.side.value], 0.0)) for leg in legs]


def _monitor(leg: Leg) -> Monitor:
    # The record may have been written down before anybody looked at the party.
    if leg.monitor is None:
        leg.monitor = Monitor()
    return leg.monitor
