"""How single values of options are written: numbers, sockets, accounts, log levels."""

from __future__ import annotations

import os
import re
import shlex
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from rtpproxy_tw.addresses import canonical
from rtpproxy_tw.cluster.location import read_location
from rtpproxy_tw.configuration.host import Host
from rtpproxy_tw.configuration.listen import Resolve, numeric_host
from rtpproxy_tw.configuration.settings import (
    BARE_KINDS,
    CC_SELF,
    INET_KINDS,
    INT_MAX,
    LOG_FACILITIES,
    LOG_LEVELS,
    UNIX_KINDS,
    ControlAddress,
    ControlPolicy,
)
from rtpproxy_tw.configuration.switches import spelled
from rtpproxy_tw.control.access import LETTERS, network
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.stun import server

CONTROL_PORT = 22222
"""The original's default port for commands over TCP and UDP."""

UNIX_PATH_MAX = 107
"""Octets in the path of a UNIX socket: Linux has room for 108 with the final zero."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,10}")
_NODE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PORT = re.compile(r"0*[0-9]{1,5}")


class Account(NamedTuple):
    """Whom to become; None: as before."""

    user: str | None = None
    group: str | None = None


class LogTarget(NamedTuple):
    """How much is logged, and as what; None: the default."""

    level: str
    facility: str | None = None


def wrong(name: str, text: str, why: str) -> ConfigError:
    """The error about the value ``text`` of option ``name``."""
    return ConfigError(f"{spelled(name)} {text}: {why}")


def whole_number(name: str, text: str) -> int:
    """A decimal number that the original could hold, too. Raises ConfigError."""
    if not _NUMBER.fullmatch(text) or abs(int(text)) > INT_MAX:
        raise wrong(name, text, "must be a whole number")
    return int(text)


def port_number(name: str, text: str) -> int:
    """A port from 1 to 65535. Raises ConfigError."""
    number = int(text) if _PORT.fullmatch(text) else 0
    if not 0 < number <= 65535:
        raise wrong(name, text, "must be a port number from 1 to 65535")
    return number


def path(name: str, text: str) -> str:
    """``text`` as an absolute path, since a daemon leaves its directory. Raises ConfigError."""
    if not text or "\0" in text:
        raise wrong(name, text, "a path is missing")
    return os.path.abspath(text)


def words(name: str, text: str) -> tuple[str, ...]:
    """A command line in a shell's words, its program by an absolute path. Raises ConfigError."""
    try:
        found = tuple(shlex.split(text))
    except ValueError as error:
        raise wrong(name, text, "a quotation mark is missing") from error
    if not found or not os.path.isabs(found[0]):
        raise wrong(name, text, "must begin with the absolute path of a program")
    return found


def control_address(text: str, resolve: Resolve) -> ControlAddress:
    """``TYPE:ADDR`` of ``-s``; without a known type it is a path. Raises ConfigError."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in UNIX_KINDS + INET_KINDS + BARE_KINDS:
        kind, rest = "unix", text
    if kind in BARE_KINDS:
        return ControlAddress(kind)
    if kind in UNIX_KINDS:
        return ControlAddress(kind, unix_path("control", path("control", rest)))
    return _inet_address(text, kind, rest, resolve)


def _inet_address(text: str, kind: str, rest: str, resolve: Resolve) -> ControlAddress:
    """``HOST[:PORT]``. The port is what follows the last colon, in IPv6 addresses as well."""
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        host, port = rest, ""
    if not host:
        raise wrong("control", text, "a host is missing; * stands for all addresses")
    number = port_number("control", port) if port else CONTROL_PORT
    family = socket.AF_INET6 if kind.endswith("6") else socket.AF_INET
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return ControlAddress(kind, numeric_host("control", host, family, resolve), number)


def allowed_network(name: str, text: str) -> str:
    """A network or an address of ``--control-allow`` and the like. Raises ConfigError."""
    try:
        return str(network(text))
    except ValueError as error:
        raise wrong(name, text, "must be a network such as 192.0.2.0/24, or an address") from error


def control_policy(text: str, resolve: Resolve) -> ControlPolicy:
    """``SOCKET=ULD`` (only these commands) or ``SOCKET=-X`` (all but these). ConfigError."""
    socket_text, equals, commands = text.rpartition("=")
    wanted = commands.removeprefix("-").upper()
    if not equals or not wanted or not set(wanted) <= set(LETTERS):
        raise wrong(
            "control_policy", text, f"must be SOCKET=COMMANDS or SOCKET=-COMMANDS, out of {LETTERS}"
        )
    letters = frozenset(wanted)
    denied = letters if commands.startswith("-") else frozenset(LETTERS) - letters
    return ControlPolicy(control_address(socket_text, resolve).text, denied)


def unix_path(name: str, text: str) -> str:
    """``text`` when it fits into the address of a UNIX socket. Raises ConfigError."""
    if not text or "\0" in text:
        raise wrong(name, text, "a path is missing")
    if len(os.fsencode(text)) > UNIX_PATH_MAX:
        raise wrong(name, text, f"the path of a UNIX socket has at most {UNIX_PATH_MAX} octets")
    return text


def http_endpoint(text: str) -> str:
    """An endpoint in Twisted's words, or the path of a UNIX socket. Raises ConfigError."""
    if text.startswith(("/", "./")):
        return f"unix:{unix_path('http', path('http', text))}"
    kind, colon, rest = text.partition(":")
    if not (colon and rest and kind.isalnum()):
        raise wrong("http", text, "must be an endpoint, such as unix:PATH or tcp:PORT, or a path")
    return text


def url(name: str, text: str) -> str:
    """A URL of HTTP. Raises ConfigError."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isascii() or not text.isprintable() or " " in text:
        raise wrong(name, text, "must be http://HOST/PATH or https://HOST/PATH")
    return text


def collector(text: str) -> tuple[str, int]:
    """``udp:HOST:PORT`` of ``--hep``. Raises ConfigError."""
    host, colon, port = text.removeprefix("udp:").rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not text.startswith("udp:") or not colon or not host:
        raise wrong("hep", text, "must be udp:HOST:PORT")
    return host, port_number("hep", port)


def stun_server(text: str) -> tuple[str, int]:
    """``HOST[:PORT]`` of ``--stun-server``. Raises ConfigError."""
    try:
        return server(text)
    except ValueError as error:
        raise ConfigError(f"{spelled('stun_server')} {error}") from error


def store(text: str) -> str:
    """The URL of ``--redis``. Raises ConfigError."""
    try:
        read_location(text)
    except ValueError as error:
        raise ConfigError(f"{spelled('redis')}: {error}") from error
    return text


def node_name(text: str) -> str:
    """The name of ``--node``. Raises ConfigError."""
    if not _NODE.fullmatch(text):
        raise wrong("node", text, "must be 1 to 64 letters, digits, dots, dashes and underscores")
    return text


def media_host(name: str, text: str) -> str:
    """A numeric media address. Raises ConfigError."""
    try:
        return canonical(text.removeprefix("[").removesuffix("]"))
    except ValueError as error:
        raise wrong(name, text, "must be a numeric address") from error


def peer_address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` of ``--cluster-listen``. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise wrong("cluster_listen", text, "must be HOST:PORT")
    found = media_host("cluster_listen", host)
    if found in ("0.0.0.0", "::"):
        raise wrong("cluster_listen", text, "the address is told to others; it must be one")
    return found, port_number("cluster_listen", port)


def notify_socket(text: str) -> str:
    """``text`` when ``-n`` may be it: ``[unix:]PATH``, ``tcp:HOST:PORT``. Raises ConfigError.

    Commands name the socket by this very text, so it is kept as it is.
    """
    if not text.startswith("tcp:"):
        unix_path("notify", text.removeprefix("unix:"))
        return text
    host, colon, port = text.removeprefix("tcp:").rpartition(":")
    if not host or not colon:
        raise wrong("notify", text, "must be tcp:HOST:PORT")
    if ":" in host or not host.isprintable() or " " in host:
        raise wrong("notify", text, "the host must be a name or an IPv4 address")
    port_number("notify", port)
    return text


def is_wildcard(text: str) -> bool:
    """Whether the notification socket ``text`` stands for whoever sends the command."""
    return text.startswith(f"tcp:{CC_SELF}:")


def account(text: str, host: Host) -> Account:
    """``USER[:GROUP]`` or ``:GROUP`` of ``-u``, both existing. Raises ConfigError."""
    user, colon, group = text.partition(":")
    if (not user and not colon) or (colon and not group):
        raise wrong("user", text, "must be USER, USER:GROUP or :GROUP")
    try:
        if user:
            host.check_user(user)
    except (KeyError, ValueError) as error:
        raise wrong("user", text, f"there is no user {user}") from error
    try:
        if group:
            host.check_group(group)
    except (KeyError, ValueError) as error:
        raise wrong("user", text, f"there is no group {group}") from error
    return Account(user or None, group or None)


def log_target(text: str) -> LogTarget:
    """``LEVEL[:FACILITY]`` of ``-d``, in any case. Raises ConfigError."""
    level, colon, facility = text.upper().partition(":")
    facility = facility.removeprefix("LOG_")
    if level not in LOG_LEVELS:
        raise wrong("log", text, f"the level must be one of {', '.join(LOG_LEVELS)}")
    if colon and facility not in LOG_FACILITIES:
        raise wrong("log", text, f"the facility must be one of {', '.join(LOG_FACILITIES)}")
    return LogTarget(level, facility if colon else None)
