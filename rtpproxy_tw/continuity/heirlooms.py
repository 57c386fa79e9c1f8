"""Listening sockets that come from the relay before us, by what they are called in a command line.

They are passed before anything of the new relay is made, so that it need not open, and in vain,
what is open already. Until it serves it only holds them: whoever connects waits in the kernel.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from twisted.logger import Logger

from rtpproxy_tw.addresses import family_of
from rtpproxy_tw.continuity.channel import MOST_DESCRIPTORS, Channel, HandoverError

_KINDS = {
    "udp": socket.SOCK_DGRAM,
    "udp6": socket.SOCK_DGRAM,
}
"""The others are streams."""

UNIX = ("unix", "cunix")

KERNEL = "kernel "
"""What the names of maps, programs and links begin with."""

PASSED = "systemd"
"""Whatever its address is, it was passed to the relay before us as well."""


class Heirlooms:
    """By name, ``KIND:HOST:PORT`` or ``KIND:PATH``."""

    _log = Logger()

    def __init__(self, descriptors: Mapping[str, int] | None = None, shape: Any = None) -> None:
        """The ``descriptors`` are ours from now on; ``shape`` tells what is in the kernel."""
        self._descriptors = dict(descriptors or {})
        self.shape = shape

    def take_all(self, prefix: str) -> dict[str, int]:
        """All whose names begin so, without that, whatever they are."""
        names = [name for name in self._descriptors if name.startswith(prefix)]
        return {name.removeprefix(prefix): self._descriptors.pop(name) for name in names}

    def take(self, kind: str, host: str, port: int = 0) -> socket.socket | None:
        """The socket of that name, once; None where there is none, or where it is not that."""
        descriptor = self._descriptors.pop(name_of(kind, host, port), None)
        if descriptor is None:
            return None
        made = socket.socket(fileno=descriptor)
        if not _is_that(made, kind, host, port):
            self._log.error("not taken over: {kind} {host} is another socket", kind=kind, host=host)
            made.close()
            return None
        made.setblocking(False)
        return made

    def take_stream(self, name: str) -> socket.socket | None:
        """The listening stream socket of that name, wherever it is bound to; None likewise."""
        descriptor = self._descriptors.pop(name, None)
        if descriptor is None:
            return None
        made = socket.socket(fileno=descriptor)
        if not _is_that(made, PASSED, "", 0):
            self._log.error("not taken over: {name} is no listening socket", name=name)
            made.close()
            return None
        return made

    def close(self) -> None:
        """Close what nobody took: it is not configured any more. Idempotent."""
        while self._descriptors:
            name, descriptor = self._descriptors.popitem()
            self._log.info("{name} is closed: nothing is to be heard there any more", name=name)
            os.close(descriptor)


def name_of(kind: str, host: str, port: int = 0) -> str:
    """What a socket is called."""
    return f"{kind}:{host}" if kind in UNIX or kind == PASSED else f"{kind}:{host}:{port}"


def pass_on(channel: Channel, descriptors: Mapping[str, int], shape: Any = None) -> None:
    """Give copies of listening sockets, and of what is in the kernel. Raises HandoverError."""
    if len(descriptors) > MOST_DESCRIPTORS:
        raise HandoverError(f"{len(descriptors)} listening sockets do not go into one message")
    names = list(descriptors)
    channel.send("listeners", b"", list(descriptors.values()), names=names, shape=shape)


def receive(channel: Channel) -> Heirlooms:
    """What was passed on. Raises HandoverError."""
    message = channel.receive("listeners")
    names = message.fields.get("names")
    if type(names) is not list or len(names) != len(message.descriptors):
        message.close()
        raise HandoverError("listening sockets came without names")
    found = dict(zip(map(str, names), message.descriptors, strict=True))
    if len(found) < len(names):
        message.close()
        raise HandoverError("two listening sockets have one name")
    message.descriptors = []
    return Heirlooms(found, message.fields.get("shape"))


def _is_that(made: socket.socket, kind: str, host: str, port: int) -> bool:
    if made.type != _KINDS.get(kind, socket.SOCK_STREAM):
        return False
    stream = made.type == socket.SOCK_STREAM
    if stream and not made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    if kind == PASSED:
        return True
    bound = made.getsockname()
    if kind in UNIX:
        return made.family == socket.AF_UNIX and bound == host
    wanted = (host or "0.0.0.0", port)
    return made.family == family_of(wanted[0]) and bound[:2] == wanted
