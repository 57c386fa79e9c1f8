"""The look for known weaknesses of libraries: what it tells, and that it needs no network."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parent.parent / ".ci" / "audit"

pytestmark = pytest.mark.skipif(not AUDIT.exists(), reason="not in a package's source")


def audit(folder: Path, answer: str, status: int) -> subprocess.CompletedProcess[str]:
    """Run it with an interpreter whose pip-audit writes ``answer`` and ends with ``status``."""
    python = folder / "python"
    (folder / "answer").write_text(answer)
    python.write_text(
        f"""#!/bin/bash
case "$*" in
    "-m pip_audit --version") exit 0 ;;
    "-m pip_audit"*) while [ "$1" != --output ]; do shift; done
        cat "{folder}/answer" > "$2"; echo "ERROR: nobody is there" >&2; exit {status} ;;
    *) exec {sys.executable} "$@" ;;
esac
"""
    )
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return subprocess.run(
        [AUDIT, python], capture_output=True, text=True, timeout=60, env=os.environ
    )


def test_a_known_weakness_is_told_and_fails(tmp_path: Path) -> None:
    vulns = [{"id": "PYSEC-1", "fix_versions": ["2.0"]}, {"id": "PYSEC-2", "fix_versions": []}]
    libraries = [
        {"name": "one", "version": "1.0", "vulns": vulns},
        {"name": "two", "version": "1.0", "vulns": []},
        {"name": "ours", "skip_reason": "editable"},
    ]
    done = audit(tmp_path, json.dumps({"dependencies": libraries}), 1)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "one 1.0: PYSEC-1, mended in 2.0",
        "one 1.0: PYSEC-2, mended in no version yet",
        "2 of 3 libraries audited",
    ]


def test_no_weakness_is_fine(tmp_path: Path) -> None:
    libraries = [{"name": "two", "version": "1.0", "vulns": []}]
    done = audit(tmp_path, json.dumps({"dependencies": libraries}), 0)
    assert (done.returncode, done.stdout) == (0, "1 of 1 libraries audited\n")


def test_without_a_database_it_says_so_and_goes_on(tmp_path: Path) -> None:
    done = audit(tmp_path, "", 1)
    assert (done.returncode, done.stdout) == (0, "libraries not audited: ERROR: nobody is there\n")
