"""The command: ``python -m tests.fuzz NAME [NAME …] --seconds N``; ``all`` is every target."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.corpora import CORPORA, FINDINGS, HERE, load, save, words
from tests.fuzz.engine import LONGEST, fuzz, minimised
from tests.fuzz.targets import TARGETS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as ``arguments`` say; 1 where something was found."""
    asked = _parser().parse_args(arguments)
    names = list(TARGETS) if "all" in asked.names else asked.names
    drive = _with_atheris if asked.engine == "atheris" else _by_ourselves
    found = [finding for name in names if (finding := drive(name, asked)) is not None]
    return 1 if found else 0


def _by_ourselves(name: str, asked: argparse.Namespace) -> bytes | None:
    target = TARGETS[name]
    seeds = load(CORPORA, name) + load(FINDINGS, name)
    outcome = fuzz(target, seeds, words(name), seconds=asked.seconds, seed=asked.seed)
    print(
        f"{name}: {outcome.runs} runs, {outcome.edges} edges, {len(outcome.corpus)} inputs",
        flush=True,
    )
    if outcome.finding is not None:
        _tell(name, outcome.finding, outcome.told)
    elif asked.keep:
        save(name, minimised(target, outcome.corpus))
    return outcome.finding


def _with_atheris(name: str, asked: argparse.Namespace) -> bytes | None:
    with TemporaryDirectory(prefix="fuzz-") as folder:
        corpus, artifacts = Path(folder, "corpus"), Path(folder, "artifacts")
        corpus.mkdir()
        artifacts.mkdir()
        for number, data in enumerate(load(CORPORA, name) + load(FINDINGS, name)):
            (corpus / f"seed-{number}").write_bytes(data)
        dictionary = HERE / "dictionaries" / f"{name}.dict"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.driven", name),
                *(f"-max_total_time={asked.seconds:.0f}", f"-max_len={LONGEST}", "-timeout=10"),
                *(f"-seed={asked.seed + 1}", f"-artifact_prefix={artifacts}/"),
                *([f"-dict={dictionary}"] if dictionary.exists() else ()),
                str(corpus),
            ],
            cwd=HERE.parent.parent,
            capture_output=True,
            text=True,
            errors="replace",
        )
        lines = done.stderr.splitlines()
        print(f"{name}: {next((line for line in lines[::-1] if 'cov:' in line), '')}", flush=True)
        findings = [path.read_bytes() for path in artifacts.iterdir()]
        if findings or done.returncode:
            _tell(name, findings[0] if findings else b"", f"{done.stdout}\n{done.stderr}"[-6000:])
            return findings[0] if findings else b""
        if asked.keep:
            inputs = [path.read_bytes() for path in corpus.iterdir()]
            save(name, minimised(TARGETS[name], inputs))
        return None


def _tell(name: str, finding: bytes, told: str) -> None:
    print(f"{told}\n{name} raised; to keep the input, add to tests/fuzz/findings/{name}.txt:")
    print(finding.hex())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Arbitrary input, chosen by what it reaches."
    )
    parser.add_argument("names", nargs="+", choices=[*TARGETS, "all"], metavar="NAME")
    parser.add_argument("--seconds", type=float, default=10, metavar="N", help="for each (10)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is random (0)")
    parser.add_argument(
        "--engine",
        choices=("own", "atheris"),
        default="atheris" if find_spec("atheris") else "own",
        help="atheris where it is installed",
    )
    parser.add_argument("--keep", action="store_true", help="put what is new into the corpus")
    return parser


if __name__ == "__main__":
    sys.exit(main())
