"""Functions made for one table of attributes, as ``dataclasses`` make them for one class.

Thousands of sessions are written and read while a relay hands over, and what is written of each has
some three hundred values. To go through a table for every one of them takes three times as long as
a function in which the table is spelled out, where most values are taken by a comparison or two
instead of by a call.

The source is made of the tables alone, which are the program's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rtpproxy_tw.snapshot.kinds import Kind, spelled_out, taking


class Field(NamedTuple):
    """An attribute, the word it is written under, and how."""

    name: str
    word: str
    kind: Kind


def writer(
    fields: Sequence[Field], usual: Mapping[str, Any] | None = None
) -> Callable[[Any], dict[str, Any]]:
    """What makes a record of an object, without what is as ``usual``, by attribute."""
    usual = usual or {}
    body: list[str] = ["record = {}"]
    known: dict[str, Any] = {}
    for number, (name, word, kind) in enumerate(fields):
        packed = "value"
        if kind.pack is not None:
            known[f"pack{number}"] = kind.pack
            packed = f"pack{number}(value)"
            if kind.written:
                packed = f"value if {kind.written} else {packed}"
        known[f"usual{number}"] = usual.get(name)
        unusual = _unusual(usual[name], f"usual{number}") if name in usual else ""
        body += [f"value = thing.{name}", f"{unusual}record[{word!r}] = {packed}"]
    made: Callable[[Any], dict[str, Any]] = spelled_out("thing", [*body, "return record"], known)
    return made


def _unusual(usual: Any, name: str) -> str:
    """The beginning of a line for values other than ``usual``, which has that ``name``."""
    if usual is None:
        return "if value is not None: "
    return f"if value != {name}: " if usual else "if value: "


def reader(fields: Sequence[Field]) -> Callable[[Any, dict[str, Any], float], None]:
    """What fills an object from a record and the shift of time; raises Damaged."""
    body, known = ["pass"], {}
    for field_number, (name, word, kind) in enumerate(fields):
        number = str(field_number)
        known[f"unpack{number}"] = kind.unpack
        body += [
            f"if {word!r} in record:",
            f" value{number} = record[{word!r}]",
            f" thing.{name} = {taking(kind, number)}",
        ]
    made: Callable[[Any, dict[str, Any], float], None]
    made = spelled_out("thing, record, shift", body, known)
    return made
