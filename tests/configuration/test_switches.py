"""Command lines are read as getopt_long of the C library reads them."""

from __future__ import annotations

import getopt
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.configuration.switches import (
    INFORMATIVE,
    SECTIONS,
    SWITCHES,
    CommandLineError,
    Given,
    Takes,
    read_arguments,
    spelled,
    usage,
)

ORIGINALS = "vf2Rl:6:s:S:t:r:p:T:L:m:M:u:Fin:Pad:Vc:A:w:bW:DC"
"""The original's short options, as it hands them to getopt."""


@pytest.mark.parametrize(
    "line, expected",
    [
        ("", []),
        ("-f", [("foreground", "")]),
        ("-fFl 127.0.0.1", [("foreground", ""), ("allow_root", ""), ("listen", "127.0.0.1")]),
        ("-fFl127.0.0.1", [("foreground", ""), ("allow_root", ""), ("listen", "127.0.0.1")]),
        ("-m40000", [("min_port", "40000")]),
        ("-m 40000 -M50000", [("min_port", "40000"), ("max_port", "50000")]),
        ("-t -1", [("tos", "-1")]),
        ("-s -f", [("control", "-f")]),
        ("-s --", [("control", "--")]),
        ("-l=x", [("listen", "=x")]),
        ("-62", [("listen6", "2")]),
        ("-26 ::1", [("send_twice", ""), ("listen6", "::1")]),
        ("-f --", [("foreground", "")]),
        ("--nice -5", [("nice", "-5")]),
        ("--nice=-5", [("nice", "-5")]),
        ("--nice=", [("nice", "")]),
        ("--nice a=b", [("nice", "a=b")]),
        ("--config=a=b", [("config", "a=b")]),
        ("--no_resolve", [("no_resolve", "")]),
        ("--no-resolve", [("no_resolve", "")]),
        ("--overload_prot", [("overload_prot", "")]),
        ("--overload_prot=0.9", [("overload_prot", "")]),
        ("--overload_prot --no_redirect", [("overload_prot", ""), ("no_redirect", "")]),
        ("--conf x", [("config", "x")]),
        ("--con x", [("config", "x")]),
        ("--d x", [("dso", "x")]),
        ("--br", [("bridge_symmetric", "")]),
        ("--no_res", [("no_resolve", "")]),
        ("--max-s 3", [("max_sessions", "3")]),
        ("-l a -l b", [("listen", "a"), ("listen", "b")]),
        ("-v --bogus -T", [("extensions", "")]),
        ("-fV rubbish", [("foreground", ""), ("version", "")]),
        ("-C -x", [("clock", "")]),
        ("-h", [("help", "")]),
        ("--help", [("help", "")]),
    ],
)
def test_options_are_found_in_their_order(line: str, expected: list[tuple[str, str]]) -> None:
    assert read_arguments(shlex.split(line)) == [Given(*item) for item in expected]


@pytest.mark.parametrize(
    "line, told",
    [
        ("-x", "-x: there is no such option"),
        ("-fx", "-x: there is no such option"),
        ("-f-", "--: there is no such option"),
        ("--bogus", "--bogus: there is no such option"),
        ("--=x", "--: there is no such option"),
        ("--no", "--no could be any of --no_resolve, --no_redirect"),
        ("--max 1", "--max could be any of --max-port, --max-duration"),
        ("-T", "-T/--ttl needs a value"),
        ("-fT", "-T/--ttl needs a value"),
        ("--nice", "--nice needs a value"),
        ("--no_resolve=1", "--no_resolve takes no value"),
        ("stop", "stop: this is not an option's value"),
        ("-f now -i please", "now please: this is not an option's value"),
        ("-f -- -i", "-i: this is not an option's value"),
        ("-", "-: this is not an option's value"),
    ],
)
def test_what_is_no_option_is_refused_by_name(line: str, told: str) -> None:
    with pytest.raises(CommandLineError) as refused:
        read_arguments(shlex.split(line))
    assert told in str(refused.value)


def test_every_option_of_the_original_is_there_and_takes_what_it_took() -> None:
    shorts = {switch.short: switch for switch in SWITCHES.values() if switch.short}
    for position, letter in enumerate(ORIGINALS):
        if letter == ":":
            continue
        valued = ORIGINALS[position + 1 : position + 2] == ":"
        assert (shorts[letter].takes is not Takes.NOTHING) is valued, letter
    originals = {name for name, switch in SWITCHES.items() if switch.original}
    assert originals == {
        *("dso", "bridge_symmetric", "nice", "overload_prot", "config", "force_asymmetric"),
        *("no_resolve", "no_redirect"),
    }


def test_names_and_letters_are_unique() -> None:
    rows = [switch for section in SECTIONS.values() for switch in section]
    letters = [switch.short for switch in rows if switch.short]
    assert len({switch.name for switch in rows}) == len(rows)
    assert len(set(letters)) == len(letters)


def test_options_are_spelled_with_both_names() -> None:
    assert spelled("ttl") == "-T/--ttl"
    assert spelled("setup_ttl") == "-W/--setup-ttl"
    assert spelled("no_resolve") == "--no_resolve"


def test_the_usage_text_has_every_option_and_fits_a_terminal() -> None:
    text = usage("program")
    assert text.startswith("Usage: program [options]\n")
    for name in SWITCHES:
        assert spelled(name).rpartition("/")[2] in text
    assert max(map(len, text.splitlines())) <= 80


WORD = st.text("fFbi2PaRDlmTsd-=x6", max_size=6)


@given(st.lists(WORD, max_size=6))
def test_short_options_are_read_as_getopt_reads_them(words: list[str]) -> None:
    # Long names are ours and the informative ones end the reading; neither is in question here.
    arguments = [word for word in words if not word.startswith("--") or word == "--"]
    try:
        pairs, operands = getopt.gnu_getopt(arguments, ORIGINALS)
        assert not operands
    except (getopt.GetoptError, AssertionError):
        with pytest.raises(CommandLineError):
            read_arguments(arguments)
        return
    shorts = {switch.short: switch.name for switch in SWITCHES.values()}
    assert read_arguments(arguments) == [Given(shorts[flag[1]], text) for flag, text in pairs]


@given(st.lists(st.text(max_size=12), max_size=5))
def test_any_arguments_are_read_or_refused(arguments: list[str]) -> None:
    try:
        found = read_arguments(arguments)
    except CommandLineError:
        return
    assert all(item.name in SWITCHES for item in found)
    assert all(item.name not in INFORMATIVE for item in found[:-1])
