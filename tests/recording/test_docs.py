"""The page about recordings names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
PAGE = TESTS.parent / "docs" / "recording.rst"


def test_every_test_the_page_names_is_there() -> None:
    table = PAGE.read_text().partition("What shows it\n")[2].partition("What differs")[0]
    named = re.findall(r"``([a-z0-9_]+/test_[a-z0-9_]+\.py)``:((?:\s+``test_\w+``,?)+)", table)
    assert len(named) > 20
    missing = [
        f"{file}: {name}"
        for file, names in named
        for name in re.findall(r"test_\w+", names)
        if f"def {name}(" not in (TESTS / file).read_text()
    ]
    assert missing == []
    assert table.count("``test_") == sum(names.count("``test_") for _, names in named)
