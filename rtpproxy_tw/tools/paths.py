"""Files and sockets at fixed paths, shared with other processes: none of theirs is ever taken."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import stat
import struct
from contextlib import suppress

from twisted.logger import Logger

from rtpproxy_tw.configuration.switches import spelled
from rtpproxy_tw.errors import ConfigError

SOCKET_MODE = 0o660
"""Who may write to a UNIX socket may give commands, so others may not."""

_PID_OCTETS = 32
"""As much of a pid file as is looked at."""


def claim_socket_path(path: str) -> None:
    """Make room for a UNIX socket at ``path``: what a dead process left there is removed.

    Raises ConfigError where a socket is in use or anything else is in the way.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{path}: is there already, and is not a socket")
    _check_dead(path)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigError(f"{path}: cannot remove this dead socket: {error.strerror}") from error


def _check_dead(path: str) -> None:
    """Raises ConfigError unless nobody listens on the socket at ``path``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        failure = probe.connect_ex(path)
        if failure in (errno.ECONNREFUSED, errno.ENOENT):
            return
        # EAGAIN: so many are waiting to be accepted that the queue is full.
        if failure in (0, errno.EAGAIN):
            owner = _owner(probe) if failure == 0 else None
            by = f"process {owner}" if owner else "another process"
            raise ConfigError(f"{path}: this socket is in use by {by}")
    raise ConfigError(
        f"{path}: whether this socket is in use cannot be told: {os.strerror(failure)}"
    )


def _owner(connected: socket.socket) -> int | None:
    """The process that listens at the other end, where the kernel tells."""
    try:
        peer = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return None
    pid: int = struct.unpack("3i", peer)[0]
    return pid or None


def own_socket(path: str, user: str | None, group: str | None, mode: int | None) -> None:
    """Give the UNIX socket at ``path`` to ``user`` and ``group``, None leaving it as it is.

    A group may be given its own ``mode``, as with the original; else it is SOCKET_MODE.
    Raises ConfigError.
    """
    uid = gid = -1
    try:
        if user is not None:
            uid, gid = pwd.getpwnam(user)[2:4]
        if group is not None:
            gid = grp.getgrnam(group).gr_gid
        os.chown(path, uid, gid)
        os.chmod(path, SOCKET_MODE if group is None or mode is None else mode)
    except (OSError, KeyError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: cannot set owner and mode of the socket: {why}") from error


class PidFile:
    """The file that tells our process id, which other instances may use, too.

    ``path`` None means there is none. A file the operator did not name (``named`` False) is
    only a convenience: where it cannot be had it is done without.
    """

    _log = Logger()

    def __init__(self, path: str | None, *, named: bool) -> None:
        self._path = path
        self._named = named
        self._pid = 0

    def check(self) -> None:
        """See that the path is no device, pipe or directory, without opening it.

        Raises ConfigError if the operator named it.
        """
        if self._path is None:
            return
        try:
            # A link is refused, too: root would write where whoever owns the directory wants.
            if not stat.S_ISREG(os.lstat(self._path).st_mode):
                self._refuse("is not a regular file")
        except FileNotFoundError:
            pass
        except OSError as error:
            self._refuse(str(error.strerror))

    def write(self, predecessor: int | None = None, user: str | None = None) -> None:
        """Tell our id, over whatever id is there. Raises ConfigError as ``check`` does.

        ``predecessor`` is the process whose place we take, and which is still running. ``user`` is
        whom we are about to become: the file is given to him, as a successor has no more rights.
        """
        # Opening a device can already do something: a watchdog would reset the machine.
        self.check()
        if self._path is None:
            return
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            descriptor = os.open(self._path, flags | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            self._refuse(str(error.strerror))
            return
        try:
            self._fill(descriptor, predecessor)
            if self._pid and user is not None and os.geteuid() == 0:
                _give(descriptor, user)
        except OSError as error:
            self._refuse(str(error.strerror))
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Remove the file if it still names us. Idempotent; raises nothing."""
        if self._path is None or not self._pid:
            return
        try:
            with open(self._path, "rb") as file:
                ours = _pid_in(file.read(_PID_OCTETS)) == self._pid
            if ours:
                os.unlink(self._path)
        except OSError as error:
            # Usual where the user we have become may not write to the directory.
            self._log.info("pid file {path} stays: {why}", path=self._path, why=error.strerror)
        self._pid = 0

    def _fill(self, descriptor: int, predecessor: int | None) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            self._refuse("is not a regular file")
            return
        other = _pid_in(os.pread(descriptor, _PID_OCTETS, 0))
        if other is not None and other not in (os.getpid(), predecessor):
            alive = _alive(other)
            if alive and not self._named:
                self._refuse(f"names process {other}, which runs")
                return
            self._log.warn(
                "pid file {path} named process {other}, which {state}; now it names us",
                path=self._path,
                other=other,
                state="runs" if alive else "does not run any more",
            )
        self._pid = os.getpid()
        text = b"%d\n" % self._pid
        # In this order nobody ever reads an empty file.
        os.pwrite(descriptor, text, 0)
        os.ftruncate(descriptor, len(text))

    def _refuse(self, why: str) -> None:
        if self._named:
            raise ConfigError(f"{spelled('pid_file')} {self._path}: {why}")
        self._log.info("no pid file: {path} {why}", path=self._path, why=why)
        self._path = None


def _give(descriptor: int, user: str) -> None:
    """Make ``user`` the owner of a file, unless it may be known by another name elsewhere."""
    if os.fstat(descriptor).st_nlink == 1:
        with suppress(KeyError):  # an unknown user is told of where we are to become him
            os.fchown(descriptor, pwd.getpwnam(user).pw_uid, -1)


def _pid_in(content: bytes) -> int | None:
    """The process id a file holds, None where there is none."""
    text = content.strip()
    return int(text) if text.isdigit() and len(text) < 12 else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
