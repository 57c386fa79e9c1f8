"""Recordings that go on in another process: the open files are passed, and appended to there."""

from __future__ import annotations

import os
import stat
from typing import Any

from twisted.logger import Logger

from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.continuity.channel import HandoverError
from rtpproxy_tw.errors import RecordingRefused
from rtpproxy_tw.recording.counts import RecordingCounts
from rtpproxy_tw.recording.files import MOST_KINDS, Files, Heard, Pause
from rtpproxy_tw.recording.recorders import FileRecorders
from rtpproxy_tw.recording.sinks import Place
from rtpproxy_tw.recording.spool import SpooledFile, Writer
from rtpproxy_tw.session import Session, Side
from rtpproxy_tw.snapshot.kinds import (
    ADDRESS,
    COUNT,
    FLAG,
    NUMBER,
    Damaged,
    either,
    integer,
    listed,
    one_of,
    row,
    text,
)
from rtpproxy_tw.snapshot.shapes import Shape

NAME = text(255)
PATH = text(4096)
NAMES = listed(NAME, 2, tuple)
PLACE = row(PATH, either(PATH), into=lambda values: Place(*values))
PORTS = listed(row(one_of(Side), listed(integer(1, 65534), 65536, dict.fromkeys)), 2, dict)
SINK = row(COUNT, COUNT, COUNT, COUNT)
"""Number of the descriptor, octets and records in the file, records lost."""

COMPLETE_ONES = row(COUNT, COUNT, COUNT, COUNT, COUNT)

HEARD = Shape(
    Heard,
    {
        "ssrcs": listed(text(10), MOST_KINDS + 1, dict.fromkeys),
        "payload_types": listed(integer(0, 127), 128, dict.fromkeys),
    },
    left_out=["latest"],
)

PAUSE = Shape(
    lambda: Pause(Side.CALLER, 0.0),
    {"party": one_of(Side), "start": NUMBER, "end": either(NUMBER)},
)

FILES = Shape(
    lambda: None,
    {
        "names": NAMES,
        "single": FLAG,
        "is_pcap": FLAG,
        "started": NUMBER,
        "sides": listed(one_of(Side), 2),
        "heard": HEARD.kind,
        "pauses": listed(PAUSE.kind, 100_000),
        "loss_told": FLAG,
        "target": either(text()),
        "recording": text(64),
        "part": COUNT,
    },
    left_out=(
        *("session", "sinks", "ended", "parties", "ports", "finished", "failure_told", "place"),
        *("counted", "to_tag"),
    ),
)


class Settled:
    """Before anything is handed over, all records are in their files."""

    name = "writer"

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def pack(self, luggage: Luggage) -> None:
        """See Whole; raises HandoverError where a disk hangs."""
        if not self._writer.settle():
            raise HandoverError("the disk does not take the recordings")

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""


class RecordingTotals:
    """How many recordings there were. What is active is counted as it is taken over."""

    name = "recordings"

    def __init__(self, counts: RecordingCounts) -> None:
        self._counts = counts

    def pack(self, luggage: Luggage) -> Any:
        """See Whole."""
        return list(self._counts.complete_ones)

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""
        self._counts.complete_ones = COMPLETE_ONES.unpack(value, shift)


class RecordingPart:
    """The recordings and copies of a session."""

    name = "recording"
    _log = Logger()

    def __init__(self, recorders: FileRecorders, writer: Writer) -> None:
        self._recorders = recorders
        self._writer = writer

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part."""
        parties = self._recorders.parties(session)
        if not parties:
            return None
        files = [each for each in self._recorders.of(session) if _is_open(each)]
        rows = []
        copies = []
        for leg, recording, paused in parties:
            if recording.files in files:
                rtcp = len(recording.taps) > 1
                rows.append([leg.side.value, files.index(recording.files), paused, rtcp])
            elif recording.target is not None:
                copies.append([leg.side.value, list(recording.target)])
        return {
            "files": [_pack(each, luggage) for each in files],
            "parties": rows,
            "copies": copies,
        }

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part."""
        if type(value) is not dict:
            raise Damaged("no object")
        taken = [self._files(session, each, luggage) for each in _list(value, "files")]
        for entry in _list(value, "parties"):
            side, number, paused, rtcp = PARTY.unpack(entry, shift)
            if number >= len(taken):
                raise Damaged("a recording without files")
            leg = session.caller if side is Side.CALLER else session.callee
            self._recorders.adopt(leg, taken[number], paused=paused, rtcp=rtcp)
        for entry in _list(value, "copies"):
            side, target = COPY.unpack(entry, shift)
            leg = session.caller if side is Side.CALLER else session.callee
            try:
                self._recorders.copy(leg, target)
            except RecordingRefused as refusal:
                self._log.error("a copy does not go on: {reason}", reason=str(refusal))

    def _files(self, session: Session, record: Any, luggage: Luggage) -> Files:
        if type(record) is not dict:
            raise Damaged("no object")
        files = Files(session, (), (), False, False, 0.0)
        FILES.fill(files, record, 0.0)
        files.place = PLACE.unpack(record.get("place"), 0.0)
        files.ports = PORTS.unpack(record.get("ports", []), 0.0)
        rows = _list(record, "sinks")
        if not files.names or len(rows) != len(files.names):
            raise Damaged("files without names")
        if any("/" in name or name in ("", ".", "..") for name in files.names):
            raise Damaged("a name that leads elsewhere")
        files.sinks = tuple(
            self._sink(files.place, name, SINK.unpack(each, 0.0), luggage)
            for name, each in zip(files.names, rows, strict=True)
        )
        return files

    def _sink(self, place: Place, name: str, values: Any, luggage: Luggage) -> SpooledFile:
        number, size, packets, dropped = values
        descriptor = luggage.take(number)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Damaged(f"{name}: not a file")
            sink = self._writer.adopt(place, name, descriptor, size, packets)
        except RecordingRefused as refusal:
            raise Damaged(str(refusal)) from None
        sink.dropped = dropped
        return sink


PARTY = row(one_of(Side), COUNT, FLAG, FLAG)
COPY = row(one_of(Side), ADDRESS)


def _is_open(files: Files) -> bool:
    return (
        files.ended is None
        and not files.failed
        and all(isinstance(sink, SpooledFile) and sink.disk.descriptor >= 0 for sink in files.sinks)
    )


def _pack(files: Files, luggage: Luggage) -> dict[str, Any]:
    record = FILES.pack(files)
    sinks = [sink for sink in files.sinks if isinstance(sink, SpooledFile)]
    record["place"] = list(sinks[0].place)
    record["ports"] = [[side.value, list(ports)] for side, ports in files.ports.items()]
    record["sinks"] = [
        [luggage.add(sink.disk.descriptor), sink.disk.size, sink.disk.packets, sink.dropped]
        for sink in sinks
    ]
    return record


def _list(record: dict[str, Any], word: str) -> list[Any]:
    found = record.get(word, [])
    if type(found) is not list:
        raise Damaged(f"{word}: no list")
    return found
