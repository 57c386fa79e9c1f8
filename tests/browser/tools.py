"""What the tests of the page need besides Python: a browser, and two packages of npm."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

BROWSER = shutil.which("chromium")
PACKAGES = ("typescript@7.0.2", "axe-core@4.14.1")
"""Fetched when the tests run; nothing of others is kept here."""

NO_BROWSER = (
    "chromium is missing"
    if BROWSER is None
    else "the Python package playwright is missing"
    if find_spec("playwright") is None
    else ""
)


def npm_folder(cache: pytest.Cache) -> Path:
    """Where the packages are; the test is skipped where they cannot be had."""
    folder = cache.mkdir("npm")
    done = folder / "installed"
    if done.exists() and done.read_text() == " ".join(PACKAGES):
        return folder
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is missing")
    options = ("--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder))
    try:
        got = subprocess.run(
            [npm, "install", *options, *PACKAGES], capture_output=True, text=True, timeout=180
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm does not come to an end")
    if got.returncode != 0:
        pytest.skip(f"npm cannot fetch {' '.join(PACKAGES)}: {got.stderr[-200:]}")
    done.write_text(" ".join(PACKAGES))
    return folder
