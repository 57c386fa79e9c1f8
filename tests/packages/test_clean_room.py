"""The wheel in an environment that has nothing else, with what it needs from the package index."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LONG = 600.0
"""Seconds for installing."""


def reachable() -> bool:
    """Whether there is a package index to ask."""
    try:
        socket.create_connection(("pypi.org", 443), 5.0).close()
    except OSError:
        return False
    return True


pytestmark = [
    pytest.mark.packages,
    pytest.mark.skipif(not reachable(), reason="the package index cannot be reached"),
]


def run(*command: str | Path, cwd: Path) -> str:
    """What ``command`` prints; it must succeed. It gets no hint where this source tree is."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs are, in an environment made for the wheel alone."""
    folder = tmp_path_factory.mktemp("clean")
    source, home = folder / "source", folder / "venv"
    unwanted = shutil.ignore_patterns(".*", "_build", "results", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT, source, ignore=unwanted)
    built = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    name = run(sys.executable, "-c", built, cwd=source).split()[-1]
    venv.create(home, with_pip=True)
    run(home / "bin/pip", "install", "-q", folder / name, cwd=folder)
    return home / "bin"


def test_what_it_needs_is_what_it_asks_for(programs: Path, tmp_path: Path) -> None:
    """And no more: the relay itself has two dependencies, with theirs."""
    run(programs / "pip", "check", cwd=tmp_path)
    listed = run(programs / "pip", "list", "--format=freeze", cwd=tmp_path)
    names = {line.partition("==")[0].lower().replace("-", "_") for line in listed.splitlines()}
    assert {"rtpproxy_tw", "twisted"} <= names
    assert not names & {"pytest", "av", "hypothesis", "cryptography", "treq"}


def test_twistd_lists_the_service(programs: Path, tmp_path: Path) -> None:
    told = run(programs / "twistd", "--help", cwd=tmp_path)
    assert [line for line in told.splitlines() if line.strip().startswith("rtpproxy ")]


def test_it_relays_a_call(programs: Path, tmp_path: Path) -> None:
    assert "hear each other" in run(programs / "rtpproxy-demo", "--seconds", "3", cwd=tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        *("rtpproxy-tw", "rtpproxy-ctl", "rtpproxy-demo"),
        *("rtpproxy-makeann", "rtpproxy-extractaudio"),
    ],
)
def test_every_program_starts(programs: Path, tmp_path: Path, name: str) -> None:
    assert run(programs / name, "--help" if "extract" not in name else "-h", cwd=tmp_path)
