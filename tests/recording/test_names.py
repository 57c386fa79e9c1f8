"""The names recordings get."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.recording.names import (
    encode,
    session_endings,
    session_stem,
    target_endings,
    target_stem,
    unused,
)
from rtpproxy_tw.session import SessionKey, Side

tokens = st.binary(min_size=1, max_size=80).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
keys = st.builds(SessionKey, tokens, tokens)


@pytest.mark.parametrize(
    "call_id, from_tag, stem",
    [
        ("a84b4c76e66710@pc33.example.com", "19283", "a84b4c76e66710@pc33.example.com=19283"),
        ("call", "tag;1", "call=tag"),
        ("call", "tag;2", "call=tag+2"),
        ("call", "tag;a;12", "call=tag%3Ba+12"),
        ("call", "tag;x", "call=tag%3Bx"),
        ("call", "tag;\u00b2", "call=tag%3B%C2%B2"),
        ("call", "a=b;1", "call=a%3Db"),
        ("a=b", "tag", "a=b=tag"),
        ("../../etc/cron.d/x", "t", "%2E.%2F..%2Fetc%2Fcron.d%2Fx=t"),
        ("/abs", "t", "%2Fabs=t"),
        (".", "t", "%2E=t"),
        ("a%00b", "t", "a%2500b=t"),
        ("a;b\\c~+", "t", "a%3Bb%5Cc%7E%2B=t"),
        ("\N{GRINNING FACE}", "t", "%F0%9F%98%80=t"),
        ("\udcff\x1b[2J", "t", "%FF%1B%5B2J=t"),
    ],
)
def test_a_session_s_recording_has_a_harmless_name(call_id: str, from_tag: str, stem: str) -> None:
    assert session_stem(SessionKey(call_id, from_tag)) == stem


def test_the_files_of_a_session_are_named_by_side_and_component() -> None:
    assert session_endings(Side.CALLER, rtcp=True, single=False) == (".o.rtp", ".o.rtcp")
    assert session_endings(Side.CALLEE, rtcp=True, single=False) == (".a.rtp", ".a.rtcp")
    assert session_endings(Side.CALLEE, rtcp=False, single=False) == (".a.rtp",)
    assert session_endings(Side.CALLER, rtcp=True, single=True) == (".pcap",)


def test_the_files_of_a_target_are_named_by_component() -> None:
    assert target_endings(rtcp=True, single=False) == (".rtp", ".rtcp")
    assert target_endings(rtcp=False, single=False) == (".rtp",)
    assert target_endings(rtcp=True, single=True) == ("",)


@pytest.mark.parametrize(
    "target, stem",
    [
        ("name.a", "name.a"),
        ("../up", "%2E.%2Fup"),
        ("..", "%2E."),
        ("sub/file", "sub%2Ffile"),
        ("/etc/passwd", "%2Fetc%2Fpasswd"),
    ],
)
def test_a_target_cannot_leave_the_directory(target: str, stem: str) -> None:
    assert target_stem(target) == stem


@given(keys)
def test_any_session_gives_a_name_that_file_systems_take(key: SessionKey) -> None:
    stem = session_stem(key)
    assert re.fullmatch(r"[A-Za-z0-9_@%=-][A-Za-z0-9._@%=+-]*", stem)
    assert len(f"{stem}~12345.o.rtcp") < 255


@given(tokens)
def test_any_target_gives_a_name_that_file_systems_take(target: str) -> None:
    stem = target_stem(target)
    assert re.fullmatch(r"[A-Za-z0-9_@%=-][A-Za-z0-9._@%=-]*", stem)
    assert len(stem) < 200


@given(tokens, tokens)
def test_different_texts_are_encoded_differently(one: str, other: str) -> None:
    assert (encode(one) == encode(other)) == (one == other)


@given(keys, keys)
def test_only_the_first_medium_shares_a_name_with_the_bare_tag(
    one: SessionKey, other: SessionKey
) -> None:
    def bare(key: SessionKey) -> tuple[str, str]:
        return key.call_id, key.from_tag.removesuffix(";1")

    assert (session_stem(one) == session_stem(other)) == (bare(one) == bare(other))


def test_long_names_are_cut_and_stay_different() -> None:
    one, other = (session_stem(SessionKey("/" * 10_000, tag)) for tag in "ab")
    assert one != other
    assert len(one) == len(other) == 120 + 33
    assert one[:120] == "%2F" * 40


def test_a_cut_does_not_leave_half_an_escape() -> None:
    stem = target_stem("ab" + "/" * 100)
    assert re.fullmatch(r"ab(%2F)+-[0-9a-f]{32}", stem)


def test_a_name_in_use_is_marked() -> None:
    endings = (".o.rtp", ".o.rtcp")
    assert unused("s", endings, ()) == ("s.o.rtp", "s.o.rtcp")
    assert unused("s", endings, {"s.o.rtcp"}) == ("s~2.o.rtp", "s~2.o.rtcp")
    assert unused("s", endings, {"s.o.rtp", "s~2.o.rtcp"}) == ("s~3.o.rtp", "s~3.o.rtcp")
