"""The page that names tests and benchmarks names such as there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

NAMED = re.findall(
    r"``((?:tests|bench)/\S+?\.py)(?:::(\w+))?``", (ROOT / "docs/evidence.rst").read_text()
)


def test_the_page_names_many() -> None:
    assert len(NAMED) > 50


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMED}))
def test_every_test_that_is_named_is_there(path: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    known = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    wanted = {name for each, name in NAMED if each == path and name}
    assert wanted <= known
    assert path.startswith("bench/") or any(name.startswith("test_") for name in known)


def test_the_number_of_scenes_is_as_told() -> None:
    from tests.quality.test_verdict import TABLE

    told = re.search(r"table of (\d+) scenes", (ROOT / "docs/evidence.rst").read_text())
    assert told is not None
    assert int(told[1]) == len(TABLE)
