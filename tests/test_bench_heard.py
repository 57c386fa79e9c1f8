"""The benchmark of what calls hear of other work: that it does what it says, not its figures."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from bench import heard
from bench.plan import FULL, Progress
from bench.results import table

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="the load is built with gcc"),
]


def test_every_disturbance_takes_place_beside_media(monkeypatch: pytest.MonkeyPatch) -> None:
    """With so few packets a second that any machine can."""
    asked: list[str] = []

    def fetch(path: str, what: str) -> bytes:
        asked.append(what)
        return plainly(path, what)

    plainly = heard.fetch
    monkeypatch.setattr(heard, "fetch", fetch)
    monkeypatch.setattr(heard, "RATE", 200.0)
    monkeypatch.setattr(heard, "LEARNING", 0.3)
    plan = replace(FULL, sessions=12, repeats=1, window=0.2)
    section = heard.measure(plan, [heard.Answering("relay")], Progress(quiet=True))
    told = table(section, ["relay"])
    for what in (
        heard.ALONE,
        "500 set-ups a second",
        "scrapes",
        "lists of all calls",
        "recordings",
    ):
        assert f"p99, {what}" in told
    assert {"/metrics", "/api/v1/calls?limit=10000"} == set(asked)


def test_an_answer_that_is_none_is_told() -> None:
    """Else a bench would measure refusals."""

    def refuse() -> None:
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError), heard.again_and_again(refuse):
        pass
