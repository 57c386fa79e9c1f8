"""The parts of one recording: files that a crash, or another node, has begun anew.

Their names have the stem in common, but for marks; their sidecars tell what they are parts of.
"""

from __future__ import annotations

import os
import re
from glob import escape, glob
from typing import Any, NamedTuple

from rtpproxy_tw.recording.space import SUFFIX, read_sidecar

ENDING = re.compile(r"(\.[oa])?\.(rtp|rtcp|pcap)$")
"""Of a recording's file, after stem and marks."""

_MARKS = re.compile(r"(~(\d+|crashed\d*))+$")


class Part(NamedTuple):
    """A file and the number it has among the parts."""

    number: int
    path: str


def parts_of(path: str) -> list[str]:
    """The files of the recording that ``path`` is a part of, in order; at least that one.

    What can be found is in one directory. Raises nothing.
    """
    told = read_sidecar(path + SUFFIX)
    if told is None or not _recording(told):
        return [path]
    folder, name = os.path.split(path)
    found = ENDING.search(name)
    ending = found.group() if found else ""
    stem = _MARKS.sub("", name[: len(name) - len(ending)])
    pattern = os.path.join(escape(folder), f"{escape(stem)}*{ending}{SUFFIX}")
    parts = {Part(_number(told), path)}
    for sidecar in glob(pattern):
        other = read_sidecar(sidecar)
        if other is not None and _recording(other) == _recording(told):
            parts.add(Part(_number(other), sidecar.removesuffix(SUFFIX)))
    return [part.path for part in sorted(parts) if os.path.exists(part.path)] or [path]


def _recording(told: dict[str, Any]) -> str:
    found = told.get("recording")
    return found if isinstance(found, str) else ""


def _number(told: dict[str, Any]) -> int:
    found = told.get("part")
    return found if isinstance(found, int) else 0
