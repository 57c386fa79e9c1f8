"""``rtpproxy-ctl top``: the calls that need attention first, repainted every other second."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from rtpproxy_tw.tools.ctl_client import Client
from rtpproxy_tw.tools.ctl_words import QUIET, View, call_rows, capacity, table, visible

EVERY = 2.0
"""Seconds between two looks."""

ROWS = 40


def top(client: Client, *, once: bool) -> None:
    """Show until interrupted; by rich, where that is installed and there is a terminal.

    Raises Refused or Unreachable.
    """
    if once or not sys.stdout.isatty():
        print("\n".join(_plain(client)), flush=True)
        while not once:
            time.sleep(EVERY)
            print("\n".join(["", *_plain(client)]), flush=True)
        return
    try:
        from rich.live import Live
    except ImportError:
        while True:
            # Home, and clear what is below: the terminal keeps its scrollback.
            print("\x1b[H\x1b[J" + "\n".join(_plain(client)), flush=True)
            time.sleep(EVERY)
    with Live(_rich(client), auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(EVERY)
            live.update(_rich(client), refresh=True)


def urgent_first(calls: list[View]) -> list[View]:
    """Calls with something wrong before the others, each group as it was."""
    return sorted(calls, key=lambda call: not _wrong(call))


def _wrong(call: View) -> bool:
    return any(
        leg["verdict"] not in QUIET for session in call["sessions"] for leg in session["legs"]
    )


def _look(client: Client) -> tuple[list[View], View]:
    calls = client.ask("/api/v1/calls")["calls"]
    return urgent_first(calls)[:ROWS], client.ask("/api/v1/capacity")


def _plain(client: Client) -> Iterator[str]:
    calls, room = _look(client)
    yield from capacity(room)
    yield from table(call_rows(calls))


def _rich(client: Client) -> Any:
    from rich.table import Table
    from rich.text import Text

    calls, room = _look(client)
    title, *_ = capacity(room)
    made = Table(title=Text(f"{room['sessions']} sessions, {title}"), expand=True)
    heading, *rows = call_rows(calls)
    for name in heading:
        made.add_column(str(name), overflow="fold")
    for row in rows:
        # Text, since a call-id with brackets must not be taken for markup.
        cells = [Text(visible(cell)) for cell in row]
        for cell in cells[3:5]:
            cell.stylize("green" if cell.plain in QUIET else "bold red")
        made.add_row(*cells)
    return made
