"""Where prompts are: names a command gave, confined to the directories of the operator."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from rtpproxy_tw.errors import PromptRefused

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class PromptDirectories:
    """Opens files below ``directories``; without any, below the working directory of the moment,
    unless that is the root of all files.

    A name may be relative, to any of them in their order, or absolute. Links are followed as long
    as they stay inside.
    """

    def __init__(self, directories: Sequence[str] = ()) -> None:
        self._directories = tuple(directories)

    def open(self, name: str) -> int:
        """A descriptor of the regular file ``name``. Raises PromptRefused, which tells why."""
        why = "there is no such file"
        for directory in self._directories or (os.curdir,):
            base = os.path.realpath(directory)
            if base == os.sep and not self._directories:
                # Of a daemon that left its directory: all files would be prompts, logs and keys.
                why = "nobody said where prompts are; start with --prompt-dir DIR"
                continue
            try:
                # What the name leads to is found out first, then opened without following a link,
                # so that one put there meanwhile leads nowhere.
                path = os.path.realpath(os.path.join(base, name))
                if path != base and os.path.commonpath((base, path)) == base:
                    return _open_beneath(base, os.path.relpath(path, base).split(os.sep))
                why = "it is outside the prompt directories"
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or str(error)
        raise PromptRefused(f"prompt {name!r}: {why}")


def _open_beneath(base: str, parts: Sequence[str]) -> int:
    parent = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _DIRECTORY, dir_fd=parent)
            os.close(parent)
            parent = inner
        # Asked before opening as well: merely opening a device may have an effect.
        _check(os.stat(parts[-1], dir_fd=parent, follow_symlinks=False))
        fd = os.open(parts[-1], _FILE, dir_fd=parent)
    finally:
        os.close(parent)
    try:
        _check(os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check(about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise ValueError("not a regular file")
