"""Files opened relative to their directory, none of them by way of a link.

The directory is the operator's word and may lie behind links. What is in it may be somebody
else's doing: a link in place of a file would have us read or write elsewhere, with our rights. A
pipe or a device there must not keep us waiting either.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_ALWAYS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


@contextmanager
def directory(path: str) -> Iterator[int]:
    """A descriptor of the directory ``path``, for calls relative to it. Raises OSError."""
    fd = os.open(path or os.curdir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def open_file(path: str, flags: int, mode: int = 0o600) -> int:
    """A descriptor of the regular file ``path``. Raises OSError, for a link as well."""
    folder, name = os.path.split(path)
    with directory(folder) as parent:
        fd = os.open(name, flags | _ALWAYS, mode, dir_fd=parent)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_file(path: str, most: int = -1) -> bytes:
    """What is in the file, at most so many octets. Raises OSError."""
    with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
        return file.read(most)


def replace_file(path: str, octets: bytes, mode: int = 0o666) -> None:
    """Put ``octets`` there, so that no half of them is ever seen. Raises OSError."""
    folder, name = os.path.split(path)
    draft = f".{name}.new"
    with directory(folder) as parent:
        # What a crash left of an earlier draft, or somebody put there, is not written into.
        with suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=parent)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _ALWAYS, mode, dir_fd=parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(octets)
            os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft, dir_fd=parent)
            raise


def is_at(fd: int, path: str) -> bool:
    """Whether the open file still has the name ``path``. Raises OSError."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False
