"""What a crash left of recordings is finished: ``python -m`` this module [-s SPOOL] DIRECTORY.

At the start of the relay unfinished files are *set aside*, which takes no time, so that nothing
new can replace them. This program, a process of its own since there may be much to read, then
cuts off what is not whole, moves the rest to where recordings belong, ``~crashed`` after the stem
of its name, and prints for each a line of JSON that tells what happened.

Nothing that a living process writes is touched: it holds a lock on it.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import Any

from rtpproxy_tw.beneath import open_file, replace_file
from rtpproxy_tw.recording.files import VERSION, Event
from rtpproxy_tw.recording.parts import ENDING
from rtpproxy_tw.recording.readback import Reading
from rtpproxy_tw.recording.sinks import Place
from rtpproxy_tw.recording.space import SUFFIX, read_sidecar
from rtpproxy_tw.views.text import to_json

ASIDE = ".unfinished-"
"""What names of directories with files that were set aside begin with."""

MARK = "~crashed"


def set_aside(place: Place) -> bool:
    """Take what is unfinished out of the way; whether there is anything. Raises OSError."""
    grows = place.spool or place.directory
    names = _unfinished(place)
    if names:
        aside = tempfile.mkdtemp(prefix=ASIDE, dir=grows)
        for name in names:
            with suppress(OSError):
                os.rename(os.path.join(grows, name), os.path.join(aside, name))
    return bool(names or _set_aside(place))


def _unfinished(place: Place) -> list[str]:
    """Files that were being written when a process died, and their sidecars."""
    grows = place.spool or place.directory
    found: dict[str, None] = {}
    claimed: set[str] = set()
    with os.scandir(grows) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    for name in names:
        told = read_sidecar(os.path.join(grows, name)) if name.endswith(SUFFIX) else None
        if told is None:
            continue
        files = [each["name"] for each in told["files"]]
        claimed.update(files)
        paths = [os.path.join(grows, each) for each in files]
        if told["state"] == "recording" and not any(map(_is_written, paths)):
            found.update(dict.fromkeys([name, *(each for each in files if each in names)]))
    if place.spool is not None:
        for name in names:
            path = os.path.join(grows, name)
            if name not in claimed and ENDING.search(name) and not _is_written(path):
                found[name] = None
    return list(found)


def _set_aside(place: Place) -> list[str]:
    grows = place.spool or place.directory
    with os.scandir(grows) as entries:
        return [
            each.path
            for each in entries
            if each.name.startswith(ASIDE) and each.is_dir(follow_symlinks=False)
        ]


def _is_written(path: str) -> bool:
    """Whether a living process writes it."""
    try:
        fd = open_file(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


@dataclass(frozen=True, slots=True)
class Finisher:
    """Finishes what lies in ``aside``; recordings end up in ``directory``."""

    aside: str
    directory: str

    def finish(self) -> Iterator[Event]:
        """Do it, and tell of each recording. Raises OSError."""
        names = sorted(os.listdir(self.aside))
        groups: list[tuple[dict[str, Any], list[str]]] = []
        for name in names:
            told = read_sidecar(os.path.join(self.aside, name)) if name.endswith(SUFFIX) else None
            if told is not None:
                groups.append((told, [each["name"] for each in told["files"]]))
        known = {name for _, files in groups for name in files}
        groups += [({}, [name]) for name in names if ENDING.search(name) and name not in known]
        for told, files in groups:
            yield self._recording(told, [name for name in files if name in names])
        for name in names:
            if name.endswith(SUFFIX):
                with suppress(OSError):
                    os.unlink(os.path.join(self.aside, name))
        with suppress(OSError):
            os.rmdir(self.aside)

    def _recording(self, told: dict[str, Any], files: list[str]) -> Event:
        outcomes, last = [], 0.0
        marked = self._marked(files)
        for name, new in zip(files, marked, strict=True):
            outcome, latest = self._file(name)
            last = max(last, latest)
            os.rename(os.path.join(self.aside, name), os.path.join(self.directory, new))
            outcomes.append({"name": new, **outcome})
        told = {
            **({"version": VERSION, "parties": [], "exports": []} | told),
            "state": "finished" if files else "failed",
            "recovered": True,
            "ended": round(last, 3) if last else told.get("started"),
            "packets": sum(each["packets"] for each in outcomes),
            "files": outcomes,
        }
        if marked:
            path = os.path.join(self.directory, marked[0] + SUFFIX)
            replace_file(path, to_json(told) + b"\n")
        return {"event": f"recording.{told['state']}", **told}

    def _file(self, name: str) -> tuple[dict[str, Any], float]:
        """Cut off what is not whole; what it has then, and when its last packet came."""
        path = os.path.join(self.aside, name)
        with os.fdopen(open_file(path, os.O_RDWR), "r+b") as file:
            octets = file.read()
            reading = Reading(octets)
            latest = max((packet.when for packet in reading), default=0.0)
            if reading.whole < len(octets):
                file.truncate(reading.whole)
            digest = sha256(octets[: reading.whole]).hexdigest()
        return {
            "packets": reading.records,
            "lost": 0,
            "octets": reading.whole,
            "sha256": digest,
            "error": reading.damage,
        }, latest

    def _marked(self, files: Sequence[str]) -> list[str]:
        """The names they get: free ones, the same mark in all."""
        for number in count(1):
            mark = MARK if number == 1 else f"{MARK}{number}"
            names = []
            for name in files:
                found = ENDING.search(name)
                at = found.start() if found else len(name)
                names.append(name[:at] + mark + name[at:])
            if not any(os.path.lexists(os.path.join(self.directory, name)) for name in names):
                return names
        raise AssertionError


def recover(place: Place) -> Iterator[Event]:
    """Finish all that was set aside. Raises OSError."""
    for aside in _set_aside(place):
        fd = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # another process is at it
        else:
            yield from Finisher(aside, place.directory).finish()
        finally:
            os.close(fd)


def main(arguments: Sequence[str]) -> int:
    """The program. Returns its exit status."""
    spool = None
    words = list(arguments)
    if words[:1] == ["-s"]:
        spool, words = words[1], words[2:]
    (directory,) = words
    try:
        for event in recover(Place(directory, spool)):
            sys.stdout.buffer.write(to_json(event) + b"\n")
            sys.stdout.buffer.flush()
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
