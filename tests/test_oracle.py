"""The window to the original's engine shows what is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oracle import Oracle, OracleError, needs_oracle

pytestmark = needs_oracle


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with Oracle() as engine:
        yield engine


def test_a_command_gets_its_reply(oracle: Oracle) -> None:
    assert oracle.ask("V") == "20040107"


@pytest.mark.parametrize("line", ["", "  ", "\t\r"])
def test_an_empty_line_gets_a_reply_too(oracle: Oracle, line: str) -> None:
    assert oracle.ask(line) == "E5"


@pytest.mark.parametrize(
    "line, lines", [("I", 5), ("i", 5), ("Ib", 5), ("Il", 6), (" IBL ", 6), ("Ix", 1)]
)
def test_a_reply_of_several_lines_is_read_wholly(oracle: Oracle, line: str, lines: int) -> None:
    assert len(oracle.ask(line).split("\n")) == lines
    assert oracle.ask("V") == "20040107"


def test_bytes_that_are_no_text_can_be_asked(oracle: Oracle) -> None:
    assert oracle.ask("D \udcff\udc80 f t") == "E50"


def test_more_than_one_command_at_once_is_refused(oracle: Oracle) -> None:
    with pytest.raises(ValueError, match="not one line"):
        oracle.ask("V\nV")


def test_each_engine_begins_with_nothing() -> None:
    with Oracle() as engine:
        assert engine.ask("G ncmds_rcvd") == "1"


def test_when_a_reply_fails_to_come_nothing_more_is_asked() -> None:
    with Oracle(timeout=0.3) as engine:
        with pytest.raises(OracleError, match="no reply"):
            engine.ask("V" * 9000)
        with pytest.raises(OracleError, match="no reply"):
            engine.ask("V")


def test_nothing_is_left_of_it() -> None:
    with Oracle() as engine:
        folder = engine.directory
        assert Path(f"/proc/{engine.pid}").exists()
    assert not folder.exists()
    assert not Path(f"/proc/{engine.pid}").exists()
