"""Inputs kept: one in a line, in hexadecimal; lines that begin with # say what it is about."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
CORPORA, FINDINGS = HERE / "corpora", HERE / "findings"


def load(folder: Path, name: str) -> list[bytes]:
    """All of a target's inputs in that folder; none where there is no file."""
    path = folder / f"{name}.txt"
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    return [bytes.fromhex(line) for line in lines if not line.startswith("#")]


def save(name: str, inputs: Iterable[bytes]) -> Path:
    """Replace a target's corpus."""
    path = CORPORA / f"{name}.txt"
    path.write_text("".join(f"{each.hex()}\n" for each in sorted(inputs, key=len)))
    return path


def words(name: str) -> list[bytes]:
    """A target's dictionary: one word a line, in quotes, as libFuzzer reads it."""
    path = HERE / "dictionaries" / f"{name}.dict"
    if not path.exists():
        return []
    return [
        line[1:-1].encode("latin-1").decode("unicode_escape").encode("latin-1")
        for line in path.read_text().splitlines()
        if line.startswith('"')
    ]
