"""The page on the protocol lists the errors that the demo explains."""

from __future__ import annotations

import re
from pathlib import Path

from rtpproxy_tw.tools.error_codes import MEANINGS

PAGE = Path(__file__).parents[2] / "docs" / "protocol.rst"


def test_the_page_has_every_error_in_the_same_words() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("\nErrors\n------\n")[2]
    rows = re.findall(r"^E(\d+) +(\S.*)$", section, re.MULTILINE)
    assert {int(code): words for code, words in rows} == MEANINGS
