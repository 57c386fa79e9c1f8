"""Sockets connected to one party: for how long, and how to be connected to nobody again."""

from __future__ import annotations

import ctypes
import os
import socket

SILENCE = 1.0
"""Seconds after which a connected party may have moved (``latch.strict.REBIND_SILENCE``)."""

HOLE = 0.2
MISSED = 5
"""A pause of so many seconds in which so many packets were sent that never came: they may have come
from elsewhere, as with a NAT that uses two ports by turns. Who pauses with a sentence sends nothing
meanwhile, and what a busy relay lost leaves no pause, as the rest of the queue comes at once."""

TRY_AGAIN = 10.0
"""Seconds after which a port is connected again that could not be, or whose party sent what did not
come: whoever else sends to it is seen meanwhile."""

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
