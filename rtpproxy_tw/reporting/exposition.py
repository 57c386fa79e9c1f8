"""Metrics and their text, in the format that Prometheus scrapes (version 0.0.4). Pure.

Every family has a help text, and labels come from fixed sets: nothing a stranger sends, a call-id
above all, ever becomes a label, since each value is a series that a collector keeps for ever.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Labels = tuple[tuple[str, str], ...]
Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: ``samples`` are suffixes of its name, labels and values."""

    name: str
    kind: Kind
    help: str
    samples: tuple[tuple[str, Labels, float], ...]

    def text(self) -> str:
        """Its lines."""
        lines = [
            f"# HELP {self.name} {_escaped(self.help)}",
            f"# TYPE {self.name} {self.kind}",
        ]
        for suffix, labels, value in self.samples:
            lines.append(f"{self.name}{suffix}{_labelled(labels)} {_number(value)}")
        return "\n".join(lines) + "\n"


def single(name: str, kind: Kind, about: str, value: float) -> Family:
    """A metric without labels."""
    return Family(name, kind, about, (("", (), value),))


def labelled(
    name: str, kind: Kind, about: str, values: Iterable[tuple[Sequence[tuple[str, str]], float]]
) -> Family:
    """A metric with labels."""
    return Family(name, kind, about, tuple(("", tuple(labels), value) for labels, value in values))


@dataclass(slots=True)
class Histogram:
    """How many values were at most as large as each of ``bounds``, which ascend."""

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    """For each bound and beyond the last, those that no smaller bound has."""
    total: float = 0.0
    squares: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
        self.squares += value * value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def samples(self, labels: Labels = ()) -> Iterator[tuple[str, Labels, float]]:
        """What a family of histograms has for these labels."""
        below = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            yield "_bucket", (*labels, ("le", _number(bound))), below
        yield "_sum", labels, self.total
        yield "_count", labels, below


def histograms(name: str, about: str, series: Iterable[tuple[Labels, Histogram]]) -> Family:
    """A family of histograms, one for each set of labels."""
    samples = (sample for labels, histogram in series for sample in histogram.samples(labels))
    return Family(name, "histogram", about, tuple(samples))


def text_of(families: Iterable[Family]) -> bytes:
    """The whole text."""
    return "".join(family.text() for family in families).encode()


def _labelled(labels: Labels) -> str:
    if not labels:
        return ""
    inside = ",".join(f'{name}="{_quoted(value)}"' for name, value in labels)
    return f"{{{inside}}}"


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')
