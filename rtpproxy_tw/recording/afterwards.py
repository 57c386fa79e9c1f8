"""What follows a recording: a command of the operator's, and the export to a sound file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import rtpproxy_tw
from rtpproxy_tw.beneath import read_file, replace_file
from rtpproxy_tw.recording.files import Event, Files, Finished, Tell
from rtpproxy_tw.recording.helpers import Helpers, Work
from rtpproxy_tw.recording.sinks import Place
from rtpproxy_tw.session import Side
from rtpproxy_tw.views.text import to_json

EXPORT_SECONDS = 3600.0
COMMAND_SECONDS = 60.0
RECOVERY_SECONDS = 24 * 3600.0

MEMORY_MB = 2048
"""Address space of an export: enough for a day of G.711."""

PARTLY = 2
"""Exit status of an export that left something out and a capture instead."""


def environment() -> dict[str, str]:
    """So that our own programs are found in a source tree, too, from any directory."""
    tree = str(Path(rtpproxy_tw.__file__).parent.parent)
    return {"PYTHONPATH": os.pathsep.join(filter(None, (tree, os.environ.get("PYTHONPATH"))))}


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours at low priority."""
    return ["/usr/bin/env", "nice", "-n", "19", sys.executable, "-m", module, *arguments]


class Command:
    """Runs the operator's ``command`` for each event, which it gets on its standard input.

    The event's name is its last argument.
    """

    def __init__(self, helpers: Helpers, command: Sequence[str]) -> None:
        self._helpers = helpers
        self._command = tuple(command)

    def __call__(self, event: Event) -> None:
        """Something happened."""
        self._helpers.run(
            Work(
                (*self._command, event["event"]),
                lambda status, told: None,
                stdin=to_json(event) + b"\n",
                seconds=COMMAND_SECONDS,
            )
        )


@dataclass(frozen=True, slots=True)
class _Wish:
    """A sound file to make: its name without ending, and recordings by the option they go with."""

    stem: str
    files: dict[str, Files]

    def inputs(self, directory: str) -> list[str]:
        """The arguments that name them."""
        words = []
        for option, each in self.files.items():
            words += [option, os.path.join(directory, each.names[0])]
        return [word for word in words if word]


class Exporter:
    """Makes a sound file in ``form`` (``wav``, ``mp3``...) of every session's recording."""

    def __init__(self, helpers: Helpers, *, form: str, mixed: bool, tell: Tell) -> None:
        self._helpers = helpers
        self._form = form
        self._mixed = mixed
        self._tell = tell

    def __call__(self, finished: Finished) -> None:
        """All files of a session are where they belong."""
        for wish in _wishes(finished.files):
            out = f"{wish.stem}.{self._form}"
            arguments = [
                *("--quiet", f"--memory-limit={MEMORY_MB}", "-F", self._form),
                *(() if self._mixed else ("-s",)),
                *wish.inputs(finished.directory),
                os.path.join(finished.directory, out),
            ]
            command = python("rtpproxy_tw.tools.extractaudio", *arguments)
            done = _Exported(self._tell, finished.directory, out, [*wish.files.values()])
            self._helpers.run(Work(command, done, seconds=EXPORT_SECONDS))


class _Exported:
    """Tells of one export when it is done."""

    def __init__(self, tell: Tell, directory: str, out: str, files: Sequence[Files]) -> None:
        self._tell = tell
        self._directory = directory
        self._out = out
        self._files = files

    def __call__(self, status: int | None, told: bytes) -> None:
        path = os.path.join(self._directory, self._out)
        made = [self._out + each for each in ("", ".pcap") if os.path.exists(path + each)]
        good = status in (0, PARTLY)
        first = self._files[0]
        if good and made:
            self._mention(first, made)
        self._tell(
            {
                **first.told(),
                "event": "recording.exported" if good else "recording.export-failed",
                "complete": status == 0,
                "exports": made if good else [],
            }
        )

    def _mention(self, files: Files, made: Sequence[str]) -> None:
        """Put the names into the sidecar: who deletes the recording deletes these as well."""
        path = os.path.join(self._directory, files.sidecar)
        with suppress(OSError, ValueError):
            told = json.loads(read_file(path))
            told["exports"] = list(made)
            replace_file(path, to_json(told) + b"\n")


def _wishes(files: Sequence[Files]) -> Iterator[_Wish]:
    """What to export. Files that have the stem in common belong together.

    A later recording of the same name has replaced the one before.
    """
    halves: dict[str, _Wish] = {}
    for each in {each.names[0]: each for each in files}.values():
        name = each.names[0]
        if each.single:
            yield _Wish(name.removesuffix(".pcap"), {"": each})
            continue
        stem = name.removesuffix(".rtp").removesuffix(".o").removesuffix(".a")
        option = "-B" if each.sides == [Side.CALLER] else "-A"
        halves.setdefault(stem, _Wish(stem, {})).files[option] = each
    yield from halves.values()


class Recovery:
    """Has finished what a crash left, and tells of it."""

    def __init__(self, helpers: Helpers, place: Place, tell: Tell) -> None:
        self._helpers = helpers
        self._place = place
        self._tell = tell

    def start(self) -> None:
        """Do it, if there is anything."""
        directory, spool = self._place
        arguments = [*(("-s", spool) if spool else ()), directory]
        command = python("rtpproxy_tw.recording.recovery", *arguments)
        self._helpers.run(Work(command, self._done, seconds=RECOVERY_SECONDS))

    def _done(self, status: int | None, told: bytes) -> None:
        for line in told.splitlines():
            with suppress(ValueError):
                self._tell(json.loads(line))
