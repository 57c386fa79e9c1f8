"""Figures with what is wanted of them, and the verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median


class Bound(Enum):
    """On which side of the threshold a figure has to be."""

    AT_MOST = "<="
    AT_LEAST = ">="


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report. ``values`` are those of all repeats; their median counts."""

    name: str
    unit: str
    values: Sequence[float]
    bound: Bound | None = None
    threshold: float = 0.0
    digits: int = 2

    @property
    def value(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether it is as wanted; None where nothing is."""
        if self.bound is None:
            return None
        if self.bound is Bound.AT_MOST:
            return self.value <= self.threshold
        return self.value >= self.threshold

    def cells(self) -> list[str]:
        """Name, value with spread, what is wanted, verdict."""
        told = f"{self.value:.{self.digits}f}"
        if len(self.values) > 1:
            low, high = min(self.values), max(self.values)
            told += f" ({low:.{self.digits}f} to {high:.{self.digits}f})"
        wanted = ""
        if self.bound is not None:
            wanted = f"{self.bound.value} {self.threshold:.{self.digits}f}"
        verdict = {True: "met", False: "NOT MET", None: ""}[self.met]
        return [self.name, self.unit, told, wanted, verdict]


HEAD = ["figure", "unit", "median (least to greatest)", "wanted", "verdict"]


def table(figures: Iterable[Figure]) -> str:
    """All of them, aligned."""
    rows = [HEAD, *(figure.cells() for figure in figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
