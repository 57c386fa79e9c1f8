"""How replies are written."""

from __future__ import annotations

import pytest

from rtpproxy_tw.commands import (
    Allocated,
    Failed,
    NotFound,
    Number,
    Reply,
    Text,
    WithResults,
)
from rtpproxy_tw.control.render import INTERNAL_ERROR, MAX_REPLY
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect

DIALECT = RtpproxyDialect()
PORT = Allocated(40000)
AT = Allocated(40002, "127.0.0.1")

REPLIES: list[tuple[Reply, str]] = [
    (Number(20040107), "20040107"),
    (Number(0), "0"),
    (NotFound(), "0"),
    (Failed(0), "E0"),
    (Failed(50), "E50"),
    (PORT, "40000"),
    (AT, "40002 127.0.0.1"),
    (Allocated(40000, "::1", True), "40000 ::1 6"),
    (Allocated(40000, "relay.example.org"), "40000 relay.example.org"),
    (Allocated(40000, "1.2.3.4", True), "40000 1.2.3.4 6"),
    (Allocated(40000, None, True), "40000"),
    (Text("60 0 0 0 0", overflow=26), "60 0 0 0 0"),
    (Text(""), ""),
    (Text("sessions created: 0\nactive sessions: 0"), "sessions created: 0\nactive sessions: 0"),
    (WithResults(PORT, ()), "40000"),
    (WithResults(PORT, (0,)), "40000"),
    (WithResults(PORT, (0, 0)), "40000"),
    (WithResults(PORT, (-1,)), "40000 && -1"),
    (WithResults(PORT, (0, -1)), "40000 && 0 && -1"),
    (WithResults(PORT, (0, -1, 0, AT)), "40000 && 0 && -1"),
    (WithResults(AT, (AT,)), "40002 127.0.0.1 && 40002 127.0.0.1"),
    (WithResults(PORT, (AT, 0)), "40000 && 40002 127.0.0.1"),
    (WithResults(PORT, (PORT, 0, PORT, 0)), "40000 && 40000 && 0 && 40000"),
    (WithResults(Text("50 0 0 0 0"), (0,)), "50 0 0 0 0"),
]


@pytest.mark.parametrize("reply, line", REPLIES)
def test_replies_are_written(reply: Reply, line: str) -> None:
    assert DIALECT.render(reply) == line.encode() + b"\n"


def test_a_cookie_stands_in_front_once() -> None:
    assert DIALECT.render(Number(1), b"25752_4") == b"25752_4 1\n"
    assert DIALECT.render(Text("a: 1\nb: 2"), b"\xff%n") == b"\xff%n a: 1\nb: 2\n"


@pytest.mark.parametrize("overflow", [25, 26])
def test_a_text_that_is_too_long_is_an_error(overflow: int) -> None:
    longest = Text("x" * (MAX_REPLY - 1), overflow)
    assert len(DIALECT.render(longest)) == MAX_REPLY
    assert DIALECT.render(Text("x" * MAX_REPLY, overflow)) == f"E{overflow}\n".encode()


def test_the_cookie_counts() -> None:
    text = Text("x" * (MAX_REPLY - 4), 25)
    assert len(DIALECT.render(text, b"ck")) == MAX_REPLY
    assert DIALECT.render(text, b"ck1") == b"ck1 E25\n"


def test_what_names_no_error_of_its_own_is_the_relays_fault() -> None:
    assert DIALECT.render(Text("x" * 2000)) == f"E{INTERNAL_ERROR}\n".encode()
    assert DIALECT.render(Allocated(4, "x" * 2000)) == f"E{INTERNAL_ERROR}\n".encode()


def test_results_that_do_not_fit_are_told_as_failed() -> None:
    wide = Allocated(40000, "x" * 300)
    line = DIALECT.render(WithResults(PORT, (wide, wide, wide, wide)))
    assert line.count(b" && 40000 x") == 3
    assert line.endswith(b"x && -1\n")
    assert len(line) <= MAX_REPLY


def test_room_is_left_to_tell_a_failure() -> None:
    for width in range(960, 1030):
        wide = Allocated(40000, "x" * width)
        line = DIALECT.render(WithResults(PORT, (wide, AT)))
        assert line == b"40000 && -1\n" or line.startswith(b"40000 && 40000 x")
        assert len(line) <= MAX_REPLY
        main = Text("x" * width, overflow=26)
        line = DIALECT.render(WithResults(main, (0, -1)))
        assert line == b"E26\n" or line.endswith(b" && -1\n")
        assert len(line) <= MAX_REPLY
