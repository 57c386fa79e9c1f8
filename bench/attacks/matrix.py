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

STALL = 0.5
"""Seconds between two ticks after which a phase says nothing."""

TRIES = 3

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
                    for _ in range(TRIES):
                        played = _Phase(place, column, relay, phase)
                        steady = played.play()
                        cells = played.cells()
                        place.clear()
                        if steady:
                            break
                        progress("the attackers were held up themselves; again")
                    matrix.cells += cells
                    matrix.carried[column.name] = max(matrix.carried[column.name], played.carried)
    return matrix


class _Phase:
    """Rows that are played at the same time."""

    def __init__(self, place: Field, column: Column, relay: Relay, rows: Sequence[Row]) -> None:
        self._place = place
        self._column = column
        self._relay = relay
        self.carried = 0
        """The most streams that the kernel carried."""
        self._calls = [
            (row, Call(place, relay.client, 100 * version + number, version, column.ports))
            for version in column.versions
            for number, row in enumerate(rows)
        ]

    def cells(self) -> list[Cell]:
        """What came of it."""
        found = []
        for row, call in self._calls:
            alive = call.refused is None and call.is_alive()
            if alive:
                call.end()
            found.append(
                Cell(
                    row,
                    self._column.name,
                    call.version,
                    self._column.strict,
                    call.conclude(),
                    alive,
                    call.refused,
                )
            )
        return found

    def play(self) -> bool:
        """All scripts, a tick at a time. False where the ticks were not: nobody spoke meanwhile.

        Parties that are silent for a second may be taken for moved, which is another row.
        """
        scripts: list[Script] = [row.play(call) for row, call in self._calls]
        ticks = 0
        longest = 0.0
        before = due = time.monotonic()
        while scripts:
            scripts = [script for script in scripts if self._goes_on(script)]
            due = max(due + TICK, time.monotonic())
            self._listen_until(due)
            ticks += 1
            if ticks % LOOK_EVERY == 0:
                self.carried = max(self.carried, self._column.carried(self._relay))
            now = time.monotonic()
            longest, before = max(longest, now - before), now
        self._drain()
        return longest < STALL

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
