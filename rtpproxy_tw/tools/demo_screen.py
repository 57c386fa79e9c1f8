"""The demo call in the terminal: one block that is repainted, or a line each second."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import TextIO

from rtpproxy_tw.tools.demo_call import Report
from rtpproxy_tw.tools.hearing import Delay, Figures

WIDTH = 80

_BAR = 50
_HEIGHT = 14
_LABEL, _COLUMN = 26, 22


def block(report: Report) -> list[str]:
    """The call as a progress bar and a table of both directions, WIDTH columns at most."""
    return [bar(report), "", *table(report)]


def bar(report: Report) -> str:
    """How much of the call is over."""
    share = min(1.0, max(0.0, report.elapsed / report.seconds)) if report.seconds else 1.0
    done = round(share * _BAR)
    elapsed = min(report.elapsed, report.seconds)
    return (
        f"[{'#' * done}{'-' * (_BAR - done)}] {share:4.0%}  {elapsed:.1f} of {report.seconds:g} s"
    )


def table(report: Report) -> list[str]:
    """Both directions side by side."""
    columns = [figures for _, _, figures in report.directions]
    heads = [f"{talker} -> {listener}" for talker, listener, _ in report.directions]
    rows: list[tuple[str, Callable[[Figures], str]]] = [
        ("packets sent", lambda f: str(f.sent)),
        ("arrived", lambda f: str(f.arrived)),
        ("held back while learning", lambda f: str(f.held_back)),
        ("lost", lambda f: f"{f.lost} ({f.loss:.1%})"),
        ("twice / out of order", lambda f: f"{f.duplicates} / {f.reordered}"),
        ("NAT learned after", lambda f: _ms(f.learned, 0)),
        ("jitter", lambda f: _ms(f.jitter if f.arrived else None, 2)),
        ("one-way latency, median", lambda f: _delay(f.delay, 0)),
        ("  99 in 100 within", lambda f: _delay(f.delay, 1)),
        ("  slowest", lambda f: _delay(f.delay, 2)),
        ("RTCP reports", lambda f: f"{f.reports_arrived} of {f.reports_sent}"),
    ]
    return [
        _row("", heads),
        *(_row(label, [show(figures) for figures in columns]) for label, show in rows),
    ]


def line(report: Report) -> str:
    """The call in one line of WIDTH columns at most."""
    ways = []
    for arrow, (_, _, figures) in zip(("->", "<-"), report.directions, strict=True):
        ways.append(
            f"{arrow} {figures.arrived}/{figures.sent}, {figures.lost} lost,"
            f" {_delay(figures.delay, 0)}"
        )
    return f"{report.elapsed:4.0f} s  {'  '.join(ways)}"


def parties(report: Report) -> list[str]:
    """What each party claims, whence it really sends, and where it was told to send."""
    rows = [
        (party.name, f"says {_at(party.claims)},", f"sends from {_at(party.sends_from)}")
        for party in report.parties
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    return [
        f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}} {row[2]} to {_at(party.told)}"
        for row, party in zip(rows, report.parties, strict=True)
    ]


class Silent:
    """Shows nothing."""

    def show(self, report: Report) -> None:
        """The call as it is now."""

    def finish(self, report: Report) -> None:
        """The call as it was in the end."""


class Plain(Silent):
    """A line each second, for logs and for terminals that cannot move the cursor."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._next = 1.0

    def show(self, report: Report) -> None:
        """Write a line if a second has passed."""
        if report.elapsed >= self._next:
            self._next += 1.0
            print(line(report), file=self._out, flush=True)

    def finish(self, report: Report) -> None:
        """Write the table."""
        print("", *table(report), sep="\n", file=self._out, flush=True)


class Live(Silent):
    """A block that is painted over itself."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._painted = 0

    def show(self, report: Report) -> None:
        """Paint the block."""
        # A line that wraps would count as one and be two when the cursor goes up again.
        width = shutil.get_terminal_size((WIDTH, 24)).columns - 1
        lines = [text[:width] for text in block(report)]
        up = f"\x1b[{self._painted}A" if self._painted else ""
        self._out.write(up + "".join(f"\x1b[2K{text}\n" for text in lines))
        self._out.flush()
        self._painted = len(lines)

    def finish(self, report: Report) -> None:
        """Paint it for the last time."""
        self.show(report)


def screen_for(out: TextIO, *, plain: bool) -> Silent:
    """Live on a terminal that can do it, unless ``plain``."""
    able = out.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "")
    # What has scrolled out of sight cannot be painted over.
    high = shutil.get_terminal_size((WIDTH, 24)).lines > _HEIGHT
    return Live(out) if able and high and not plain else Plain(out)


def _row(label: str, cells: list[str]) -> str:
    return f"{label:<{_LABEL}}" + "".join(f"{cell:>{_COLUMN}}" for cell in cells)


def _ms(value: float | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits if value < 100 else 0}f} ms"


def _delay(delay: Delay | None, index: int) -> str:
    return _ms(delay[index] if delay else None, 2)


def _at(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
