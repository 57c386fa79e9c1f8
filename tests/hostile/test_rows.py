"""No row is forgotten, in the tests or on the page."""

from __future__ import annotations

import ast
import csv
import re
from pathlib import Path

import pytest

from tests.hostile import exemptions
from tests.hostile.exemptions import Exemption
from tests.hostile.rows import HERE, ROWS, TITLES, Row, own_tests, row_of

ROOT = Path(__file__).parent.parent


def test_there_are_as_many_rows_as_the_plan_has() -> None:
    assert [len([row for row in ROWS if row.name[0] == letter]) for letter in "ABCD"] == [
        *(34, 34, 28, 14)
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_row_has_a_test(row: Row) -> None:
    assert own_tests()[row.name] or any("::" in each for each in row.elsewhere)


def test_no_test_is_of_a_row_that_is_not_there() -> None:
    assert set(own_tests()) == {row.name for row in ROWS}


@pytest.mark.parametrize("row", [row for row in ROWS if row.elsewhere], ids=lambda row: row.name)
def test_what_is_named_besides_exists(row: Row) -> None:
    for each in row.elsewhere:
        path, _, name = each.partition("::")
        text = (ROOT / path).read_text()
        assert not name or re.search(rf"def {name}\(", text), each


def test_the_page_has_an_outcome_of_every_row() -> None:
    with (ROOT.parent / "docs" / "hostile.csv").open(newline="") as file:
        heading, *lines = csv.reader(file)
    assert heading == TITLES
    assert [line[0] for line in lines] == [row.name for row in ROWS]
    assert [line[1] for line in lines] == [row.what for row in ROWS]


def excused() -> dict[str, set[str]]:
    """The rows whose tests name each exemption."""
    found: dict[str, set[str]] = {
        name: set() for name, value in vars(exemptions).items() if isinstance(value, Exemption)
    }
    for path in HERE.glob("test_*.py"):
        for test in ast.parse(path.read_text()).body:
            if isinstance(test, ast.FunctionDef) and (row := row_of(test.name)):
                names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
                for name in names & set(found):
                    found[name].add(row)
    return found


def test_the_page_names_every_exemption_its_rows_and_why() -> None:
    page = " ".join((ROOT.parent / "docs" / "hostile.rst").read_text().split())
    for name, rows in excused().items():
        listed = ", ".join(sorted(rows, key=lambda row: (row[0], int(row[1:]))))
        assert f"{name}: {listed} {getattr(exemptions, name).why}." in page, name
