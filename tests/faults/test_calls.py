"""No call is forgotten on the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.calls import ALONE, SPARED, SPARED_ALONE, TELLING, Call

PAGE = Path(__file__).parent.parent.parent / "docs" / "fuzzing.rst"


@pytest.mark.parametrize("call", [*ALONE, *TELLING], ids=lambda call: call.name)
def test_the_page_has_each_call_with_its_errors(call: Call) -> None:
    assert f"   * - {call.name}\n     - {', '.join(call.errors)}\n" in PAGE.read_text()


def test_no_call_is_both_made_to_fail_and_spared() -> None:
    assert not set(SPARED_ALONE) & set().union(*(call.names for call in ALONE))
    assert not set(SPARED) & set().union(*(call.names for call in (*ALONE, *TELLING)))
