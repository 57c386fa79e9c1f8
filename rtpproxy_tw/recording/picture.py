"""A drawing of a recorded call: what each party said, how loud, and what was lost on the way.

SVG, because it needs no library, stays sharp, and a pointer resting on a loss tells its size.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from time import gmtime, strftime

from rtpproxy_tw.recording.extraction import Extracted
from rtpproxy_tw.recording.sources import Party

WIDTH = 1200
MARGIN = 60
WAVE = 140
"""Height of one party's waveform."""
QUALITY = 18
"""Height of the strip below it."""
GAP = 46
HEAD = 40

_NAMES = {Party.ORIGINATOR: "originator", Party.ANSWERER: "answerer"}
_COLOURS = {Party.ORIGINATOR: "#1f6fb2", Party.ANSWERER: "#2d8a4e"}

_STEPS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600, 14400)


def picture(found: Extracted) -> str:
    """The drawing as a file's text."""
    seconds = max(found.seconds, 0.001)
    height = HEAD + 2 * (WAVE + QUALITY + GAP)
    whole = WIDTH + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {height}"'
        f' width="{whole}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{whole}" height="{height}" fill="#fff"/>',
        f'<text x="{MARGIN}" y="24">{_title(found)}</text>',
    ]
    for row, party in enumerate((Party.ORIGINATOR, Party.ANSWERER)):
        top = HEAD + row * (WAVE + QUALITY + GAP)
        lines += _party(found, party, top, seconds)
    return "\n".join([*lines, "</svg>", ""])


def _title(found: Extracted) -> str:
    began = strftime("%Y-%m-%d %H:%M:%S UTC", gmtime(found.start))
    return f"{began}, {found.seconds:.1f} s"


def _party(found: Extracted, party: Party, top: int, seconds: float) -> Iterator[str]:
    placement = found.placements[party]
    received = placement.packets - placement.duplicates
    share = placement.lost / (placement.lost + received) if placement.lost else 0.0
    codecs = ", ".join(found.codecs[party]) or "nothing"
    yield (
        f'<text x="{MARGIN}" y="{top + 12}" fill="{_COLOURS[party]}">{_NAMES[party]}: {codecs};'
        f" {received} packets, {placement.lost} lost ({share:.1%}),"
        f" {placement.reordered} out of order</text>"
    )
    base = top + 16
    yield f'<rect x="{MARGIN}" y="{base}" width="{WIDTH}" height="{WAVE}" fill="#f6f6f6"/>'
    for loss in placement.losses:
        begin = loss.start - found.start
        yield (
            f'<rect class="loss" x="{_x(begin, seconds):.1f}" y="{base}"'
            f' width="{max(1.0, loss.seconds / seconds * WIDTH):.1f}"'
            f' height="{WAVE + QUALITY}" fill="#d33" fill-opacity="0.5">'
            f"<title>{loss.packets} packets lost at {begin:.2f} s</title></rect>"
        )
    yield _wave(found, party, base, seconds)
    yield from _quality(found, party, base + WAVE, seconds)
    yield from _ticks(base + WAVE + QUALITY, seconds)


def _x(at: float, seconds: float) -> float:
    return MARGIN + at / seconds * WIDTH


def _wave(found: Extracted, party: Party, base: int, seconds: float) -> str:
    """The least and the greatest sample of each column, as one outline."""
    samples = array("h", found.pcm[party])
    middle, columns = base + WAVE / 2, []
    per_column = seconds * found.rate / WIDTH
    for column in range(WIDTH):
        part = samples[int(column * per_column) : int((column + 1) * per_column) + 1]
        if len(part):
            columns.append((column, max(part), min(part)))
    if not columns:
        return ""

    def y(sample: int) -> str:
        return f"{middle - sample / 32768 * WAVE / 2:.1f}"

    upper = [f"{MARGIN + column},{y(high)}" for column, high, _ in columns]
    lower = [f"{MARGIN + column},{y(low)}" for column, _, low in reversed(columns)]
    colour = _COLOURS[party]
    return f'<polygon points="{" ".join(upper + lower)}" fill="{colour}" stroke="{colour}"/>'


def _quality(found: Extracted, party: Party, base: int, seconds: float) -> Iterator[str]:
    """A cell for each hundredth of the call: from green, nothing lost, to red, a tenth and more."""
    cells = 100
    heard, lost = [0] * cells, [0.0] * cells
    placement = found.placements[party]

    def cell(at: float) -> int:
        return min(cells - 1, max(0, int((at - found.start) / seconds * cells)))

    for stretch in placement.stretches:
        for piece in stretch.pieces:
            heard[cell(stretch.start + piece.ticks / stretch.clock)] += 1
    for loss in placement.losses:
        lost[cell(loss.start)] += loss.packets
    width = WIDTH / cells
    for index in range(cells):
        total = heard[index] + lost[index]
        if total:
            hue = round(120 * (1 - min(1.0, lost[index] / total * 10)))
            yield (
                f'<rect x="{MARGIN + index * width:.1f}" y="{base + 4}" width="{width:.1f}"'
                f' height="{QUALITY - 6}" fill="hsl({hue},60%,50%)">'
                f"<title>{lost[index] / total:.1%} lost</title></rect>"
            )


def _ticks(base: int, seconds: float) -> Iterator[str]:
    step = next((each for each in _STEPS if seconds / each <= 15), seconds / 10)
    for number in range(int(seconds / step) + 1):
        x = _x(number * step, seconds)
        yield (
            f'<path d="M{x:.1f} {base}v5" stroke="#555"/>'
            f'<text x="{x:.1f}" y="{base + 17}" text-anchor="middle" fill="#555">'
            f"{number * step:g}</text>"
        )
