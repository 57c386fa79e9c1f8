"""The guides: every page has its place, every verdict advice, every setting in a table exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rtpproxy_tw.configuration.switches import SWITCHES
from rtpproxy_tw.configuration.toml_reader import from_toml
from rtpproxy_tw.quality.verdict import CODES
from tests.packages.guide import GUIDES, Step, names, steps_of

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

KEYS = {name for name, switch in SWITCHES.items() if switch.stored}
THEIRS = {"use_media_proxy", "engage_media_proxy", "rtpp_notify_socket", "table"}
"""Words of others in our column."""

OURS = re.compile(r"^ {5}- (.*(?:\n {7}.*)*)", re.MULTILINE)


def test_every_page_is_in_the_index() -> None:
    """Else Sphinx warns, and nobody finds it."""
    index = set(re.findall(r"^   ([\w/-]+)$", (DOCS / "index.rst").read_text(), re.MULTILINE))
    pages = {path.stem for path in DOCS.glob("*.rst") if ":orphan:" not in path.read_text()[:20]}
    assert pages - {"index"} <= index
    assert {f"guides/{name}" for name in names()} <= index


def test_every_verdict_has_advice() -> None:
    """By its code, and no code is made up."""
    text = (GUIDES / "troubleshooting.rst").read_text()
    listed = text.partition(".. verdicts begin")[2].partition(".. verdicts end")[0]
    assert re.findall(r"^``([a-z-]+)``$", listed, re.MULTILINE) == list(CODES)


@pytest.mark.parametrize("name", ["from-rtpengine", "from-mediaproxy"])
def test_the_settings_in_the_tables_for_newcomers_exist(name: str) -> None:
    """As keys of the settings file."""
    ours = " ".join(OURS.findall((GUIDES / f"{name}.rst").read_text()))
    found = set(re.findall(r"``([a-z_]+)(?: = [^`]*)?``", ours))
    words = {each for each in found if "_" in each or f"``{each} = " in ours}
    assert len(words) > 4
    assert words - THEIRS <= KEYS


@pytest.mark.parametrize("name", names())
def test_the_settings_a_guide_writes_are_understood(name: str) -> None:
    """By the relay itself, without starting it."""
    for step in steps_of(name):
        if step.file.endswith(".toml"):
            assert from_toml(step.text).given


def test_blocks_become_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files by their captions, commands, and what is not to be tried."""
    text = """
.. code-block:: ini
   :caption: /etc/a.conf

   [a]
     b = 'c'

.. code-block:: sh

   one
   two

.. code-block:: sh
   :class: elsewhere

   three

.. code-block:: yaml

   read: me
"""
    (tmp_path / "x.rst").write_text(text)
    monkeypatch.setattr("tests.packages.guide.GUIDES", tmp_path)
    assert steps_of("x") == [
        Step("[a]\n  b = 'c'\n", "/etc/a.conf"),
        Step("one\ntwo\n"),
        Step("three\n", elsewhere=True),
    ]
    assert "printf %s '[a]" in steps_of("x")[0].script
