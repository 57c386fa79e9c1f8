"""From configured HTTP endpoints to listeners that are ready to start."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from twisted.internet.address import UNIXAddress
from twisted.internet.endpoints import SSL4ServerEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtpproxy_tw.addresses import is_loopback
from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.configuration.switches import spelled
from rtpproxy_tw.continuity.heirlooms import Heirlooms, name_of
from rtpproxy_tw.control.listeners import ControlEndpoint, Listener, adopted
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.tools.paths import SOCKET_MODE, claim_socket_path, own_socket
from rtpproxy_tw.web.guard import Guard, Reach, tokens_in
from rtpproxy_tw.web.requests import BoundedSite
from rtpproxy_tw.web.site import Interface

Make = Callable[[Guard], Interface]
"""Makes the interface of one endpoint, given who may use it."""


class Words(NamedTuple):
    """A description of an endpoint, taken apart."""

    kind: str
    values: tuple[str, ...]
    named: dict[str, str]


class HttpSockets:
    """Makes the listeners of all HTTP endpoints. Raises ConfigError for one that cannot be.

    ``required`` are those the operator asked for; the default one is done without where it
    cannot be had.
    """

    log = Logger()

    def __init__(
        self, settings: Settings, reactor: Any, make: Make, heirlooms: Heirlooms | None = None
    ) -> None:
        self._heirlooms = heirlooms or Heirlooms()
        self._open_as: dict[str, Listener] = {}
        self.sites: dict[str, BoundedSite] = {}
        """Who answers, by the same names."""
        self._settings = settings
        self._reactor = reactor
        self._make = make
        self._tokens = read_tokens(settings.http_token_file)
        self.required = [self._named(text) for text in settings.http]
        default = self._default(settings.http_default)
        self.listeners = [*self.required, *default]

    @property
    def descriptors(self) -> dict[str, int]:
        """Those of the sockets that are open, by name."""
        found = {name: listener.descriptor for name, listener in self._open_as.items()}
        return {name: number for name, number in found.items() if number is not None}

    def leave(self) -> None:
        """Another process serves; what is being answered is finished."""
        for site in self.sites.values():
            site.leave()

    def _named(self, text: str) -> Listener:
        try:
            return self._open(text)
        except (ConfigError, OSError, ValueError, TypeError, LookupError) as error:
            raise ConfigError(f"{spelled('http')} {text}: {error}") from error

    def _default(self, path: str | None) -> list[Listener]:
        if path is None:
            return []
        try:
            folder = os.path.dirname(path)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise ConfigError(f"{folder} is not there, or not ours to write to")
            made = self._unix(path, SOCKET_MODE)
        except (ConfigError, OSError) as error:
            self._left_out(path, error)
            return []
        made.listening.addErrback(lambda failure: self._left_out(path, failure.value))
        return [made]

    def _left_out(self, path: str, error: BaseException | None) -> None:
        self.log.info("no HTTP at the default socket {path}: {error}", path=path, error=str(error))

    def _open(self, text: str) -> Listener:
        words = taken_apart(text)
        settings = self._settings
        if words.kind == "unix":
            return self._unix(words.values[0], int(words.named.get("mode", f"{SOCKET_MODE:o}"), 8))
        endpoint = described(self._reactor, text, settings.http_client_ca)
        certified = words.kind == "ssl" and settings.http_client_ca is not None
        return self._tcp(text, endpoint, certified=certified)

    def _unix(self, path: str, mode: int) -> Listener:
        passed = self._heirlooms.take("unix", path)
        if passed is None:
            claim_socket_path(path)
        site = BoundedSite(self._make(Guard(Reach.UNIX)), self._reactor)
        endpoint = ControlEndpoint(self._reactor, path, mode, passed)
        made = Listener(lambda: endpoint.listen(site), lambda _: self._own(path, mode))
        self._open_as[name_of("unix", path)] = made
        self.sites[name_of("unix", path)] = site
        return made

    def _own(self, path: str, mode: int) -> None:
        own_socket(path, self._settings.user, self._settings.group, mode)
        # Control sockets have a mode of their own only together with a group.
        os.chmod(path, mode)

    def _tcp(self, text: str, endpoint: IStreamServerEndpoint, *, certified: bool) -> Listener:
        # Nobody gets in before it is known where the port can be reached from.
        interface = self._make(Guard(Reach.PUBLIC))
        site = BoundedSite(interface, self._reactor)

        def settle(port: IListeningPort) -> None:
            guard = Guard(_reach(port), self._tokens, certified=certified)
            if guard.closed:
                raise ConfigError(
                    f"{spelled('http')} {text}: others can reach this; it needs"
                    f" {spelled('http_token_file')}, or ssl with {spelled('http_client_ca')}"
                )
            interface.guard = guard

        passed = self._heirlooms.take_stream(text)
        if passed is not None:
            endpoint = _Passed(self._reactor, passed, endpoint)
        made = _Closing(lambda: endpoint.listen(site), settle)
        self._open_as[text] = made
        self.sites[text] = site
        return made


@implementer(IStreamServerEndpoint)
class _Passed:
    """The open socket of ``endpoint``, which was passed to us."""

    def __init__(self, reactor: Any, passed: socket.socket, endpoint: Any) -> None:
        self._family = passed.family
        self._open = adopted(reactor, passed.detach(), self._family)
        self._context = getattr(endpoint, "_sslContextFactory", None)

    def listen(self, protocolFactory: Any) -> Any:
        """Serve it, with the TLS of the endpoint."""
        if self._context is not None:
            from twisted.protocols.tls import TLSMemoryBIOFactory

            protocolFactory = TLSMemoryBIOFactory(self._context, False, protocolFactory)
        return self._open.listen(protocolFactory)


class _Closing(Listener):
    """A listener that closes its socket again when what comes after refuses it."""

    def _opened(self, port: Any) -> Any:
        try:
            return super()._opened(port)
        except ConfigError:
            failure = Failure()
            self.stopService()  # not waited for: that it cannot be is to be known at once
            return failure


def taken_apart(text: str) -> Words:
    """The words of ``KIND:VALUE:NAME=VALUE``; a backslash keeps the next character's meaning."""
    kind, *rest = _split(text)
    values = tuple(value for name, value in rest if name is None)
    named = {name: value for name, value in rest if name is not None}
    return Words(kind[1], values, named)


def _split(text: str) -> Iterator[tuple[str | None, str]]:
    name: str | None = None
    word = ""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            word += next(characters, "")
        elif character == ":":
            yield name, word
            name, word = None, ""
        elif character == "=" and name is None:
            name, word = word, ""
        else:
            word += character
    yield name, word


def _reach(port: IListeningPort) -> Reach:
    host = port.getHost()
    if isinstance(host, UNIXAddress):
        return Reach.UNIX
    try:
        return Reach.LOOPBACK if is_loopback(getattr(host, "host", "")) else Reach.PUBLIC
    except ValueError:
        return Reach.PUBLIC


def described(reactor: Any, text: str, authority: str | None = None) -> IStreamServerEndpoint:
    """The endpoint that ``text`` describes, any but a UNIX one; nothing is opened yet.

    One of kind ``ssl`` lets in only holders of certificates of ``authority``, if that is a file.
    Raises ConfigError, OSError, ValueError, TypeError or LookupError where there can be none.
    """
    words = taken_apart(text)
    if words.kind in ("tcp", "ssl"):
        port = int(words.named.get("port", "") or words.values[0])
        if not 0 <= port <= 65535:
            raise ConfigError(f"port {port}: must be from 0 to 65535")
    options = None
    if words.kind == "ssl":
        # Also where Twisted reads the files itself: it would ask the terminal for a passphrase,
        # and has no sentence for a file that makes no sense.
        options = _tls(words, authority)
    made: IStreamServerEndpoint = (
        serverFromString(reactor, text)
        if options is None or authority is None
        else SSL4ServerEndpoint(reactor, port, options, interface=words.named.get("interface", ""))
    )
    return made


def _tls(words: Words, authority: str | None) -> Any:
    try:
        from rtpproxy_tw.control.tls import options_of
    except ImportError as error:
        raise ConfigError("TLS needs pyOpenSSL: pip install 'rtpproxy-tw[tls]'") from error
    key = words.named.get("privateKey", "server.pem")
    return options_of(words.named.get("certKey", key), key, authority)


def read_tokens(path: str | None) -> tuple[bytes, ...]:
    """The tokens in a file, at least one. Raises ConfigError."""
    if path is None:
        return ()
    try:
        with open(path, "rb") as file:
            tokens = tokens_in(file.read(65536))
    except OSError as error:
        raise ConfigError(f"{spelled('http_token_file')} {path}: {error.strerror}") from error
    if not tokens:
        raise ConfigError(f"{spelled('http_token_file')} {path}: there is no token in it")
    return tokens
