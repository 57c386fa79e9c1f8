"""What the page on check and doctor says is so."""

from __future__ import annotations

import re
from pathlib import Path

from rtpproxy_tw import probing
from rtpproxy_tw.doctor.examiner import SIZES
from rtpproxy_tw.tools import doctor
from rtpproxy_tw.tools.ctl import FOR_RELAYS, make_parser

TEXT = (Path(__file__).parents[1] / "docs" / "doctor.rst").read_text(encoding="utf-8")


def test_numbers_are_those_of_the_program() -> None:
    """Bounds of what one relay does for another."""
    plain = TEXT.replace("\n", " ")
    assert f"{probing.RATE:,} a second, {probing.MOST_PROBES:,} and" in plain
    assert f"{probing.MOST_OCTETS >> 20} MB" in plain
    assert "four examinations at a time" in plain
    assert probing.MOST_EXAMINATIONS == 4
    assert probing.LIFETIME == 600
    assert f"are bound at a time ({doctor.WIDTH})" in plain
    assert ", ".join(map(str, SIZES[:-1])) + f" and {SIZES[-1]} octets" in plain


def test_every_option_of_both_is_on_the_page() -> None:
    """And argparse knows each of them, for the help and for completion."""
    known = set(re.findall(r"--[a-z-]+", make_parser().format_help()))
    for options in FOR_RELAYS.values():
        for name in options.keys() - {"-h", "--help"} - known:
            assert f"``{name}" in TEXT or f" {name} " in TEXT or f"[{name}" in TEXT, name
