"""Finds inputs that reach what no other has reached, and the first one that raises.

For machines without atheris, and to make corpora small. Slower, as Python itself tells which lines
were run, but the same targets, corpora and dictionaries.
"""

from __future__ import annotations

import random
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

Target = Callable[[bytes], None]
Edge = tuple[CodeType, int, int]

LONGEST = 6000
"""Octets of an input: the record of a session that has lived a little."""

PACKAGE = "/rtpproxy_tw/"


def reached(target: Target, data: bytes, package: str = PACKAGE) -> set[Edge]:
    """The steps from line to line inside the package that ``data`` leads to. Raises what it does.

    A target's own functions are no part of the package.
    """
    edges: set[Edge] = set()

    def step(frame: FrameType, event: str, argument: Any) -> Any:
        code, before = frame.f_code, frame.f_lineno

        def line(inner: FrameType, event: str, argument: Any) -> Any:
            nonlocal before
            if event == "line":
                edges.add((code, before, inner.f_lineno))
                before = inner.f_lineno
            return line

        edges.add((code, 0, before))
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        return step(frame, event, argument) if package in frame.f_code.co_filename else None

    previous = sys.gettrace()
    sys.settrace(call)
    try:
        target(data)
    finally:
        sys.settrace(previous)
    return edges


@dataclass(slots=True)
class Outcome:
    """What a run came to."""

    runs: int = 0
    corpus: list[bytes] = field(default_factory=list)
    edges: int = 0
    finding: bytes | None = None
    told: str = ""
    """The traceback of the finding."""


def fuzz(
    target: Target,
    seeds: Iterable[bytes],
    words: Sequence[bytes],
    *,
    seconds: float,
    seed: int = 0,
    now: Callable[[], float] = time.monotonic,
    package: str = PACKAGE,
) -> Outcome:
    """Try for so long, or until something raises."""
    mutator = Mutator(random.Random(seed), words)
    outcome = Outcome()
    seen: set[Edge] = set()
    end = now() + seconds
    waiting = [b"", *seeds]
    while waiting or now() < end:
        data = waiting.pop() if waiting else mutator.change(outcome.corpus)
        outcome.runs += 1
        try:
            edges = reached(target, data, package)
        except Exception:
            outcome.finding, outcome.told = data, traceback.format_exc()
            break
        if edges - seen:
            seen |= edges
            outcome.corpus.append(data)
    outcome.edges = len(seen)
    return outcome


def minimised(target: Target, inputs: Iterable[bytes], package: str = PACKAGE) -> list[bytes]:
    """A few of ``inputs`` that reach together what all of them reach; short ones by preference."""
    rest = [(data, reached(target, data, package)) for data in sorted(set(inputs), key=len)]
    chosen: list[bytes] = []
    seen: set[Edge] = set()
    while rest:
        data, edges = max(rest, key=lambda each: len(each[1] - seen) / (20 + len(each[0])))
        if not edges - seen:
            break
        chosen.append(data)
        seen |= edges
        rest = [each for each in rest if each[1] - seen]
    return chosen


class Mutator:
    """Makes an input out of others; ``words`` are put in now and then."""

    def __init__(self, chance: random.Random, words: Sequence[bytes]) -> None:
        self._chance = chance
        self._words = words

    def change(self, corpus: Sequence[bytes]) -> bytes:
        """One that probably was not there yet."""
        chance = self._chance
        data = bytearray(chance.choice(corpus)) if corpus else bytearray()
        for _ in range(1 << chance.randrange(4)):
            at = chance.randint(0, len(data))
            match chance.randrange(8):
                case 0:
                    data[at:at] = chance.randbytes(chance.randint(1, 4))
                case 1:
                    del data[at : at + chance.randint(1, 16)]
                case 2 if at < len(data):
                    data[at] ^= 1 << chance.randrange(8)
                case 3 if at < len(data):
                    data[at] = chance.choice((0, 1, 12, 20, 127, 128, 255, chance.randrange(256)))
                case 4 | 5 if self._words:
                    word = chance.choice(self._words)
                    data[at : at + chance.choice((0, len(word)))] = word
                case 6 if corpus:
                    other = chance.choice(corpus)
                    start = chance.randint(0, len(other))
                    data[at:at] = other[start : start + chance.randint(1, 64)]
                case 7:
                    piece = data[at : at + chance.randint(1, 40)]
                    data[at:at] = piece
        return bytes(data[:LONGEST])
