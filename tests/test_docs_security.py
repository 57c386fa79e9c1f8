"""What the pages about security claim is there: the tests, the rows, the measured table."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from bench.attacks.columns import COLUMNS
from bench.attacks.matrix import LEAKED_PRIVATE
from bench.attacks.rows import ROWS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "threat-model.rst").read_text()
POLICY = (ROOT / "SECURITY.md").read_text()

SHELF = (
    *("CVE-2017-14114", "CVE-2017-14099", "CVE-2025-53399", "AST-2017-008", "CVE-2023-51275"),
    *("CVE-2023-49786", "CVE-2023-51443", "CVE-2021-41105", "CVE-2020-26262", "CVE-2026-27624"),
    *("CVE-2021-43804", "CVE-2021-32686", "libsrtp", "ES2018-05"),
    *("1958", "1303", "1296", "1328", "1864"),
)
"""What was published about programs of this kind."""


def existing() -> set[str]:
    """Every test there is."""
    return {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"^\s*def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = set(re.findall(r"``(test_\w+)``", PAGE))
    assert len(named) > 50
    assert named - existing() == set()


@pytest.mark.parametrize("published", SHELF)
def test_every_known_weakness_is_on_the_page_with_a_test(published: str) -> None:
    rows = PAGE.partition("Known weaknesses of relays")[2].split("\n   * - ")
    found = [row for row in rows if published in row]
    assert found
    assert all("``test_" in row for row in found)


def test_every_threat_has_a_test_or_a_row() -> None:
    tables = PAGE.partition("Besides:")[2].partition("Known weaknesses")[0]
    threats = tables.split("\n   * - ")[1:]
    assert len(threats) > 20
    assert [each for each in threats if "``test_" not in each and "Shown by" not in each] == []


def test_the_threat_model_explains_every_row_of_the_matrix() -> None:
    table = PAGE.partition(".. attacks begin")[2].partition(".. attacks end")[0]
    told = re.findall(r"^(A\d+) ", table, re.MULTILINE)
    assert told == list(dict.fromkeys(row.name for row in ROWS if row.name.startswith("A")))


def test_the_documented_matrix_has_every_row_and_keeps_every_promise() -> None:
    with (ROOT / "docs" / "attack-matrix.csv").open(newline="") as file:
        headings, *lines = csv.reader(file)
    assert headings == ["Attack", "IP", *(column.name for column in COLUMNS)]
    titles = {row.title: row for row in ROWS}
    assert [(title, version) for title, version, *_ in lines] == [
        (row.title, version) for row in ROWS for version in ("4", "6")
    ]
    for title, _, *cells in lines:
        row = titles[title]
        for column, cell in zip(COLUMNS, cells, strict=True):
            if not column.strict:
                continue
            leaked, injected = map(int, re.findall(r"\d+", cell)[:2])
            most = LEAKED_PRIVATE if row.private else 0
            assert not row.promised or max(leaked, injected) <= most, (title, column.name)


def test_the_policy_has_what_a_reporter_and_an_operator_look_for() -> None:
    for heading in ("## Reporting", "## Supported versions", "## What is promised"):
        assert heading in POLICY
    for path in re.findall(r"\]\((docs/[\w.-]+)\)", POLICY):
        assert (ROOT / path).is_file(), path
