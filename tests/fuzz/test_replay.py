"""What fuzzing found worth keeping is tried again; and the engine finds what is there."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path

import pytest

from tests.conftest import LoggedFailures
from tests.fuzz import targets
from tests.fuzz.corpora import CORPORA, FINDINGS, load, words
from tests.fuzz.engine import Mutator, fuzz, minimised, reached
from tests.fuzz.targets import TARGETS

HERE = "/fuzz/test_replay"


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_raises_nothing(name: str) -> None:
    inputs = load(CORPORA, name)
    assert inputs, "a target without a corpus begins with nothing"
    for data in inputs:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_once_is_mended(name: str) -> None:
    for data in load(FINDINGS, name):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_a_hundred_new_inputs_raise_nothing(name: str) -> None:
    mutator = Mutator(random.Random(7), words(name))
    corpus = load(CORPORA, name)
    for _ in range(100):
        TARGETS[name](mutator.change(corpus))


def test_every_file_belongs_to_a_target() -> None:
    files = [path for folder in (CORPORA, FINDINGS) for path in folder.glob("*.txt")]
    assert {path.stem for path in files} <= set(TARGETS)


def test_corpora_are_small() -> None:
    sizes = {name: sum(map(len, load(CORPORA, name))) for name in TARGETS}
    assert max(sizes.values()) < 60_000, sizes


def picky(data: bytes) -> None:
    """Raises where it is told the word."""
    if data[:1] != b"o":
        return
    if data[1:2] != b"p":
        return
    if data[2:3] == b"e":
        raise ValueError("opened")


def test_the_engine_finds_its_way_step_by_step() -> None:
    ticks = count()
    outcome = fuzz(
        picky, [b"x"], [b"o", b"p", b"e"], seconds=20_000, now=lambda: next(ticks), package=HERE
    )
    assert outcome.finding is not None
    assert outcome.finding[:3] == b"ope"
    assert "opened" in outcome.told


def test_without_a_fault_the_engine_ends_in_time() -> None:
    ticks = count()
    outcome = fuzz(len, [b"x"], [], seconds=50, now=lambda: next(ticks))  # type: ignore[arg-type]
    assert outcome.finding is None
    assert 40 < outcome.runs < 60


def test_what_is_reached_by_others_is_left_out() -> None:
    inputs = [b"x", b"xx", b"o", b"op", b"oxxxxxxx"]
    kept = minimised(picky, inputs, HERE)
    assert b"op" in kept
    assert not {b"oxxxxxxx", b"xx"} & set(kept)
    everything = set().union(*(reached(picky, data, HERE) for data in inputs))
    assert set().union(*(reached(picky, data, HERE) for data in kept)) == everything


def test_a_fault_of_the_relay_itself_does_not_go_unseen(
    monkeypatch: pytest.MonkeyPatch, logged_failures: LoggedFailures
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("rtpproxy_tw.control.negotiation.Negotiator.update", broken)
    with pytest.raises(AssertionError, match="planted"):
        targets.commands(b"U c 127.0.0.1 5000 f")
    assert len(logged_failures.take()) == 1


def test_a_dictionary_is_read_as_libfuzzer_reads_it(tmp_path: Path) -> None:
    assert b"&& " in words("commands")
    assert b"\x80\xc8" in words("rtcp")
