"""What Python's sockets cannot do themselves: to be connected to nobody again."""

from __future__ import annotations

import ctypes
import os
import socket

_UNSPECIFIED = bytes(16)
"""A ``sockaddr`` of the family AF_UNSPEC."""

_libc = ctypes.CDLL(None, use_errno=True)


def disconnect(sock: socket.socket) -> None:
    """Let a connected UDP socket receive from everybody again (connect(2)). Raises OSError.

    It stays bound. Python's own ``connect`` takes addresses of the socket's family only.
    """
    if _libc.connect(sock.fileno(), _UNSPECIFIED, len(_UNSPECIFIED)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
