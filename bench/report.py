"""The report of a run for the documentation: tables as text, bars as SVG beside it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import acceptance
from bench.bars import Group, svg
from bench.results import Better, Section, table

NAME = "performance-report"
"""Of the page, and the beginning of the names of its pictures."""

HEADING = "Medians (least to greatest of all repeats); ratios above 1 favour the first."

PICTURES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "rate": ("media", "How many packets a second", ("highest rate", "relayed under")),
    "cost": ("media", "What a packet costs", ("CPU of the process", "CPU of the machine")),
    "delay": ("media", "How long a packet takes", ("delay",)),
    "setup": ("setup", "Setting up and ending calls", ("call ", "CPU", "U,", "L,", "D,")),
    "busy": ("busy", "While calls change", ("delay", "added")),
    "heard": ("heard", "While something else is done", ("p99",)),
    "wide": ("wide", "On two processors", ("highest rate", "relayed", "2 processors")),
    "memory": ("memory", "What a session takes", ("process", "kernel")),
}
"""By the end of its name: section, title, and how the names of its quantities begin."""


def write(
    folder: Path, about: Mapping[str, str], sections: Sequence[Section], names: Sequence[str]
) -> list[Path]:
    """Write page and pictures into ``folder``, which exists. Raises OSError."""
    pictures = []
    for end, (name, title, beginnings) in PICTURES.items():
        groups = [
            Group(f"{quantity.name}, {quantity.unit}", quantity.values)
            for section in sections
            if section.name == name
            for quantity in section.quantities
            if quantity.name.startswith(beginnings)
        ]
        if groups:
            picture = folder / f"{NAME}-{end}.svg"
            picture.write_text(svg(title, groups, names))
            pictures.append(picture)
    page = folder / f"{NAME}.rst"
    page.write_text(_page(about, sections, names, pictures))
    return [page, *pictures]


def _page(
    about: Mapping[str, str],
    sections: Sequence[Section],
    names: Sequence[str],
    pictures: Sequence[Path],
) -> str:
    width = max(map(len, about))
    text = [f"{name.ljust(width)}  {value}" for name, value in about.items()]
    text += ["", *acceptance.table(sections).split("\n"), "", HEADING]
    for section in sections:
        text += ["", *table(section, names).split("\n")]
    lines = [":orphan:", "", "The last report", "===============", "", "::", ""]
    lines += [f"   {line}".rstrip() for line in text]
    for picture in pictures:
        lines += ["", f".. image:: {picture.name}", "   :alt: Bars of the figures above"]
    return "\n".join(lines) + "\n"


def from_json(told: Mapping[str, Any]) -> tuple[dict[str, str], list[Section], list[str]]:
    """What :func:`write` takes, out of what ``--json`` wrote."""
    sections = []
    for each in told["sections"]:
        section = Section(each["name"], each["title"], notes=each["notes"])
        for quantity in each["quantities"]:
            better = Better(quantity["better"])
            made = section.quantity(quantity["name"], quantity["unit"], better, quantity["digits"])
            made.values.update(quantity["values"])
        sections.append(section)
    return told["machine"], sections, told["contestants"]


def main(arguments: Sequence[str]) -> int:
    """``FILE FOLDER``: the report of an earlier run, out of its JSON."""
    file, folder = map(Path, arguments)
    for path in write(folder, *from_json(json.loads(file.read_text()))):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
