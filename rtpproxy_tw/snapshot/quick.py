"""Functions made for one table of attributes, as ``dataclasses`` make them for one class.

Thousands of sessions are written and read while a relay hands over, and what is written of each has
some three hundred values. To go through a table for every one of them takes three times as long as
a function in which the table is spelled out, where most values are taken by a comparison or two
instead of by a call.

The source is made of the tables alone, which are the program's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rtpproxy_tw.snapshot.kinds import Kind


class Field(NamedTuple):
    """An attribute, the word it is written under, and how."""

    name: str
    word: str
    kind: Kind


def writer(fields: Sequence[Field]) -> Callable[[Any], dict[str, Any]]:
    """What makes a record of an object."""
    body, entries, known = [], [], {}
    for number, (name, word, kind) in enumerate(fields):
        if kind.pack is None:
            entries.append(f"{word!r}: thing.{name},")
            continue
        known[f"pack{number}"] = kind.pack
        packed = f"pack{number}(value)"
        if kind.written:
            packed = f"value if {kind.written} else {packed}"
        body += [f"value = thing.{name}", f"value{number} = {packed}"]
        entries.append(f"{word!r}: value{number},")
    made: Callable[[Any], dict[str, Any]] = _made(
        ["def made(thing):", *body, "return {", *entries, "}"], known
    )
    return made


def reader(fields: Sequence[Field]) -> Callable[[Any, dict[str, Any], float], None]:
    """What fills an object from a record and the shift of time; raises Damaged."""
    body, known = ["pass"], {}
    for number, (name, word, kind) in enumerate(fields):
        known[f"unpack{number}"] = kind.unpack
        unpacked = f"unpack{number}(value, shift)"
        if kind.taken:
            unpacked = f"value if {kind.taken} else {unpacked}"
        body += [
            f"if {word!r} in record:",
            f" value = record[{word!r}]",
            f" thing.{name} = {unpacked}",
        ]
    made: Callable[[Any, dict[str, Any], float], None] = _made(
        ["def made(thing, record, shift):", *body], known
    )
    return made


def _made(lines: Sequence[str], known: dict[str, Any]) -> Any:
    exec("\n ".join(lines), known)
    return known["made"]
