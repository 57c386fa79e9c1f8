"""What was measured, as numbers by contestant: medians, spreads, and ratios against the peers.

A *quantity* has one value for each contestant and repeat. In one repeat all contestants had their
turn close together, so noise of the machine that lasts longer than a turn strikes all of them, and
the ratio within a repeat is more to be trusted than the values. Told are the median of these
ratios and how far they differ, and the same of the values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from statistics import median
from typing import Any


class Better(Enum):
    """Which values of a quantity are good ones."""

    MORE = "more"
    LESS = "less"


@dataclass(slots=True)
class Quantity:
    """One line of the report. ``values`` has a list for each contestant, one item a repeat."""

    section: str
    name: str
    unit: str
    better: Better
    digits: int = 1
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, contestant: str, value: float) -> None:
        """The value of the next repeat."""
        self.values.setdefault(contestant, []).append(value)

    def ratios(self, contestant: str, peer: str) -> list[float]:
        """How many times better than ``peer`` the contestant was, repeat by repeat.

        Above 1 is better, whichever way the quantity counts. Repeats in which one of them has
        nothing to divide by are left out.
        """
        pairs = zip(self.values.get(contestant, ()), self.values.get(peer, ()), strict=False)
        if self.better is Better.LESS:
            return [other / mine for mine, other in pairs if mine > 0 and other > 0]
        return [mine / other for mine, other in pairs if mine > 0 and other > 0]


@dataclass(slots=True)
class Section:
    """The outcome of one measurement; ``runs`` are its single runs for whoever looks closer."""

    name: str
    title: str
    quantities: list[Quantity] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def quantity(self, name: str, unit: str, better: Better, digits: int = 1) -> Quantity:
        """The quantity of that name, a new one where there is none."""
        for known in self.quantities:
            if known.name == name:
                return known
        made = Quantity(self.name, name, unit, better, digits)
        self.quantities.append(made)
        return made

    def note(self, sentence: str) -> None:
        """Something to know about the figures. Told once."""
        if sentence not in self.notes:
            self.notes.append(sentence)


def spread(values: Sequence[float], digits: int) -> str:
    """The median and, of several values, the least and the greatest."""
    if not values:
        return "-"
    told = f"{median(values):.{digits}f}"
    if len(values) > 1:
        told += f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
    return told


def table(section: Section, contestants: Sequence[str]) -> str:
    """The section as text: a line for each quantity, then the notes.

    The first of ``contestants`` is the one that is compared with all the others.
    """
    first, *peers = [name for name in contestants if _took_part(section, name)] or [""]
    head = ["", "unit", first, *peers, *(f"{first} : {peer}" for peer in peers)]
    rows = [head]
    for quantity in section.quantities:
        row = [quantity.name, quantity.unit]
        row += (spread(quantity.values.get(name, ()), quantity.digits) for name in (first, *peers))
        for peer in peers:
            ratios = quantity.ratios(first, peer)
            row.append(spread(ratios, 2) + ("x" if ratios else ""))
        rows.append(row)
    lines = [section.title, "", *aligned(rows), *(f"* {sentence}" for sentence in section.notes)]
    return "\n".join(lines)


def as_json(sections: Iterable[Section], contestants: Sequence[str]) -> list[dict[str, Any]]:
    """The sections with everything that was measured, and the medians of values and ratios."""
    told = []
    for section in sections:
        quantities = []
        first, *others = [name for name in contestants if _took_part(section, name)] or [""]
        for quantity in section.quantities:
            peers = [name for name in others if name in quantity.values]
            ratios = {peer: quantity.ratios(first, peer) for peer in peers}
            quantities.append(
                asdict(quantity)
                | {
                    "better": quantity.better.value,
                    "medians": {name: median(each) for name, each in quantity.values.items()},
                    "ratios": {peer: median(each) for peer, each in ratios.items() if each},
                }
            )
        told.append(
            {
                "name": section.name,
                "title": section.title,
                "quantities": quantities,
                "notes": section.notes,
                "runs": section.runs,
            }
        )
    return told


def _took_part(section: Section, name: str) -> bool:
    return any(name in quantity.values for quantity in section.quantities)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns, the first row being the head; the first two columns begin at the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
