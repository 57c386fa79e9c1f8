"""A change of source is one line in the log, and a source that changes for ever no flood."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import LogEvent, capturedLogs, eventAsText

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.latch import latch_factory
from rtpproxy_tw.media.relay import Relay
from rtpproxy_tw.session import Session, SessionKey, new_session
from rtpproxy_tw.statistics import Totals
from tests.datagrams import rtp

HERE: Address = ("192.0.2.1", 4000)


def lines(events: Sequence[LogEvent]) -> list[str]:
    """What was logged."""
    return [eventAsText(event, includeTimestamp=False, includeSystem=False) for event in events]


def complete_session() -> Session:
    """Both parties are known."""
    session = new_session(SessionKey("call", "tag"), 0.0, 60.0, latch_factory("strict"))
    session.complete = True
    for leg in session.legs:
        leg.rtp.latch.signal(HERE, 0.0)
        leg.rtp.latch.complete(0.0)
    return session


def test_a_rebound_stream_is_one_line_and_the_first_source_none() -> None:
    now = 0.0
    relay = Relay(lambda: now, Totals())
    session = complete_session()
    with capturedLogs() as events:
        for sequence in range(100):
            relay.received(session.caller.rtp, rtp(sequence, 7), HERE)
            now += 0.02
        now += 1.5
        for sequence in range(100, 120):
            relay.received(session.caller.rtp, rtp(sequence, 7), ("203.0.113.66", 9))
            now += 0.02
    assert lines(events) == [
        "session 'call' 'tag': RTP of the caller is now from 203.0.113.66 port 9 (change 1)"
    ]


def test_a_host_that_changes_its_port_all_the_time_does_not_fill_the_log() -> None:
    relay = Relay(lambda: 0.0, Totals())
    session = complete_session()
    with capturedLogs() as events:
        for port in range(5000, 5500):
            relay.received(session.caller.rtp, rtp(1, 7), (HERE[0], port))
    assert session.caller.rtp.latch.relatches == 499
    assert len(events) == 3 + 4
