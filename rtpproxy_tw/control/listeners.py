"""Control sockets as services: each starts listening with the relay and stops with it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet import tcp as tcp_module
from twisted.internet import udp, unix
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    TCP4ServerEndpoint,
    UNIXServerEndpoint,
)
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtpproxy_tw.addresses import family_of

BACKLOG = 32
"""Connections the kernel keeps until they are accepted, as in the original."""

FREEBIND = {
    socket.AF_INET: (socket.IPPROTO_IP, 15),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 78),
}
"""IP_FREEBIND and IPV6_FREEBIND, which Python has no names for."""

LONGEST = 65_535
"""Octets; so that a datagram that is too long is seen to be."""

SYSTEMD_FD = 3
"""The first descriptor that systemd passes (sd_listen_fds)."""


class Listener(Service):
    """One control socket. ``listen`` opens it, ``after`` is called with the port when it is open.

    ``listening`` fires with the port, or fails, once the service was started.
    """

    def __init__(
        self,
        listen: Callable[[], object],
        after: Callable[[Any], None] = lambda port: None,
    ) -> None:
        self._listen = listen
        self._after = after
        self._port: IListeningPort | None = None
        self.listening: Deferred[Any] = Deferred()

    @property
    def descriptor(self) -> int | None:
        """The socket's, while it is open."""
        number = -1 if self._port is None else getattr(self._port, "fileno", lambda: -1)()
        return None if number < 0 else number

    def startService(self) -> None:
        """Open the socket."""
        super().startService()
        maybeDeferred(self._listen).addCallback(self._opened).chainDeferred(self.listening)

    def stopService(self) -> Deferred[Any]:
        """Close it."""
        super().stopService()
        port, self._port = self._port, None
        return maybeDeferred(port.stopListening if port is not None else lambda: None)

    def _opened(self, port: Any) -> Any:
        self._port = port
        self._after(port)
        return port


class Stdio(Service):
    """Commands from standard input, ``make`` wires a protocol to it."""

    def __init__(self, protocol: Protocol, make: Callable[[Protocol], Any]) -> None:
        self._protocol = protocol
        self._make = make
        self._transport: Any = None
        self.listening: Deferred[Any] = Deferred()

    @property
    def descriptor(self) -> None:
        """There is none that could be handed over."""

    def startService(self) -> None:
        """Start reading."""
        super().startService()
        self._transport = self._make(self._protocol)
        self.listening.callback(self._transport)

    def stopService(self) -> None:
        """Close what is still open."""
        super().stopService()
        if self._transport is not None:
            self._transport.loseConnection()


def stream(endpoint: IStreamServerEndpoint, factory: Factory) -> Callable[[], object]:
    """How to open a stream socket."""
    return lambda: endpoint.listen(factory)


def datagrams(
    reactor: Any,
    protocol: DatagramProtocol,
    host: str,
    port: int,
    passed: socket.socket | None = None,
    free: bool = False,
) -> Callable[[], object]:
    """How to open a UDP socket, unless the open one was ``passed`` to us; ``free`` as below."""

    def listen() -> object:
        try:
            made = passed or bound(socket.SOCK_DGRAM, host, port, free)
        except OSError as error:
            raise CannotListenError(host, port, error) from error
        with made:  # the port takes a descriptor of its own
            opened: DatagramPort = DatagramPort._fromListeningDescriptor(
                reactor, made.fileno(), made.family, protocol, LONGEST
            )
        opened.startListening()
        return opened

    return listen


class DatagramPort(udp.Port):
    """A UDP socket that no refusal of the kernel's ends.

    To receive may fail for a moment, for lack of memory, say. Twisted's own port is closed then,
    and nobody could give commands any more.
    """

    _log = Logger()
    _failures = 0

    def doRead(self) -> None:
        """Take what has arrived."""
        try:
            super().doRead()
        except OSError as error:
            self._failures += 1
            # Told at the 1st, 10th, 100th … time: a flood of errors is not to be one of lines.
            if self._failures in (1, 10, 100) or self._failures % 1000 == 0:
                self._log.warn(
                    "{host} port {port} could not be read ({count} times so far): {error}",
                    host=self.interface or "*",
                    port=self._realPortNumber,
                    count=self._failures,
                    error=error,
                )


def tcp(
    reactor: Any, host: str, port: int, passed: socket.socket | None = None, free: bool = False
) -> IStreamServerEndpoint:
    """An endpoint on numeric ``host``; an IPv6 one takes IPv6 only. Raises OSError for those.

    ``passed``: the open socket, where we were given it.
    """
    if passed is not None:
        return adopted(reactor, passed.detach(), family_of(host))
    if ":" not in host and not free:
        endpoint: IStreamServerEndpoint = TCP4ServerEndpoint(reactor, port, BACKLOG, host)
        return endpoint
    with bound(socket.SOCK_STREAM, host, port, free) as made:
        made.listen(BACKLOG)
        return adopted(reactor, os.dup(made.fileno()), family_of(host))


class UnixConnection(unix.Server):
    """A connection over which octets come and nothing else.

    Twisted's looks for descriptors in every message, which costs as much as to understand a
    command. The kernel drops those that nobody asks for.
    """

    doRead = tcp_module.Server.doRead  # type: ignore[assignment]  # which aborting replaces
    writeSomeData = tcp_module.Server.writeSomeData


class UnixPort(unix.Port):
    """A listening UNIX socket that removes its path at the end only while that is still its own.

    Twisted's removes whatever has the name by then, be it the live socket of a successor, and
    fails where the directory is not ours to write to any more.
    """

    transport = UnixConnection
    own_path: str | None = None
    """What to remove; None where somebody else made the socket."""
    _identity: tuple[int, int] | None = None
    _shouldShutdown = False
    """Whoever else has the socket, systemd or a successor, goes on listening.

    Twisted's TCP port sees to that itself where the socket was passed on; its UNIX port does not.
    """

    def startListening(self) -> None:
        """Bind, unless the socket was passed to us, and listen. Raises CannotListenError."""
        super().startListening()
        if self.own_path is not None:
            self._identity = _identity(self.own_path)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """The end; what the base class's own does, but for the path."""
        path = self.own_path
        if path is not None and self._identity is not None and _identity(path) == self._identity:
            with suppress(OSError):
                os.unlink(path)
        tcp_module.Port.connectionLost(self, reason)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class ControlEndpoint(UNIXServerEndpoint):
    """A UNIX endpoint whose port is a :class:`UnixPort`."""

    def __init__(
        self, reactor: Any, path: str, mode: int, passed: socket.socket | None = None
    ) -> None:
        super().__init__(reactor, path, BACKLOG, mode)
        self._passed = passed
        self._path = path
        self._permissions = mode
        self._owner = reactor

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; fails with CannotListenError."""
        port = self._port(protocolFactory)
        port.own_path = self._path
        return maybeDeferred(_start, port)

    def _port(self, factory: IProtocolFactory) -> UnixPort:
        if self._passed is None:
            name = os.fsencode(self._path)
            return UnixPort(name, factory, BACKLOG, self._permissions, self._owner)
        with self._passed as passed:
            made: UnixPort = UnixPort._fromListeningDescriptor(
                self._owner, passed.fileno(), factory
            )
        return made


@implementer(IStreamServerEndpoint)
class PassedUnixEndpoint:
    """A listening UNIX socket that somebody else made, and will remove."""

    def __init__(self, reactor: Any, fd: int) -> None:
        self._make = lambda factory: UnixPort._fromListeningDescriptor(reactor, fd, factory)

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Serve it."""
        return maybeDeferred(_start, self._make(protocolFactory))


def _start(port: UnixPort) -> IListeningPort:
    port.startListening()
    started: IListeningPort = port
    return started


def systemd(reactor: Any, descriptor: int = SYSTEMD_FD) -> IStreamServerEndpoint:
    """An endpoint for the listening socket that systemd passed. Raises OSError without one."""
    with socket.socket(fileno=os.dup(descriptor)) as passed:
        family = passed.family
        if not passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(f"descriptor {descriptor} is not a listening socket")
    if family == socket.AF_UNIX:
        os.set_blocking(descriptor, False)
        endpoint: IStreamServerEndpoint = PassedUnixEndpoint(reactor, descriptor)
        return endpoint
    return adopted(reactor, descriptor, family)


def adopted(reactor: Any, fd: int, family: int) -> IStreamServerEndpoint:
    """An endpoint for a socket that listens already; it is taken over."""
    os.set_blocking(fd, False)
    endpoint: IStreamServerEndpoint = AdoptedStreamServerEndpoint(reactor, fd, family)
    return endpoint


def bound(
    kind: socket.SocketKind, host: str, port: int, free: bool = False, shared: bool = False
) -> socket.socket:
    """A non-blocking socket bound to numeric ``host``; an IPv6 one leaves IPv4 alone.

    ``free``: the address need not be on an interface yet; ``shared``: another process of ours may
    have it already. Raises OSError, having closed what it
    opened.
    """
    family = family_of(host)
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind is socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if free:
            made.setsockopt(*FREEBIND[socket.AddressFamily(family)], 1)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made
