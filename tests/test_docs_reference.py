"""Reference pages come from the programs, and what is written by hand beside them agrees."""

from __future__ import annotations

import configparser
import importlib.util
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from rtpproxy_tw.configuration.switches import SWITCHES
from rtpproxy_tw.quality.verdict import CODES
from rtpproxy_tw.tools.ctl import make_parser
from rtpproxy_tw.web.openapi import document

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES: dict[str, Callable[[], Iterable[str]]] = runpy.run_path(
    str(DOCS / "_ext" / "reference.py"), run_name="reference"
)["PAGES"]


def page(name: str) -> str:
    """What ``.. generated:: NAME`` stands for."""
    return "\n".join(PAGES[name]())


def test_every_generated_page_is_shown_and_no_other_is_asked_for() -> None:
    """By one of the documents."""
    shown = set()
    for path in DOCS.rglob("*.rst"):
        shown |= set(re.findall(r"^\.\. generated:: ([\w-]+)$", path.read_text(), re.MULTILINE))
    assert shown == set(PAGES)


@pytest.mark.parametrize("name", ["options", "man-options"])
def test_every_option_is_in_the_reference(name: str) -> None:
    """By its long name, with hyphens where they are not the original's."""
    text = page(name)
    for switch in SWITCHES.values():
        long = switch.name if switch.original else switch.name.replace("_", "-")
        assert f"--{long}" in text


def test_every_verdict_is_in_the_reference() -> None:
    assert re.findall(r"``([a-z-]+)``", page("verdicts")) == list(CODES)


def test_every_command_of_the_control_tool_is_in_the_reference() -> None:
    text = page("commands")
    usage = make_parser().format_help()
    commands = re.search(r"\{([\w,-]+)\}", usage)
    listed = commands[1].split(",") if commands else re.findall(r"^    (\w+) ", usage, re.M)
    assert len(listed) > 10
    assert [name for name in listed if f"rtpproxy-ctl {name}\n" not in text] == []


def test_every_request_is_in_the_reference_and_explained() -> None:
    """The explanation, written by hand, names no other."""
    known = set()
    for path, operations in document("")["paths"].items():
        plain = re.sub(r"\{\w+\}", "ID", path)
        known |= {(word.upper(), plain) for word in operations if word != "parameters"}
    generated = re.findall(r"``([A-Z]+) (/[\w/{}]*)``", page("interface"))
    assert {(method, re.sub(r"\{\w+\}", "ID", path)) for method, path in generated} == known
    explained = set()
    for row in re.findall(r"^   \* - (.*)$", (DOCS / "api.rst").read_text(), re.MULTILINE):
        methods: list[str] = []
        for word in re.findall(r"[A-Z]{3,}|/[\w/]+", row):
            if word[0] != "/":
                methods.append(word)
                continue
            explained |= {(method, word) for method in methods or ["GET"]}
            methods = []
    assert explained == known


def programs() -> set[str]:
    """Those that are installed."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options.entry_points"]["console_scripts"].split("\n")
    return {line.partition(" =")[0] for line in lines if line}


def test_every_program_has_a_manual_page() -> None:
    """Which the package installs, as it installs whatever Sphinx makes."""
    pages = runpy.run_path(str(DOCS / "conf.py"))["man_pages"]
    assert {name for _, name, *_ in pages} == programs()
    assert all((DOCS / f"{source}.rst").is_file() for source, *_ in pages)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="Sphinx is missing")
@pytest.mark.skipif(shutil.which("man") is None, reason="man is missing")
def test_manual_pages_can_be_read(tmp_path: Path) -> None:
    """Sphinx has no objection to any document, nor has man to what it makes."""
    argv = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "man", "-d", str(tmp_path / "trees")]
    subprocess.run([*argv, str(DOCS), str(tmp_path / "man")], check=True, timeout=300)
    made = sorted((tmp_path / "man").glob("*.[1-8]"))
    assert {path.stem for path in made} == programs()
    for path in made:
        read = subprocess.run(
            ["man", "--warnings", "-l", str(path)],
            capture_output=True,
            text=True,
            check=True,
            env={"LC_ALL": "C.UTF-8", "MANWIDTH": "80", "PATH": "/usr/bin:/bin"},
        )
        assert read.stderr == ""
        for heading in ("NAME", "SYNOPSIS", "DESCRIPTION"):
            assert f"\n{heading}\n" in f"\n{read.stdout}"
