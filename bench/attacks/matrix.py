"""Runs rows against columns, and judges what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.attacks.call import TICK, Call, Script, Tally
from bench.attacks.columns import Column
from bench.attacks.field import Field
from bench.attacks.rows import Row
from bench.relays import Relay

QUIET = 0.3
"""Seconds in which nothing arrives: then nothing is under way any more."""

PATIENCE = 5.0
"""Seconds to wait for such a silence, at most."""

LOOK_EVERY = 100
"""Ticks between two questions how many streams the kernel carries."""

LEAKED_PRIVATE = 5
"""The most that a stranger may get of a call whose party names a private address."""


@dataclass(frozen=True)
class Cell:
    """What came of one attack on one relay over one IP version."""

    row: Row
    column: str
    version: int
    strict: bool
    tally: Tally
    alive: bool
    refused: str | None = None

    def __str__(self) -> str:
        if self.refused is not None:
            return "refused"
        it = self.tally
        told = f"{it.leaked} / {it.injected} / {it.lost}"
        if it.cut:
            told += f" ({it.cut})"
        return told if self.alive else f"{told} ended"

    @property
    def broken(self) -> list[str]:
        """Which promises of the policy strict it breaks."""
        if not self.strict or self.refused is not None:
            return [] if self.refused is None else [f"refused: {self.refused}"]
        it = self.tally
        most = LEAKED_PRIVATE if self.row.private else 0
        found = []
        if not self.alive:
            found.append("the call ended")
        if it.cut > self.row.cut:
            found.append(f"{it.cut} packets of the parties were cut out")
        if self.row.promised:
            if it.leaked > most:
                found.append(f"{it.leaked} packets leaked, {most} allowed")
            if it.injected > most:
                found.append(f"{it.injected} packets injected, {most} allowed")
        if not self.row.private and it.lost > self.row.cut:
            found.append(f"{it.lost} packets lost")
        return found


@dataclass
class Matrix:
    """All cells, and how many streams the kernel carried at most, by column."""

    cells: list[Cell] = field(default_factory=list)
    carried: dict[str, int] = field(default_factory=dict)

    def cell(self, row: Row, version: int, column: str) -> Cell | None:
        """One of them."""
        for each in self.cells:
            if (each.row, each.version, each.column) == (row, version, column):
                return each
        return None

    def broken(self) -> list[str]:
        """Every promise that was broken, in words."""
        return [
            f"{each.row.title}, IPv{each.version}, {each.column}: {what}"
            for each in self.cells
            for what in each.broken
        ]


def run(
    rows: Sequence[Row],
    columns: Sequence[Column],
    progress: Callable[[str], None] = lambda told: None,
) -> Matrix:
    """Attack all ``columns`` in turn. Raises RelayError, OSError and CallError."""
    matrix = Matrix()
    phases = [[row for row in rows if row.alone is alone] for alone in (True, False)]
    with Field() as place:
        for column in columns:
            matrix.carried[column.name] = 0
            with column.relay(place.relay) as relay:
                for phase in filter(None, phases):
                    progress(f"{column.name}: {', '.join(dict.fromkeys(r.name for r in phase))}")
                    _Phase(place, column, relay, phase).run(matrix)
                    place.clear()
    return matrix


class _Phase:
    """Rows that are played at the same time."""

    def __init__(self, place: Field, column: Column, relay: Relay, rows: Sequence[Row]) -> None:
        self._place = place
        self._column = column
        self._relay = relay
        self._calls = [
            (row, Call(place, relay.client, 100 * version + number, version, column.ports))
            for version in column.versions
            for number, row in enumerate(rows)
        ]

    def run(self, matrix: Matrix) -> None:
        """Play them, and add what came of it to ``matrix``."""
        name = self._column.name
        matrix.carried[name] = max(matrix.carried[name], self._play())
        for row, call in self._calls:
            alive = call.refused is None and call.is_alive()
            if alive:
                call.end()
            matrix.cells.append(
                Cell(
                    row,
                    name,
                    call.version,
                    self._column.strict,
                    call.conclude(),
                    alive,
                    call.refused,
                )
            )

    def _play(self) -> int:
        """All scripts, a tick at a time; the most streams that the kernel carried."""
        scripts: list[Script] = [row.play(call) for row, call in self._calls]
        most = ticks = 0
        due = time.monotonic()
        while scripts:
            scripts = [script for script in scripts if self._goes_on(script)]
            due = max(due + TICK, time.monotonic())
            self._listen_until(due)
            ticks += 1
            if ticks % LOOK_EVERY == 0:
                most = max(most, self._column.carried(self._relay))
        self._drain()
        return most

    def _drain(self) -> None:
        end = time.monotonic() + PATIENCE
        while self._place.listen(QUIET) and time.monotonic() < end:
            pass

    def _goes_on(self, script: Script) -> bool:
        # What has come is heard in between, so that nobody's packets wait for another's.
        self._place.listen(0)
        return next(script, self) is not self

    def _listen_until(self, due: float) -> None:
        while (left := due - time.monotonic()) > 0:
            self._place.listen(left)
