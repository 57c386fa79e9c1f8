"""What settings depend on outside themselves: names, accounts and places of this machine."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
import tempfile

from rtpproxy_tw.errors import ConfigError

ROOT_SOCKET = "/var/run/rtpproxy.sock"
"""The original's default control socket."""

SERVICE_DIRECTORY = "/run/rtpproxy-tw"
"""The runtime directory of the relay that the system's service manager runs."""

PID_FILE = "/var/run/rtpproxy.pid"
"""The original's default pid file."""


class Host:
    """This machine; tests give another one."""

    def resolve(self, name: str, family: int, *, numeric: bool) -> str:
        """The first address of ``name``; with ``numeric`` nobody is asked. May block.

        Raises OSError or ValueError.
        """
        flags = socket.AI_PASSIVE | (socket.AI_NUMERICHOST if numeric else 0)
        found = socket.getaddrinfo(name, None, family, socket.SOCK_DGRAM, 0, flags)
        return str(found[0][4][0])

    def check_user(self, name: str) -> None:
        """Raises KeyError where there is no such account."""
        pwd.getpwnam(name)

    def check_group(self, name: str) -> None:
        """Raises KeyError where there is no such group."""
        grp.getgrnam(name)

    def default_socket(self) -> str:
        """Path of the control socket when none is asked for.

        A service has the directory that systemd made for it (``RUNTIME_DIRECTORY``), and root
        has the original's path. Others have their runtime directory, or, where the login
        manager made none, a private directory that is created here. Raises ConfigError.
        """
        made = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        if os.path.isabs(made):
            return os.path.join(made, "rtpproxy.sock")
        if os.geteuid() == 0:
            return ROOT_SOCKET
        return os.path.join(runtime_directory(os.geteuid()), "rtpproxy.sock")

    def default_http_socket(self) -> str:
        """Path of the HTTP socket when none is asked for: beside the control socket's.

        Raises ConfigError.
        """
        return self.default_socket().removesuffix(".sock") + "-http.sock"

    def http_socket_to_ask(self) -> str:
        """Path of the HTTP socket of a relay that runs here, for tools that were told none.

        The default for this user, unless only the system's service has one. Raises ConfigError.
        """
        own = self.default_http_socket()
        service = os.path.join(SERVICE_DIRECTORY, os.path.basename(own))
        return service if os.path.exists(service) and not os.path.exists(own) else own


def runtime_directory(uid: int) -> str:
    """The directory for the sockets of user ``uid`` (XDG Base Directory Specification).

    Raises ConfigError.
    """
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    # The specification wants relative paths ignored.
    if os.path.isabs(given):
        return given
    usual = f"/run/user/{uid}"
    if os.path.isdir(usual):
        return usual
    path = os.path.join(tempfile.gettempdir(), f"rtpproxy-{uid}")
    make_private(path, uid)
    return path


def make_private(path: str, uid: int) -> None:
    """Make directory ``path``, or see that the one there is nobody's but ``uid``'s.

    Raises ConfigError.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"{path}: cannot make this directory: {error.strerror}") from error
    # Others may write to the parent directory, so whoever comes first owns the name.
    found = os.lstat(path)
    if (
        not stat.S_ISDIR(found.st_mode)
        or found.st_uid != uid
        or stat.S_IMODE(found.st_mode) & 0o077
    ):
        raise ConfigError(f"{path}: is not a directory of user {uid} alone; use -s PATH")
