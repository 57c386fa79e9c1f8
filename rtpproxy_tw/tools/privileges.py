"""What a process gives up for good: its user, new privileges, and images of its memory.

Two steps. :func:`confine` comes first, before there is a second thread, since the kernel keeps
``no_new_privs`` for each thread by itself; :func:`drop_privileges` once all sockets are open.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import resource

from twisted.logger import Logger

from rtpproxy_tw.configuration.switches import spelled
from rtpproxy_tw.errors import ConfigError

PR_SET_DUMPABLE, PR_GET_DUMPABLE = 4, 3
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39
"""prctl(2)."""

_log = Logger()


def confine(*, core_dumps: bool) -> None:
    """No program this process starts has more privileges than it, and no crash leaves its memory.

    The memory holds keys, tokens and call-ids. Never raises: where the kernel refuses, as some
    containers do, that is logged.
    """
    _control(PR_SET_NO_NEW_PRIVS, 1, "no_new_privs")
    if not core_dumps:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _set_dumpable(core_dumps)


def drop_privileges(user: str | None, group: str | None, *, core_dumps: bool = False) -> None:
    """Become ``user`` and ``group`` for good; without a group, that of the user.

    Does nothing to what is so already. Raises ConfigError, also where there would be a way back.
    """
    if user is not None or group is not None:
        try:
            _become(user, group)
        except (OSError, KeyError) as error:
            raise ConfigError(
                f"{spelled('user')} {user or ''}: cannot become this user: {error}"
            ) from error
    # The kernel has set it back with the change of user, to something for all programs.
    _set_dumpable(core_dumps)


def _become(user: str | None, group: str | None) -> None:
    """Groups first: afterwards the right to change them is gone."""
    uid = gid = -1
    if user is not None:
        uid, gid = pwd.getpwnam(user)[2:4]
    if group is not None:
        gid = grp.getgrnam(group).gr_gid
    if os.geteuid() == 0:
        if user is not None:
            os.initgroups(user, gid)
        else:
            os.setgroups([gid])
    # All three: what stays behind as the saved one could be taken back.
    os.setresgid(gid, gid, gid)
    if uid != -1:
        os.setresuid(uid, uid, uid)
        _check_gone(uid)


def _check_gone(uid: int) -> None:
    if uid == 0:
        return
    try:
        os.setuid(0)
    except OSError:
        return
    raise OSError("root's privileges can still be had back")


def _set_dumpable(wanted: bool) -> None:
    _control(PR_SET_DUMPABLE, int(wanted), "dumpable")


def _control(option: int, value: int, name: str) -> None:
    """Call prctl(2), which the standard library lacks."""
    library = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if library.prctl(option, ctypes.c_ulong(value), zero, zero, zero):
        why = os.strerror(ctypes.get_errno())
        _log.warn("prctl {name} {value}: {why}", name=name, value=value, why=why)
