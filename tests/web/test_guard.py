"""Who may use the HTTP interface."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.web.guard import Caller, Guard, Reach, tokens_in

STATS = b"/api/v1/stats"


def status(guard: Guard, **caller: object) -> int:
    """200, or that of the refusal."""
    refusal = guard.refusal(Caller(**{"path": STATS, **caller}))  # type: ignore[arg-type]
    return 200 if refusal is None else refusal.status


def test_who_can_open_the_unix_socket_may_do_everything() -> None:
    assert status(Guard(Reach.UNIX)) == 200
    assert status(Guard(Reach.UNIX, [b"token"])) == 200


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:80", "LOCALHOST", "127.0.0.1", "127.9.9.9:8080", "[::1]:80"]
)
def test_loopback_answers_to_its_own_names(host: str) -> None:
    assert status(Guard(Reach.LOOPBACK), host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        *(None, "", "evil.example", "evil.example:80", "localhost.evil.example", "192.0.2.1"),
        *("127.0.0.1.evil.example", "[", "[::1", "user@localhost:x@evil.example", "0.0.0.0"),
    ],
)
def test_loopback_does_not_answer_to_names_that_others_may_have_made(host: str | None) -> None:
    assert status(Guard(Reach.LOOPBACK), host=host) == 403


@pytest.mark.parametrize("reach", list(Reach))
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://localhost:81"},
        {"origin": "http://["},
        {"site": "cross-site"},
        {"site": "same-site"},
    ],
)
def test_pages_from_elsewhere_are_kept_out_everywhere(
    reach: Reach, headers: dict[str, str]
) -> None:
    guard = Guard(reach, [b"token"])
    caller = {"host": "localhost:80", "authorization": b"Bearer token", **headers}
    assert status(guard, **caller) == 403


def test_our_own_page_is_let_in() -> None:
    headers = {"host": "localhost:80", "origin": "http://localhost:80", "site": "same-origin"}
    assert status(Guard(Reach.LOOPBACK), **headers) == 200


@pytest.mark.parametrize("reach", [Reach.LOOPBACK, Reach.PUBLIC])
@pytest.mark.parametrize(
    "authorization, expected",
    [
        (None, 401),
        (b"", 401),
        (b"Bearer", 401),
        (b"Bearer wrong", 401),
        (b"Bearer one two", 401),
        (b"Basic one", 401),
        (b"Bearer \xff", 401),
        (b"Bearer one", 200),
        (b"bearer two", 200),
    ],
)
def test_tcp_wants_one_of_the_tokens_once_there_are_some(
    reach: Reach, authorization: bytes | None, expected: int
) -> None:
    guard = Guard(reach, [b"one", b"two"])
    assert status(guard, host="localhost", authorization=authorization) == expected


def test_without_a_token_nobody_from_elsewhere_gets_in() -> None:
    assert Guard(Reach.PUBLIC).closed
    assert status(Guard(Reach.PUBLIC), host="relay.example") == 401
    assert status(Guard(Reach.PUBLIC), host="relay.example", authorization=b"Bearer ") == 401


def test_a_client_certificate_is_as_good_as_a_token() -> None:
    guard = Guard(Reach.PUBLIC, certified=True)
    assert not guard.closed
    assert status(guard, host="relay.example") == 200


@pytest.mark.parametrize("path", [b"/", b"/healthz", b"/readyz", b"/page/app.js", b"/openapi.json"])
def test_health_and_the_page_need_no_token(path: bytes) -> None:
    assert status(Guard(Reach.PUBLIC, [b"token"]), path=path) == 200


@pytest.mark.parametrize("path", [b"/metrics", b"//", b"/healthz/", b"/healthz?x", b""])
def test_nothing_else_goes_without_one(path: bytes) -> None:
    assert status(Guard(Reach.PUBLIC, [b"token"]), path=path) == 401


@given(st.binary(max_size=40))
def test_no_other_octets_are_taken_for_the_token(guess: bytes) -> None:
    guard = Guard(Reach.PUBLIC, [b"sekret"])
    right = guess.strip() == b"sekret"
    assert (status(guard, authorization=b"Bearer " + guess) == 200) is right


def test_a_file_of_tokens_has_one_a_line() -> None:
    assert tokens_in(b"# for the board\none\n\n  two  \r\n") == (b"one", b"two")
    assert tokens_in(b"") == ()
