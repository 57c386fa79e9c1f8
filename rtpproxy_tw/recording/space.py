"""Free space that recordings must leave, and what happens when they do not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rtpproxy_tw.beneath import read_file
from rtpproxy_tw.recording.sinks import Place

SUFFIX = ".json"
"""What the name of a recording's sidecar ends in."""


class Low(Enum):
    """What to do when space is low."""

    STOP = "stop"
    """End the recordings that run, and begin no new ones."""
    REJECT_NEW = "reject-new"
    """Begin no new ones."""
    DELETE_OLDEST = "delete-oldest"
    """Delete finished ones, the oldest first; when there are none left, stop."""


def free_octets(directory: str) -> int:
    """Octets that can be written there. Raises OSError."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


@dataclass(frozen=True, slots=True)
class Reserve:
    """``octets`` stay free (0: whatever there is may be used), else ``policy`` is followed."""

    octets: int = 0
    policy: Low = Low.STOP
    free: Callable[[str], int] = free_octets

    @property
    def stops(self) -> bool:
        """Whether running recordings end when nothing else helps."""
        return self.policy is not Low.REJECT_NEW

    @property
    def complaint(self) -> str:
        """Why there is no recording."""
        return f"less than {self.octets >> 20} MB of disk space are free"

    def octets_free(self, place: Place) -> int | None:
        """How many can be written at ``place``; None where nobody can tell."""
        try:
            return self.free(place.spool or place.directory)
        except OSError:
            return None

    def is_short(self, place: Place) -> bool:
        """Whether there is too little space at ``place``; deletes where that is the policy."""
        if not self.octets:
            return False
        grows = place.spool or place.directory
        try:
            short = self.free(grows) < self.octets
            if short and self.policy is Low.DELETE_OLDEST:
                for _ in deletions(place.directory):
                    short = self.free(grows) < self.octets
                    if not short:
                        break
        except OSError:
            # A directory that is gone is told of by what cannot be written into it.
            return False
        return short


def deletions(directory: str) -> Iterator[str]:
    """Delete finished recordings, the oldest first; each is told by its sidecar's name."""
    for name, files in sorted_finished(directory):
        for each in (*files, name):
            with suppress(OSError):
                os.unlink(os.path.join(directory, each))
        yield name


def sorted_finished(directory: str) -> list[tuple[str, list[str]]]:
    """Finished recordings, the oldest first: their sidecars and files. Raises OSError."""
    found: list[tuple[float, str, list[str]]] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
                told = read_sidecar(entry.path)
                if told is not None and told["state"] != "recording":
                    files = [each["name"] for each in told["files"]] + list(told["exports"])
                    found.append((entry.stat().st_mtime, entry.name, files))
    return [(name, files) for _, name, files in sorted(found)]


def read_sidecar(path: str) -> dict[str, Any] | None:
    """What a sidecar says; None where it is none of ours or names files elsewhere."""
    try:
        told = json.loads(read_file(path, 1 << 20))
        names = [each["name"] for each in told["files"]]
        told.setdefault("exports", [])
        names += told["exports"]
        usable = told["state"] in ("recording", "finished", "failed") and all(
            isinstance(name, str) and name and "/" not in name and "\0" not in name
            for name in names
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return told if usable else None
