"""Bars, as SVG: what each contestant reached, with the least and the greatest of all repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 640, 110, 120
BAR, GAP, HEAD = 16, 4, 26

COLOURS = ("#1f5fa8", "#7fa7d4", "#b5651d", "#6b8e23", "#7d5ba6", "#888888")
"""The first contestant is the one the others are compared with."""


class Group(NamedTuple):
    """One quantity: its name with the unit, and all values by contestant."""

    title: str
    values: Mapping[str, Sequence[float]]


def svg(title: str, groups: Sequence[Group], names: Sequence[str]) -> str:
    """A group of bars for each quantity, a bar for each of ``names`` that has values."""
    lines: list[str] = []
    top = HEAD
    for group in groups:
        taking = [name for name in names if group.values.get(name)]
        most = max((max(group.values[name]) for name in taking), default=0.0) or 1.0
        lines.append(f'<text x="8" y="{top + 14}" font-weight="bold">{escape(group.title)}</text>')
        top += 22
        for name in taking:
            colour = COLOURS[names.index(name) % len(COLOURS)]
            lines += _bar(name, group.values[name], most, top, colour)
            top += BAR + GAP
        top += 10
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}"'
            ' font-family="sans-serif" font-size="12">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>',
            f'<text x="8" y="16" font-size="14">{escape(title)}</text>',
            *lines,
            "</svg>",
            "",
        ]
    )


def _bar(name: str, values: Sequence[float], most: float, top: int, colour: str) -> list[str]:
    scale = (WIDTH - LEFT - RIGHT) / most
    middle, least, greatest = median(values), min(values), max(values)
    y = top + BAR / 2
    least, end = LEFT + least * scale, LEFT + greatest * scale
    told = f"{middle:,.0f}" if middle >= 100 else f"{middle:.2f}"
    return [
        f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{LEFT}" y="{top}" width="{middle * scale:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<line x1="{least:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}" stroke="#000"/>',
        f'<text x="{end + 6:.1f}" y="{y + 4}">{told}</text>',
    ]
