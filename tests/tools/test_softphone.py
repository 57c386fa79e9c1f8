"""Two phones on loopback hear each other, and nothing else."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from rtpproxy_tw.tools.softphone import Phone, bind_pair, heard_by, host_towards

pytestmark = pytest.mark.network


@pytest.fixture
def phones() -> Iterator[tuple[Phone, Phone]]:
    """Two phones that talk without a relay between them."""
    with ExitStack() as stack:
        caller = Phone("caller", "127.0.0.1", 440, told=("127.0.0.1", 0))
        stack.callback(caller.close)
        callee = Phone("callee", "127.0.0.1", 620, told=caller.address)
        stack.callback(callee.close)
        caller.told = callee.address
        caller.call(callee)
        callee.call(caller)
        yield caller, callee


def listen_to_all(phone: Phone) -> None:
    for _ in range(5):
        phone.listen(phone.rtp)
        phone.listen(phone.rtcp)


def test_what_one_says_the_other_hears(phones: tuple[Phone, Phone]) -> None:
    caller, callee = phones
    for _ in range(3):
        caller.speak(100)
    caller.report(0)
    listen_to_all(callee)
    figures = heard_by(callee, caller, final=True)
    assert (figures.sent, figures.arrived, figures.lost) == (3, 3, 0)
    assert (figures.reports_sent, figures.reports_arrived) == (1, 1)
    assert (figures.garbled, figures.strangers) == (0, 0)
    assert heard_by(caller, callee, final=True).sent == 0


def test_what_has_waited_to_be_read_is_dated_back_to_its_arrival(
    phones: tuple[Phone, Phone],
) -> None:
    caller, callee = phones
    caller.speak(time.monotonic())
    time.sleep(0.05)
    callee.listen(callee.rtp)
    delay = heard_by(callee, caller, final=True).delay
    assert delay is not None
    assert 0 <= delay.slowest < 40


def test_what_is_said_after_the_end_should_not_be_heard(phones: tuple[Phone, Phone]) -> None:
    caller, callee = phones
    callee.end()
    caller.babble(100)
    listen_to_all(callee)
    figures = heard_by(callee, caller, final=True)
    assert (figures.sent, figures.arrived, figures.late) == (0, 0, 1)


def test_a_stranger_is_not_the_other_phone(phones: tuple[Phone, Phone]) -> None:
    caller, callee = phones
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(caller.speaker.packet(0), callee.address)
    listen_to_all(callee)
    assert heard_by(callee, caller, final=True).strangers == 1


def test_what_cannot_be_sent_is_as_good_as_lost(phones: tuple[Phone, Phone]) -> None:
    caller, _ = phones
    caller.told = ("127.0.0.1", 0)
    caller.speak(100)
    assert len(caller.sent_at) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_rtp_is_on_an_even_port_and_rtcp_on_the_next(host: str) -> None:
    rtp, rtcp = bind_pair(host)
    with rtp, rtcp:
        assert rtp.getsockname()[1] % 2 == 0
        assert rtcp.getsockname()[1] == rtp.getsockname()[1] + 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_relay_on_loopback_is_reached_from_loopback(host: str) -> None:
    assert host_towards((host, 40000)) == host
