"""``rtpproxy-ctl certs``: a private authority and certificates of it, for ``tls:`` sockets.

For laboratories and small installations; whoever has an authority of his own uses that. Keys are
of P-256, files are PEM, keys can be read by their owner only. An authority that is in the
directory already goes on to be used, and no file is ever written over.

Needs cryptography, which pyOpenSSL brings.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
DAYS = 825
"""Days of validity; longer ones of servers are refused by some libraries."""

_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})", re.ASCII)
"""A host name; what it means is for whoever looks it up."""

BACKDATED = timedelta(hours=1)
"""So much earlier does validity begin, for clocks that are late."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key, not encrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def authority(name: str, now: datetime, days: float = CA_DAYS) -> Pair:
    """A new authority, which vouches for itself and for ends of connections only."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _named(name)
    builder = (
        _begun(subject, subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
    )
    return Pair(builder.sign(key, hashes.SHA256()), key)


def issue(
    by: Pair, names: Sequence[str], *, server: bool, now: datetime, days: float = DAYS
) -> Pair:
    """A certificate of ``by`` for the host or client with these names, addresses among them."""
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    issuer = by.certificate.subject
    builder = (
        _begun(_named(names[0]), issuer, key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(list(map(_general, names))), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()),
            critical=False,
        )
    )
    return Pair(builder.sign(by.key, hashes.SHA256()), key)


def make(
    directory: str, servers: Sequence[str], client: str, days: float = DAYS
) -> dict[str, list[str]]:
    """Fill ``directory`` with the pairs ``ca``, ``server`` and ``client``.

    Returns the files that were written and those that were there already. Raises OSError, and
    ValueError where the authority there is of no use, or a name or ``days`` cannot be: then nothing
    is written.
    """
    _check(servers, client, days)
    now = datetime.now(timezone.utc)
    os.makedirs(directory, 0o700, exist_ok=True)
    done: dict[str, list[str]] = {"written": [], "kept": []}
    by = _the_authority(directory, now, done)
    _issue(directory, "server", lambda: issue(by, servers, server=True, now=now, days=days), done)
    _issue(directory, client, lambda: issue(by, [client], server=False, now=now, days=days), done)
    return done


def _check(servers: Sequence[str], client: str, days: float) -> None:
    if not client or client in ("ca", "server") or client.startswith(".") or "/" in client:
        raise ValueError(f"--client {client}: names two files, so neither a path, nor ca or server")
    if not client.isprintable():
        raise ValueError(f"--client {client}: must be printable")
    for name in servers:
        if not _NAME.fullmatch(name) and not _is_address(name):
            raise ValueError(f"--server {name}: must be a host name or an address")
    if not 0 < days <= CA_DAYS:
        raise ValueError(f"--days {days:g}: must be more than 0 and at most {CA_DAYS}")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _the_authority(directory: str, now: datetime, done: dict[str, list[str]]) -> Pair:
    paths = [os.path.join(directory, name) for name in ("ca.pem", "ca.key")]
    if not any(map(os.path.lexists, paths)):
        made = authority("rtpproxy-tw private authority", now)
        _write(paths, made, done)
        return made
    done["kept"] += paths
    with open(paths[0], "rb") as file:
        certificate = x509.load_pem_x509_certificate(file.read())
    with open(paths[1], "rb") as file:
        key = serialization.load_pem_private_key(file.read(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{paths[1]}: is not a key this command made")
    return Pair(certificate, key)


def _issue(directory: str, stem: str, pair: Callable[[], Pair], done: dict[str, list[str]]) -> None:
    """Write a pair, unless one of its files is there."""
    paths = [os.path.join(directory, f"{stem}{ending}") for ending in (".pem", ".key")]
    if any(map(os.path.lexists, paths)):
        done["kept"] += paths
    else:
        _write(paths, pair(), done)


def _write(paths: Sequence[str], pair: Pair, done: dict[str, list[str]]) -> None:
    for path, octets, mode in zip(paths, (pair.pem, pair.key_pem), (0o644, 0o600), strict=True):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, mode), "wb") as file:
            file.write(octets)
        done["written"].append(path)


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    days: float,
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + timedelta(days=days)) - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    """What the key may do: vouch for others, or prove who it is."""
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def own_names() -> list[str]:
    """What a relay on this host may be called by its clients, if nothing else is said."""
    return [socket.gethostname(), "localhost", "127.0.0.1", "::1"]


def advice(
    directory: str,
    client: str,
    made: dict[str, list[str]],
    servers: Sequence[str] | None = None,
) -> Iterator[str]:
    """What to tell of what was done, and what to do with it.

    ``servers`` are the names that were asked for, None where none were.
    """
    host = servers[0] if servers else "HOST"
    host = f"[{host}]" if ":" in host else host
    for how, paths in made.items():
        yield from (f"{how:8}{path}" for path in paths)
    at = os.path.abspath(directory)
    if servers and os.path.join(directory, "server.pem") in made["kept"]:
        yield f"{at}/server.pem stays as it was, with the names it has: remove it and"
        yield f"{at}/server.key to have it made anew for {', '.join(servers)}"
    yield ""
    yield "the relay:  rtpproxy-tw -s tls:HOST \\"
    yield f"  --tls-cert {at}/server.pem --tls-key {at}/server.key --tls-ca {at}/ca.pem"
    yield f"beside the SIP proxy:  rtpproxy-tlsproxy --listen udp:127.0.0.1:22222 --to {host} \\"
    yield f"  --cert {at}/{client}.pem --key {at}/{client}.key --ca {at}/ca.pem"
    yield f"keep {at}/ca.key away from both: whoever has it can make clients"
