"""What broke other relays, tried here: the published weaknesses of their kind as regression tests.

The list, with the tests there were anyway, is in docs/threat-model.rst; here is the rest.
"""

from __future__ import annotations

import pytest

from rtpproxy_tw.latch import StrictLatch
from rtpproxy_tw.media.relay import Relay
from rtpproxy_tw.session import Session, SessionKey, new_session
from rtpproxy_tw.statistics import Totals
from tests.datagrams import DTLS, rtp
from tests.latching import RTCP, RTP, V4, strict

PARTY = (V4.public, 4000)


def complete_session() -> Session:
    """Both parties are known, and nobody has spoken."""
    session = new_session(SessionKey("call", "tag"), 0.0, 60.0, StrictLatch)
    session.complete = True
    for leg in session.legs:
        for stream in leg.streams:
            stream.latch.signal(PARTY, 0.0)
            stream.latch.complete(0.0)
    return session


@pytest.mark.parametrize("component", [RTP, RTCP])
@pytest.mark.parametrize("length", range(13))
def test_datagrams_too_short_for_a_header_open_no_latch(component: int, length: int) -> None:
    """RTCP of four octets switched Asterisk's check of the SSRC off (AST-2017-008)."""
    stage = strict(component, PARTY)
    stage.talk(PARTY, 700)
    for first in (0x80, 0x81, 0x00):
        short = bytes((first, 200, 0, 0)).ljust(length, b"\x00")[:length]
        assert stage.hear(PARTY, short)
        stage.now += 1.5
        assert not stage.hear((V4.stranger, 9), short)
        assert not stage.hear((V4.stranger, 9), rtp(1, 0xBAD))
    assert stage.latch.source == PARTY


def test_no_number_of_bad_packets_ends_a_call_or_silences_a_port() -> None:
    """100 SRTP packets that could not be checked hung up FreeSWITCH's calls (CVE-2021-41105)."""
    now = 0.0
    totals = Totals()
    relay = Relay(lambda: now, totals)
    session = complete_session()
    rtp_stream = session.caller.rtp
    for number in range(10_000):
        relay.received(rtp_stream, rtp(number, 0xBAD), (V4.stranger, 9))
        relay.received(rtp_stream, b"\x80" + bytes(number % 40), (V4.stranger, 9))
    assert session.ended is None
    assert rtp_stream.accepted == 0
    assert rtp_stream.ignored == totals.npkts_discard == 20_000
    relay.received(rtp_stream, rtp(1, 7), PARTY)
    assert rtp_stream.accepted == 1


def test_a_strangers_handshake_does_not_come_before_the_partys() -> None:
    """One DTLS hello of a stranger spoilt the handshake of rtpengine's calls (CVE-2023-51275)."""
    for address in (PARTY, (V4.private, 4000)):
        stage = strict(RTP, address)
        for _ in range(100):
            assert not stage.hear((V4.stranger, 9), DTLS)
            assert stage.latch.remote == address
            stage.now += 0.02
        assert stage.hear(address, DTLS)
        assert stage.latch.source == address


def test_what_was_learned_once_is_not_learned_again_for_a_packet_of_anybody() -> None:
    """RTP bleed: CVE-2017-14114 (the original), CVE-2017-14099 (Asterisk), CVE-2025-53399."""
    stage = strict(RTP, PARTY)
    assert stage.talk((V4.stranger, 9), 500) == 0
    assert stage.hear(PARTY)
    for silence in (0.02, 3.0, 60.0):
        stage.now += silence
        assert stage.talk((V4.stranger, 9), 500) == 0
        assert stage.latch.remote == PARTY
