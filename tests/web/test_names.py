"""Names from the network in JSON and in paths."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.views.text import MAX_SHOWN, identifier, shown, to_json, unescaped

OCTETS = st.binary(max_size=60)


@given(OCTETS)
def test_a_name_is_found_again_by_its_identifier(octets: bytes) -> None:
    name = octets.decode("utf-8", "surrogateescape")
    assert unescaped(identifier(name)) == name


@given(OCTETS)
def test_an_identifier_is_one_segment_of_a_path(octets: bytes) -> None:
    made = identifier(octets.decode("utf-8", "surrogateescape"))
    assert made.isascii()
    assert not set(made) & set('/?#\\ \r\n"<>')


@given(OCTETS)
def test_what_is_shown_is_unicode_that_every_reader_of_json_takes(octets: bytes) -> None:
    text = to_json({"x": shown(octets.decode("utf-8", "surrogateescape"))})
    json.loads(text)["x"].encode()  # no surrogates
    assert text.isascii()
    assert not set(text) & set(b"<>")


def test_a_long_name_is_cut() -> None:
    assert len(shown("x" * 100_000)) == MAX_SHOWN + 1
