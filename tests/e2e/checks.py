"""What must be true of a call that is over."""

from __future__ import annotations

from itertools import pairwise

from rtpproxy_tw.addresses import Address
from tests.e2e.media import Endpoint
from tests.e2e.phone import Phone
from tests.e2e.relay import FIRST_MEDIA_PORT, LAST_MEDIA_PORT

MARGIN = 0.1
"""Seconds the last packets may be under way."""

LAST_WORDS = 0.25
"""What was said in so many seconds before the end may still wait in a socket that is closed."""

AT_ONCE = 5
"""A relay that need not learn anything relays all from the fifth packet of both parties on."""

LEARNING = 15
"""A relay that must learn another host than the signalled one has done so by then."""


def assert_told(phone: Phone, relay: str, medium: int = 0) -> Address:
    """It was told one address for a medium, ever: ``relay`` and an even port. That address."""
    (address,) = phone.told[medium]
    host, port = address
    assert host == relay
    assert port % 2 == 0
    assert FIRST_MEDIA_PORT <= port <= LAST_MEDIA_PORT
    assert phone.told_rtcp[medium] == {(host, port + 1)}
    return address


def assert_heard(
    listener: Phone,
    talker: Phone,
    ended: float,
    *,
    medium: int = 0,
    relayed_from: int = AT_ONCE,
    lost_later: int = 0,
) -> None:
    """All that ``talker`` said on a medium until ``ended`` reached ``listener``, and no more.

    Packet by packet: unchanged, in order, from exactly the address the listener was told to send
    to; none missing once both had sent ``relayed_from`` packets, but for ``lost_later`` of them;
    none after the end, although the talker spoke on.
    """
    ear, mouth = listener.endpoints[medium], talker.endpoints[medium]
    assert {heard.source for heard in ear.heard} == listener.told[medium]
    places = {packet: place for place, (_, packet) in enumerate(mouth.sent)}
    got = [places[heard.datagram] for heard in ear.heard]
    assert got == sorted(set(got))
    begun = max(when for when, _ in (mouth.sent[relayed_from], ear.sent[relayed_from]))
    assert mouth.sent[got[0]][0] <= begun
    due = sum(when < ended - LAST_WORDS for when, _ in mouth.sent)
    assert len(set(range(got[0], due)) - set(got)) <= lost_later
    assert_silent_from(ear, ended)
    assert sum(when > ended for when, _ in mouth.sent) >= 5
    assert_heard_rtcp(listener, talker, medium)


def assert_heard_rtcp(listener: Phone, talker: Phone, medium: int = 0) -> None:
    """RTCP came too, unchanged, from the port the listener was told."""
    reports = {report for _, report in talker.endpoints[medium].sent_rtcp}
    heard = listener.endpoints[medium].heard_rtcp
    assert {one.source for one in heard} == listener.told_rtcp[medium]
    assert {one.datagram for one in heard} <= reports


def longest_pause(mouth: Endpoint) -> float:
    """The longest time for which it did not speak between two packets, in seconds."""
    times = [when for when, _ in mouth.sent]
    return max(after - before for before, after in pairwise(times))


def assert_silent_from(ear: Endpoint, start: float, end: float = float("inf")) -> None:
    """Nothing arrived between ``start`` and ``end``."""
    times = [heard.when for heard in (*ear.heard, *ear.heard_rtcp)]
    assert [when for when in times if start + MARGIN < when < end] == []
