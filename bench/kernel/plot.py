"""The plot of growth, as SVG: what a packet costs against the number of flows."""

from __future__ import annotations

from collections.abc import Mapping
from math import log10
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 24, 48


def svg(medians: Mapping[int, float], title: str) -> str:
    """A line through the medians (nanoseconds by flows); flows on a logarithmic axis."""
    flows, title = sorted(medians), escape(title)
    most = max(medians.values()) * 1.15
    first, last = log10(flows[0]), log10(flows[-1])

    def x(count: int) -> float:
        return LEFT + (log10(count) - first) / (last - first or 1) * (WIDTH - LEFT - RIGHT)

    def y(ns: float) -> float:
        return HEIGHT - BOTTOM - ns / most * (HEIGHT - TOP - BOTTOM)

    step = 10 ** int(log10(most))
    step = step if most / step >= 2 else step // 5
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="15">{title}</text>',
    ]
    for ns in range(0, int(most) + 1, step):
        lines += [
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(ns):.1f}" y2="{y(ns):.1f}"'
            ' stroke="#ddd"/>',
            f'<text x="{LEFT - 8}" y="{y(ns) + 4:.1f}" text-anchor="end">{ns}</text>',
        ]
    for count in flows:
        lines.append(
            f'<text x="{x(count):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
            f"{count:,}</text>"
        )
    points = " ".join(f"{x(count):.1f},{y(medians[count]):.1f}" for count in flows)
    lines.append(f'<polyline points="{points}" fill="none" stroke="#1f5fa8" stroke-width="2"/>')
    for count in flows:
        at = f'cx="{x(count):.1f}" cy="{y(medians[count]):.1f}"'
        lines.append(f'<circle {at} r="3.5" fill="#1f5fa8"/>')
        lines.append(
            f'<text x="{x(count):.1f}" y="{y(medians[count]) - 9:.1f}" text-anchor="middle">'
            f"{medians[count]:.0f}</text>"
        )
    lines += [
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">flows</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"
