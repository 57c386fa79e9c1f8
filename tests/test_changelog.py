"""Changes that are not released yet become a version's section of the change log."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent

SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "packaging" / "changelog"), run_name="script")


def test_every_file_waiting_has_a_name_of_the_kind_it_should_have() -> None:
    fragments, files = SCRIPT["collected"](ROOT / "changelog.d")
    assert sum(map(len, fragments.values())) == len(files)
    assert all(text.strip().endswith((".", ")")) for each in fragments.values() for text in each)


def test_a_file_of_no_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thing.rst").write_text("It works.")
    with pytest.raises(ValueError, match=r"thing\.rst"):
        SCRIPT["collected"](tmp_path)


def test_what_is_urgent_comes_first() -> None:
    fragments = {"feature": ["One\nthing.\n"], "security": ["Less.\n"]}
    assert SCRIPT["section"]("1.2.0", "2026-12-01", fragments) == (
        "1.2.0, 2026-12-01\n-----------------\n\n"
        "Security\n~~~~~~~~\n\n* Less.\n\n"
        "New\n~~~\n\n* One\n  thing.\n"
    )


def test_a_release_takes_the_place_of_what_was_not_released() -> None:
    log = (
        "Changes\n=======\n\nWords.\n\n0.1.0, not released yet\n-----------------------\n\nNone.\n"
    )
    once = SCRIPT["put"](log, "0.1.0, today\n------------\n\n* New.\n")
    assert once.startswith("Changes\n=======\n\nWords.\n\n0.1.0, today\n")
    assert "not released" not in once
    twice = SCRIPT["put"](once, "0.2.0, later\n------------\n\n* Newer.\n")
    assert twice.index("0.2.0, later") < twice.index("0.1.0, today")


def test_the_log_of_the_project_can_be_added_to() -> None:
    """Whatever is in it by now."""
    log = (ROOT / "CHANGELOG.rst").read_text()
    done = SCRIPT["put"](log, "99.0.0, later\n-------------\n\n* New.\n")
    assert done.splitlines()[:2] == ["Changes", "======="]
    assert "99.0.0" in done
