"""The page about verdicts lists the codes as they are."""

from __future__ import annotations

import re
from pathlib import Path

from rtpproxy_tw.quality.codecs import CODECS
from rtpproxy_tw.quality.verdict import CODES

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_about_verdicts_has_every_code_and_its_meaning() -> None:
    """In the order of the program, which is not alphabetical."""
    page = (DOCS / "verdicts.rst").read_text()
    table = page.partition(".. codes begin")[2].partition(".. codes end")[0]
    rows = re.findall(r"^``([a-z-]+)`` +(.+)$", table, re.MULTILINE)
    assert rows == list(CODES.items())


def test_the_page_about_quality_has_every_codec_with_a_score() -> None:
    """With its Ie, Bpl and scale."""
    page = (DOCS / "quality.rst").read_text()
    rows = re.findall(r"^([A-Z0-9]+) +(\d+) +([\d.]+) +([a-z]+)  ", page, re.MULTILINE)
    told = {(name, float(ie), float(bpl), scale) for name, ie, bpl, scale in rows}
    known = {
        (codec.name, float(codec.ie), codec.bpl, codec.scale)
        for codec in CODECS.values()
        if codec.ie is not None
    }
    assert told == known
