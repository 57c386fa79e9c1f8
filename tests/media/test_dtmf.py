"""Keys as RFC 4733 events: one press each, however they come."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.media.dtmf import KEYS, Detector, DigitWatch, Press
from rtpproxy_tw.rtp import peek
from rtpproxy_tw.session import NotifySocket
from tests.contracts import session
from tests.fakes import FakeNotifier

SOCKET = NotifySocket("unix", "/n")


def event(
    code: int,
    timestamp: int,
    duration: int,
    *,
    end: bool = False,
    marker: bool = False,
    volume: int = 10,
    ssrc: int = 7,
) -> bytes:
    second = 101 | (0x80 if marker else 0)
    header = struct.pack("!BBHII", 0x80, second, 1, timestamp & 0xFFFFFFFF, ssrc)
    return header + struct.pack("!BBH", code, volume | (0x80 if end else 0), duration)


def press(code: int, timestamp: int, *, ends: int = 3, duration: int = 480) -> list[bytes]:
    """All packets of one event."""
    steps = range(160, duration, 160)
    rising = [event(code, timestamp, step, marker=step == 160) for step in steps]
    return rising + [event(code, timestamp, duration, end=True)] * ends


def detected(datagrams: list[bytes], detector: Detector | None = None) -> list[Press]:
    detector = detector or Detector()
    presses = []
    for datagram in datagrams:
        header = peek(datagram)
        assert header is not None
        presses += detector.heard(header, datagram[header.start : header.end])
    return presses


@pytest.mark.parametrize("code", range(17))
def test_every_key_is_told_once_although_its_end_comes_three_times(code: int) -> None:
    assert detected(press(code, 1000)) == [Press(KEYS[code], 10, 480)]


def test_the_same_key_twice_is_two_presses() -> None:
    assert [each.key for each in detected(press(5, 1000) + press(5, 3000))] == ["5", "5"]


def test_a_press_of_which_only_one_end_came_is_told() -> None:
    assert detected([event(5, 1000, 640, end=True)]) == [Press("5", 10, 640)]


def test_a_press_whose_ends_are_lost_is_told_by_the_next_one() -> None:
    presses = detected(press(1, 1000, ends=0) + press(2, 3000))
    assert [each.key for each in presses] == ["1", "2"]


def test_packets_that_were_overtaken_change_nothing() -> None:
    packets = press(3, 1000)
    packets.append(packets.pop(0))
    late = press(4, 3000)[:1]
    assert [each.key for each in detected(late + packets)] == []
    assert detected(packets) == [Press("3", 10, 480)]


@pytest.mark.parametrize("code", [17, 100, 255])
def test_codes_that_are_no_keys_are_no_presses(code: int) -> None:
    assert detected(press(code, 1000) + press(1, 3000)) == [Press("1", 10, 480)]


def test_a_key_held_for_longer_than_the_duration_can_tell_is_one_press() -> None:
    packets = [
        event(9, 1000, 160, marker=True),
        event(9, 1000, 0xFFFF),
        event(9, 1000 + 0xFFFF, 400),
        *[event(9, 1000 + 0xFFFF, 800, end=True)] * 3,
    ]
    assert detected(packets) == [Press("9", 10, 0xFFFF + 800)]


def test_a_duration_that_wraps_under_one_timestamp_is_one_press() -> None:
    packets = [event(9, 1000, step & 0xFFFF) for step in range(160, 70_000, 160)]
    assert len(detected([*packets, *[event(9, 1000, 5000, end=True)] * 3])) == 1


def test_timestamps_may_wrap_and_another_ssrc_starts_anew() -> None:
    packets = press(1, 0xFFFFFF00) + press(2, 0x00000100)
    other = [event(3, 5, 160, end=True, ssrc=8)]
    assert [each.key for each in detected(packets + other)] == ["1", "2", "3"]


@given(st.lists(st.binary(max_size=8)))
def test_no_payload_raises(payloads: list[bytes]) -> None:
    detector = Detector()
    for payload in payloads:
        datagram = struct.pack("!BBHII", 0x80, 101, 1, 2, 3) + payload
        header = peek(datagram)
        assert header is not None
        detector.heard(header, payload)


def watch(notifier: FakeNotifier) -> DigitWatch:
    made = DigitWatch(notifier, lambda: 5.0)
    made.socket, made.tag, made.payload_type = SOCKET, b"D x", 101
    return made


def test_the_notice_names_key_volume_duration_and_side() -> None:
    notifier, call = FakeNotifier(), session()
    for stream in (call.caller.rtp, call.callee.rtp):
        tap = watch(notifier)
        for datagram in press(11, 1000):
            tap.heard(stream, datagram, ("127.0.0.1", 5))
    assert notifier.told == [(SOCKET, b"D x # 10 480 0"), (SOCKET, b"D x # 10 480 1")]


def test_presses_are_in_the_sessions_timeline_but_hidden_ones_by_name_only() -> None:
    call, tap = session(), watch(FakeNotifier())
    for number, hide in enumerate((False, True)):
        tap.hide = hide
        for datagram in press(11, 1000 + 9000 * number):
            tap.heard(call.caller.rtp, datagram, ("127.0.0.1", 5))
    assert [tuple(entry) for entry in call.timeline] == [
        (5.0, "digit", "caller: pressed #"),
        (5.0, "digit", "caller: pressed a hidden key"),
    ]


@pytest.mark.parametrize("datagram", [b"", b"\x80", b"\x80\x65", b"\x80\x00" + bytes(14)])
def test_other_packets_are_not_looked_at(datagram: bytes) -> None:
    notifier = FakeNotifier()
    watch(notifier).heard(session().caller.rtp, datagram, ("127.0.0.1", 5))
    assert notifier.told == []
