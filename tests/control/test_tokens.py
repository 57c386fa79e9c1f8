"""Words, numbers and cookies of the control language, and their escaped form in logs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtpproxy_tw.control.escape import MAX_SHOWN, Escaped, escaped, token
from rtpproxy_tw.control.tokens import HUGE, integer, split, split_cookie, text, url_decode
from rtpproxy_tw.errors import CommandError


def refused(command: bytes) -> int:
    """The code with which splitting ``command`` fails."""
    with pytest.raises(CommandError) as caught:
        split(command)
    return caught.value.code


@pytest.mark.parametrize("command", [b"V", b" V", b"V\n", b"\t V \r\n", b"V\r\n\r\n  "])
def test_white_space_around_a_command_means_nothing(command: bytes) -> None:
    assert split(command) == [[b"V"]]


def test_runs_of_separators_count_once() -> None:
    assert split(b"D  a\t\t\r\n b") == [[b"D", b"a", b"b"]]


@pytest.mark.parametrize("octet", [b"\x0b", b"\x0c", b"\xa0", b"\x85", b"\x1f", b"\xff"])
def test_nothing_else_separates_words(octet: bytes) -> None:
    assert split(b"D a" + octet + b"b") == [[b"D", b"a" + octet + b"b"]]


def test_sub_commands_are_split_off() -> None:
    assert split(b"Q a f && D && S ttl=1") == [[b"Q", b"a", b"f"], [b"D"], [b"S", b"ttl=1"]]


@pytest.mark.parametrize("word", [b"&&D", b"f&&", b"&&&", b"&"])
def test_ampersands_within_a_word_are_part_of_it(word: bytes) -> None:
    assert split(b"Q a " + word) == [[b"Q", b"a", word]]


@pytest.mark.parametrize(
    "command",
    [b"", b" ", b"\r\n", b"&&", b"&& V", b"V &&", b"V && && V", b"V\0", b"\0", b"V a\0b", b"Z &&"],
)
def test_nothing_to_execute_is_error_5(command: bytes) -> None:
    assert refused(command) == 5


def test_a_command_has_at_most_23_words() -> None:
    assert len(split(b"G" + b" x" * 22)[0]) == 23
    assert refused(b"G" + b" x" * 23) == 5


def test_a_sub_command_has_at_most_23_words() -> None:
    assert len(split(b"V && G" + b" x" * 22)[1]) == 23
    assert refused(b"V && G" + b" x" * 23) == 5


def test_a_command_has_at_most_15_sub_commands() -> None:
    assert len(split(b"V" + b" && V" * 15)) == 16
    assert refused(b"V" + b" && V" * 16) == 5


@pytest.mark.parametrize(
    "datagram, cookie, command",
    [
        (b"25752_4 V", b"25752_4", b" V"),
        (b" 25752_4\tV\n", b"25752_4", b"\tV\n"),
        (b"ck3", b"ck3", b""),
        (b"ck3\n", b"ck3", b"\n"),
        (b"", None, b""),
        (b" \r\n", None, b""),
        (b"%n\x1b[31m V", b"%n\x1b[31m", b" V"),
        (b"c\0k V", None, b""),
        (b"x" * 512 + b" V", b"x" * 512, b" V"),
        (b"x" * 513 + b" V", None, b""),
    ],
)
def test_the_cookie_is_the_first_word(
    datagram: bytes, cookie: bytes | None, command: bytes
) -> None:
    assert split_cookie(datagram) == (cookie, command)


@pytest.mark.parametrize(
    "word, value",
    [
        (b"0", 0),
        (b"5000", 5000),
        (b"+5", 5),
        (b"-1", -1),
        (b"-0", 0),
        (b"0000000000000000000000000080", 80),
        (b"999999999999999999", 10**18 - 1),
        (b"1000000000000000000", HUGE),
        (b"9" * 8000, HUGE),
        (b"-" + b"9" * 8000, -HUGE),
        (b"0" * 8000, 0),
    ],
)
def test_integers_are_decimal_and_saturate(word: bytes, value: int) -> None:
    assert integer(word) == value


@pytest.mark.parametrize(
    "word", [b"", b"-", b"+", b"0x50", b"1e3", b"5x", b" 5", b"\x0b5", b"--5", "٣".encode(), b"5\n"]
)
def test_anything_else_is_no_integer(word: bytes) -> None:
    assert integer(word) is None


@pytest.mark.parametrize(
    "tag, decoded",
    [
        (b"call%2Fid", b"call/id"),
        (b"r%201", b"r 1"),
        (b"r+1%2b2", b"r 1+2"),
        (b"%E2%82%ac\xff", b"\xe2\x82\xac\xff"),
        (b"a%0Ab%0dc%00d", b"a%0Ab%0dc%00d"),
        (b"%2541", b"%41"),
        (b"", b""),
    ],
)
def test_notify_tags_are_url_decoded_into_one_line(tag: bytes, decoded: bytes) -> None:
    assert url_decode(tag) == decoded


@pytest.mark.parametrize("tag", [b"%", b"%4", b"%zz", b"%4g", b"a%", b"%%41", b"%+41"])
def test_a_stray_percent_sign_is_error_10(tag: bytes) -> None:
    with pytest.raises(CommandError, match="notify tag") as caught:
        url_decode(tag)
    assert caught.value.code == 10


@settings(deadline=None)
@given(st.binary())
def test_a_word_comes_back_as_the_same_bytes(word: bytes) -> None:
    assert text(word).encode("utf-8", "surrogateescape") == word


@pytest.mark.parametrize(
    "data, shown",
    [
        (b"V", "V"),
        (b"a\r\nb\t", "a\\r\\nb\\t"),
        (b"\x1b[31mred\x7f\0", "\\x1b[31mred\\x7f\\x00"),
        (b"\xff\xc3\xbc", "\\xffü"),
        ("\u202eevil\u2028\x85".encode(), "\\u202eevil\\u2028\\x85"),
    ],
)
def test_control_and_invisible_characters_are_escaped_in_logs(data: bytes, shown: str) -> None:
    assert escaped(data) == shown
    assert str(Escaped(data)) == shown
    assert token(data) == f"'{shown}'"


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_what_is_logged_is_one_short_printable_line(data: bytes) -> None:
    shown = escaped(data)
    assert shown.isprintable()
    assert len(shown) <= MAX_SHOWN + 1
    assert shown.endswith("…") or len(data) <= MAX_SHOWN


@given(
    st.lists(st.sampled_from([b" ", b"\t", b"\r", b"\n", b"\v", b"\f", b"&&", b"&", b"a", b"b9"]))
)
def test_words_are_what_lies_between_separators(pieces: list[bytes]) -> None:
    """However they are found; the fast way is for commands without anything unusual."""
    command = b"V " + b"".join(pieces)
    words = re.split(rb"[ \t\r\n]+", command.strip(b" \t\r\n"))
    if len(words) > 23 or b"&&" in words:
        return
    assert split(command) == [words]


@given(st.from_regex(rb"[+-]?[0-9]{0,25}x?", fullmatch=True))
def test_numbers_are_the_same_however_they_are_read(word: bytes) -> None:
    if not re.fullmatch(rb"[+-]?[0-9]+", word):
        assert integer(word) is None
    else:
        assert integer(word) == max(-HUGE, min(HUGE, int(word))) or abs(int(word)) >= 10**18
