"""TLS for control connections: certificates that can be exchanged while the relay works.

A client must show a certificate of the authority the operator named, unless they want it
otherwise; nothing older than TLS 1.2 is spoken (RFC 8996). The files are read again when one of
them has changed, or when somebody asks for it. Whoever is connected stays connected; a file that
makes no sense changes nothing but the log.

Needs pyOpenSSL, which the extra ``tls`` brings.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import connectionDone
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from rtpproxy_tw.control.factories import ControlFactory
from rtpproxy_tw.control.framing import Lines
from rtpproxy_tw.errors import ConfigError

SOON = 30 * 86400.0
"""Seconds before the end of a certificate's validity from which on that is a warning."""

REMIND = 86400.0
"""Seconds between two warnings."""

HANDSHAKE = 10.0
"""Seconds within which a connection must show its certificate and bring its first command."""

_CERTIFICATE = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the certificate, its key and the clients' authority are; None: clients need none."""

    certificate: str
    key: str
    authority: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """All of them, each once."""
        found = (self.certificate, self.key, self.authority)
        return tuple(dict.fromkeys(path for path in found if path is not None))


class Expiry(NamedTuple):
    """Until when a certificate is valid, in seconds since the epoch."""

    path: str
    subject: str
    until: float


class _Loaded(NamedTuple):
    context: Any
    expiries: tuple[Expiry, ...]


@implementer(IOpenSSLServerConnectionCreator)
class TlsIdentity:
    """What the relay shows to clients and demands of them, as it is in the files now.

    ``wall`` gives seconds since the epoch. Raises ConfigError where the files are of no use.
    """

    _log = Logger()

    def __init__(self, files: TlsFiles, wall: Callable[[], float]) -> None:
        self._files = files
        self._wall = wall
        self._seen = self._stamps()
        self._loaded = _load(files)
        self._warned = float("-inf")
        self.reloads = 0
        """How often the files were taken over anew."""
        self._warn_of_key()

    @property
    def expiries(self) -> tuple[Expiry, ...]:
        """Of all certificates in use."""
        return self._loaded.expiries

    def serverConnectionForTLS(self, protocol: object) -> Any:
        """See IOpenSSLServerConnectionCreator: a new connection, with what is valid now."""
        return SSL.Connection(self._loaded.context, None)

    def reload(self) -> None:
        """Read the files again; connections stay. Raises ConfigError, and all stays as it was."""
        self._seen = self._stamps()
        self._loaded = _load(self._files)
        self.reloads += 1
        self._warned = float("-inf")
        self._log.info("certificates of tls: control sockets read again")
        self.remind()

    def tick(self) -> None:
        """Read the files again if one has changed. To be called every few seconds."""
        if self._stamps() != self._seen:
            try:
                self.reload()
            except ConfigError as error:
                self._log.error("tls: {error}; the former certificates stay", error=str(error))
        self.remind()

    def remind(self) -> None:
        """Warn of certificates that are not valid for long any more, once in REMIND seconds."""
        now = self._wall()
        if now - self._warned < REMIND:
            return
        for each in self.expiries:
            if each.until - now < SOON:
                self._warned = now
                self._log.warn(
                    "tls: the certificate of {subject} in {path} {how}",
                    subject=each.subject,
                    path=each.path,
                    how=_how_long(each.until - now),
                )

    def _stamps(self) -> tuple[tuple[int, ...] | None, ...]:
        return tuple(_stamp(path) for path in self._files.paths)

    def _warn_of_key(self) -> None:
        if os.stat(self._files.key).st_mode & (stat.S_IROTH | stat.S_IWOTH):
            self._log.warn("tls: everybody on this host can read {key}", key=self._files.key)


class TlsLines(Lines):
    """``tls: tls6:`` each line a command; a handshake that fails is told of, but seldom."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if isinstance(reason.value, SSL.Error):
            self._access.refusals.tls += 1
            self._responder.warn(
                "tls",
                f"{self._kind} control connection of {self._origin.peer} failed:"
                f" {why_of(reason.value)}",
            )
        super().connectionLost(reason)


class TlsLinesFactory(ControlFactory):
    """``tls: tls6:``."""

    framing = TlsLines


def secured(identity: TlsIdentity, factory: ControlFactory) -> TLSMemoryBIOFactory:
    """``factory`` behind TLS."""
    return TLSMemoryBIOFactory(identity, False, factory)


def why_of(error: SSL.Error) -> str:
    """What OpenSSL says, in its words."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    texts = [str(reason[-1]) for reason in reasons if reason]
    return "; ".join(texts) or "the connection broke off"


def options_of(certificate: str, key: str, authority: str | None) -> CertificateOptions:
    """TLS from 1.2 on with what is in these files; who has no certificate of ``authority`` is
    refused. Raises ConfigError."""
    own, *chain = certificates(certificate)
    trust = None if authority is None else trustRootFromCertificates(certificates(authority))
    private = private_key(key)
    try:
        options = CertificateOptions(
            privateKey=private,
            certificate=own.original,
            extraCertChain=[each.original for each in chain],
            trustRoot=trust,
            raiseMinimumTo=TLSVersion.TLSv1_2,
        )
        options.getContext().check_privatekey()
    except (SSL.Error, ValueError) as error:
        why = why_of(error) if isinstance(error, SSL.Error) else error
        raise ConfigError(f"{key}: is not the key of {certificate} ({why})") from error
    return options


def _load(files: TlsFiles) -> _Loaded:
    options = options_of(files.certificate, files.key, files.authority)
    found = [*expiries(files.certificate)]
    if files.authority is not None:
        found += expiries(files.authority)
    return _Loaded(options.getContext(), tuple(found))


def certificates(path: str) -> list[Certificate]:
    """All certificates in a file, at least one. Raises ConfigError."""
    found = _CERTIFICATE.findall(_read(path))
    if not found:
        raise ConfigError(f"{path}: there is no certificate (PEM) in it")
    try:
        return [Certificate.loadPEM(each) for each in found]
    except (crypto.Error, ValueError) as error:
        raise ConfigError(f"{path}: holds a certificate that makes no sense") from error


def private_key(path: str) -> crypto.PKey:
    """The key in a file. Raises ConfigError."""
    try:
        # Not by OpenSSL itself, which would ask the terminal for a passphrase.
        key: Any = load_pem_private_key(_read(path), password=None)
        return crypto.PKey.from_cryptography_key(key)
    except TypeError as error:
        raise ConfigError(f"{path}: the key must not be encrypted") from error
    except ValueError as error:
        raise ConfigError(f"{path}: there is no private key (PEM) in it") from error


def expiries(path: str) -> Iterator[Expiry]:
    """Of all certificates in a file. Raises ConfigError."""
    for each in certificates(path):
        found = each.original.to_cryptography()
        names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        shown = str(names[0].value) if names else "?"
        yield Expiry(path, shown, found.not_valid_after_utc.timestamp())


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _how_long(seconds: float) -> str:
    if seconds < 0:
        return "is no longer valid: clients will refuse it"
    return f"is valid for {seconds / 86400:.0f} more days"
