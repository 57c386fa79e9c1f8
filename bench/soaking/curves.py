"""Curves over time, as SVG: one band for each quantity, all with the same time axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 640, 70, 16
BAND, HEAD, FOOT, SPACE = 90, 26, 26, 34

COLOUR = "#1f5fa8"


class Curve(NamedTuple):
    """One quantity: its name with the unit, and its value at each time."""

    title: str
    values: Sequence[float]


def svg(title: str, times: Sequence[float], curves: Sequence[Curve]) -> str:
    """The curves, one above the other; ``times`` in seconds, ascending. All begin at 0."""
    height = HEAD + len(curves) * (BAND + SPACE) + FOOT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="16" font-size="14">{escape(title)}</text>',
    ]
    top = HEAD
    for curve in curves:
        lines += _band(curve, times, top + 20)
        top += BAND + SPACE
    end = times[-1] if times else 0.0
    lines += [
        f'<text x="{LEFT}" y="{top + 12}">0 s</text>',
        f'<text x="{WIDTH - RIGHT}" y="{top + 12}" text-anchor="end">{end:,.0f} s</text>',
        "</svg>",
        "",
    ]
    return "\n".join(lines)


def _band(curve: Curve, times: Sequence[float], top: int) -> list[str]:
    most = max(curve.values, default=0.0) or 1.0
    span = (times[-1] if times else 0.0) or 1.0
    points = " ".join(
        f"{LEFT + when / span * (WIDTH - LEFT - RIGHT):.1f},{top + BAND - value / most * BAND:.1f}"
        for when, value in zip(times, curve.values, strict=True)
    )
    right = WIDTH - RIGHT
    told = f"{most:,.0f}" if most >= 10 else f"{most:.2f}"
    return [
        f'<text x="{LEFT}" y="{top - 6}" font-weight="bold">{escape(curve.title)}</text>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{told}</text>',
        f'<text x="{LEFT - 6}" y="{top + BAND}" text-anchor="end">0</text>',
        f'<rect x="{LEFT}" y="{top}" width="{right - LEFT}" height="{BAND}" fill="#f4f6f9"/>',
        f'<polyline points="{points}" fill="none" stroke="{COLOUR}" stroke-width="1.5"/>',
    ]
