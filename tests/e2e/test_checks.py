"""The checks themselves: a relay with one fault must not pass them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.e2e import loopback
from tests.e2e.checks import assert_heard
from tests.e2e.media import Heard, rtp_packet, sender_report
from tests.e2e.phone import Phone

pytestmark = pytest.mark.e2e

RELAY = (loopback.RELAY, 40000)
ENDED = 2.0


@pytest.fixture
def phones() -> Iterator[tuple[Phone, Phone]]:
    """A listener and a talker who spoke for 3 s, of which 2 s were relayed faultlessly."""
    listener, talker = Phone(loopback.CALLER), Phone(loopback.CALLEE)
    ear, mouth = listener.endpoints[0], talker.endpoints[0]
    mouth.sent = [(number * 0.02, rtp_packet(7, number)) for number in range(150)]
    ear.sent = [(number * 0.02, b"") for number in range(150)]
    mouth.sent_rtcp = [(0.0, sender_report(7, 0))]
    ear.heard = [Heard(when, RELAY, packet) for when, packet in mouth.sent[:100]]
    ear.heard_rtcp = [Heard(0.0, (RELAY[0], RELAY[1] + 1), sender_report(7, 0))]
    listener.told[0].add(RELAY)
    listener.told_rtcp[0].add((RELAY[0], RELAY[1] + 1))
    yield listener, talker
    listener.close()
    talker.close()


def from_elsewhere(heard: list[Heard]) -> None:
    heard[50] = heard[50]._replace(source=(loopback.RELAY, 40002))


def a_changed_byte(heard: list[Heard]) -> None:
    heard[50] = heard[50]._replace(datagram=heard[50].datagram[:-1] + b"x")


def a_missing_packet(heard: list[Heard]) -> None:
    del heard[50]


def a_repeated_packet(heard: list[Heard]) -> None:
    heard.insert(50, heard[50])


def disorder(heard: list[Heard]) -> None:
    heard[50], heard[51] = heard[51], heard[50]


def a_late_start(heard: list[Heard]) -> None:
    del heard[:40]


def an_early_end(heard: list[Heard]) -> None:
    del heard[-30:]


def no_end(heard: list[Heard]) -> None:
    heard += [Heard(number * 0.02, RELAY, rtp_packet(7, number)) for number in range(100, 120)]


def test_a_faultless_relay_passes(phones: tuple[Phone, Phone]) -> None:
    assert_heard(*phones, ENDED)


@pytest.mark.parametrize(
    "fault",
    [
        from_elsewhere,
        a_changed_byte,
        a_missing_packet,
        a_repeated_packet,
        disorder,
        a_late_start,
        an_early_end,
        no_end,
    ],
)
def test_a_fault_is_found(
    phones: tuple[Phone, Phone], fault: Callable[[list[Heard]], None]
) -> None:
    fault(phones[0].endpoints[0].heard)
    with pytest.raises((AssertionError, KeyError)):
        assert_heard(*phones, ENDED)
