"""The original's modules and the file that names them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.configuration.modules_file import (
    MAX_DEPTH,
    MODULES,
    Tree,
    of_file,
    of_file_name,
    parse,
)
from rtpproxy_tw.errors import ConfigError


@pytest.mark.parametrize(
    "text, tree",
    [
        ("", {}),
        ("# nothing\n", {}),
        ("modules {}", {"modules": {}}),
        ("modules { acct_csv {} }", {"modules": {"acct_csv": {}}}),
        ("a = 1", {"a": "1"}),
        ("a: 1", {"a": "1"}),
        ("a 1;", {"a": "1"}),
        ("a = 1; b = 2", {"a": "1", "b": "2"}),
        ("a=1\nb=2", {"a": "1", "b": "2"}),
        ("a = {b = 1}, c = 2,", {"a": {"b": "1"}, "c": "2"}),
        ('a = "x y # z"', {"a": "x y # z"}),
        (r'a = "x\"y\\"', {"a": 'x"y\\'}),
        ("a = ../x/rtpp.so # where it is", {"a": "../x/rtpp.so"}),
        ("a = http://x:1/#y", {"a": "http://x:1/#y"}),
        ("/* a = 1\n b { */ c = * ", {"c": "*"}),
        ('{"modules": {"acct_csv": {}, "b": {}}}', {"modules": {"acct_csv": {}, "b": {}}}),
    ],
)
def test_sections_and_values_are_found(text: str, tree: Tree) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    "text, told",
    [
        ("modules {", "line 1: a name was expected"),
        ("modules {\n acct_csv {\n", "line 3: a name was expected"),
        ("a =", "line 1: a value was expected"),
        ("a = }", "line 1: a value was expected"),
        ("\na = [1]", "line 2: a value was expected"),
        ("}", "line 1: a name was expected"),
        ("= 1", "line 1: a name was expected"),
        ("{} a = 1", "line 1: something follows the end"),
        ('a = "b', "line 1: this cannot be read"),
        ("a {" * (MAX_DEPTH + 2), "line 1: sections are nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert str(refused.value) == told


@given(st.lists(st.sampled_from([*'{}[]=:;,"\\#\n/* ', "a", "modules"]), max_size=30).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ConfigError):
        parse(text)


def test_an_existing_file_of_the_original_is_taken() -> None:
    text = """
    modules {
        acct_csv {
            load = ../modules/acct_csv/.libs/rtpp_acct_csv_debug.so
        }
        catch_dtmf { load = /usr/lib/rtpproxy/rtpp_catch_dtmf.so }
    }
    logging { level = 3 }
    """
    assert of_file(text) == ("acct_csv", "catch_dtmf")


@pytest.mark.parametrize(
    "text, told",
    [
        ("modules { magic {} }", "module magic: there is no such module"),
        ("modules { dtls_gw {} }", "module dtls_gw: not supported yet"),
        ("modules { ice_lite {} }", "module ice_lite: not supported yet"),
        (
            "modules { acct_rtcp_hep { capt_host = 10.0.0.1; capt_port = 9060 } }",
            "module acct_rtcp_hep: not supported yet",
        ),
        ("modules { acct_csv { path = /x } }", "module acct_csv: there is no setting path"),
        ("modules { acct_csv = yes }", "module acct_csv: its settings"),
        ("modules = none", "modules: must be a section"),
    ],
)
def test_modules_that_cannot_be_had_are_refused_by_name(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        of_file(text)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "file",
    ["rtpp_acct_csv.so", "/usr/lib/rtpproxy/rtpp_acct_csv.so", "./x/rtpp_acct_csv_debug.so"],
)
def test_a_module_is_known_by_the_name_of_its_file(file: str) -> None:
    assert of_file_name(file) == "acct_csv"


@pytest.mark.parametrize("file", ["", "acct_csv", "rtpp_.so", "rtpp_acct_csv.so.1", "rtpp_x/y.so"])
def test_files_of_other_names_are_no_modules(file: str) -> None:
    with pytest.raises(ConfigError, match="--dso"):
        of_file_name(file)


def test_every_module_of_the_original_is_known() -> None:
    assert set(MODULES) == {"acct_csv", "acct_rtcp_hep", "catch_dtmf", "dtls_gw", "ice_lite"}
