"""Which listening sockets may be told of timeouts, and how commands name them.

Commands come from outside, so they only ever choose among what the operator allowed: nobody can
make the relay connect to a place of his own choice.

===========================  ====================================================================
allowed                      what a command may write
===========================  ====================================================================
``unix:PATH`` or ``PATH``    the same, with or without ``unix:``
``tcp:HOST:PORT``            the same, with or without ``tcp:`` (OpenSIPS leaves it out where it
                             did not find the protocol extension 20150617)
``tcp:%%CC_SELF%%:PORT``     the same text: the IPv4 address the command came from, or 127.0.0.1
                             where it did not come over IPv4
===========================  ====================================================================
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from rtpproxy_tw.addresses import canonical
from rtpproxy_tw.commands import Origin
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.session import NotifySocket

SELF = "%%CC_SELF%%"
"""Stands for the sender of the command."""

LONGEST_PATH = 107
"""Bytes; ``sun_path`` of unix(7) without its closing NUL."""


def parse_target(text: str) -> NotifySocket:
    """Read a configured socket; the host stays :data:`SELF` where that is written.

    Raises ConfigError with a sentence for the operator.
    """
    kind, colon, rest = text.partition(":")
    if kind == "tcp" and colon:
        return _parse_tcp(text, rest)
    path = rest if kind == "unix" and colon else text
    if not path or "\0" in path or len(os.fsencode(path)) > LONGEST_PATH:
        raise ConfigError(f"notification socket {text!r}: the path is empty or too long")
    return NotifySocket("unix", path)


def _parse_tcp(text: str, rest: str) -> NotifySocket:
    host, _, port = rest.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError(f"notification socket {text!r}: the port must be 1 to 65535")
    if not host:
        raise ConfigError(f"notification socket {text!r}: there is no host")
    return NotifySocket("tcp", host, int(port))


class Targets:
    """The allowed sockets. Raises ConfigError for a text that names none."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._named = {_full(text): parse_target(text) for text in allowed}
        self._fixed = frozenset(self._named.values())

    def __len__(self) -> int:
        return len(self._named)

    def is_fixed(self, socket: NotifySocket) -> bool:
        """Whether the configuration names ``socket`` itself, not by way of the wildcard."""
        return socket in self._fixed

    def resolve(self, text: str, origin: Origin) -> NotifySocket | None:
        """The socket that a command from ``origin`` means by ``text``; None: not allowed."""
        for name in (text, f"unix:{text}", f"tcp:{text}"):
            found = self._named.get(name)
            if found is not None:
                break
        else:
            return None
        if found.kind == "tcp" and found.address == SELF:
            return _sender(found.port, origin)
        return found


def _full(text: str) -> str:
    """``text`` with its prefix."""
    return text if text.startswith(("unix:", "tcp:")) else f"unix:{text}"


def _sender(port: int, origin: Origin) -> NotifySocket:
    """The wildcard's meaning.

    SIP proxies believe only a relay they know, which they know by its control address; hence
    the connection comes from there. Other targets are left to the routing table.
    """
    peer = _ipv4(origin.peer)
    if peer is None:
        return NotifySocket("tcp", "127.0.0.1", port)
    local = _ipv4(origin.local)
    return NotifySocket("tcp", peer, port, None if local == "0.0.0.0" else local)


def _ipv4(host: str | None) -> str | None:
    """``host`` if it is a numeric IPv4 address, also one written as IPv6."""
    if host is None:
        return None
    try:
        numeric = canonical(host)
    except ValueError:
        return None
    return None if ":" in numeric else numeric
