"""The demo's proxy side says what proxies say and understands what relays answer."""

from __future__ import annotations

import re

import pytest

from rtpproxy_tw.tools.control_client import Control, NoAnswer, read_url
from rtpproxy_tw.tools.error_codes import Refused, meaning_of
from rtpproxy_tw.tools.signalling import Signalling


class Scripted(Control):
    """Answers in the order given and remembers what it was asked."""

    def __init__(self, *replies: str, url: str = "unix:/nowhere") -> None:
        super().__init__(read_url(url))
        self.replies = list(replies)
        self.asked: list[str] = []

    def _ask(self, command: bytes) -> bytes:
        self.asked.append(command.decode())
        return f"{self.replies.pop(0)}\n".encode()

    def close(self) -> None:
        """Nothing is open."""


def test_a_call_is_an_offer_and_an_answer_with_private_addresses() -> None:
    control = Scripted("40000 127.0.0.1", "40002 127.0.0.1")
    for_caller, for_callee = Signalling(control).invite()
    assert (for_caller, for_callee) == (("127.0.0.1", 40002), ("127.0.0.1", 40000))
    offer, answer = control.asked
    found = re.fullmatch(r"Uc0,101 (\S+) 192\.168\.1\.20 4000 (\S+;1)", offer)
    assert found
    assert answer.startswith(f"Lc0,101 {found[1]} 10.0.0.7 4000 {found[2]} ")


def test_on_all_addresses_of_this_machine_the_loopback_one_is_asked_for() -> None:
    control = Scripted("40000", "0", "40002 127.0.0.1", "40004 127.0.0.1")
    assert Signalling(control).invite() == (("127.0.0.1", 40004), ("127.0.0.1", 40002))
    assert [command.split()[0] for command in control.asked] == [
        "Uc0,101",
        "D",
        "Ul127.0.0.1c0,101",
        "Ll127.0.0.1c0,101",
    ]


def test_elsewhere_media_is_where_control_is() -> None:
    control = Scripted("40000", "40002", url="udp:192.0.2.1:22222")
    assert Signalling(control).invite() == (("192.0.2.1", 40002), ("192.0.2.1", 40000))


def test_a_relay_without_ipv4_is_called_by_ipv6() -> None:
    control = Scripted("E36", "40000", "0", "40002 ::1 6", "40004 ::1 6")
    signalling = Signalling(control)
    assert signalling.invite() == (("::1", 40004), ("::1", 40002))
    assert [command.split()[0] for command in control.asked[1:]] == [
        "U6c0,101",
        "D",
        "U6l[::1]c0,101",
        "L6l[::1]c0,101",
    ]
    assert " fd00:1::20 4000 " in control.asked[1]


def test_an_error_is_told_with_its_meaning() -> None:
    with pytest.raises(Refused, match=r"command Uc0,101 was refused: E72 \(no free media ports"):
        Signalling(Scripted("E72")).invite()


@pytest.mark.parametrize("reply", ["E", "Exx", "E4711"])
def test_an_error_nobody_knows_is_one_too(reply: str) -> None:
    with pytest.raises(Refused, match="an unknown error"):
        Signalling(Scripted(reply)).invite()


@pytest.mark.parametrize("reply", ["", "0", "port", "70000", "-1"])
def test_what_is_no_port_is_told(reply: str) -> None:
    with pytest.raises(NoAnswer, match="which is no port"):
        Signalling(Scripted(reply)).invite()


def test_only_a_relay_of_this_protocol_is_called() -> None:
    Signalling(Scripted("20040107")).greet()
    with pytest.raises(NoAnswer, match="it said '220 mail"):
        Signalling(Scripted("220 mail.example ESMTP")).greet()


def test_the_figures_are_asked_for_by_both_and_the_end_is_one_command() -> None:
    control = Scripted("40000 127.0.0.1", "40002 127.0.0.1", "60 1 2 3 0", "60 2 1 3 0", "0")
    signalling = Signalling(control)
    signalling.invite()
    assert signalling.alive
    assert signalling.query() == ("60 1 2 3 0", "60 2 1 3 0")
    signalling.bye()
    assert not signalling.alive
    first, second, end = (command.split() for command in control.asked[2:])
    assert (first[0], second[0], end[0]) == ("Q", "Q", "D")
    assert first[1] == second[1] == end[1]
    assert first[2:] == second[:1:-1] == end[2:]


def test_every_code_has_words() -> None:
    assert meaning_of(50) == "no such session"
    assert meaning_of(4711) == "an unknown error"
