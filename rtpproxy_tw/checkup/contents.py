"""Files that the relay reads, read as the relay reads them: what is in them may be of no use."""

from __future__ import annotations

import os
from collections.abc import Iterator

from rtpproxy_tw.checkup.findings import Finding, error, ok, warning
from rtpproxy_tw.configuration.settings import TLS_KINDS, Settings
from rtpproxy_tw.configuration.switches import spelled
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.http_sockets import described, read_tokens, taken_apart

MONTH = 30 * 86400.0
"""Seconds before its end from which on a certificate is worth a warning."""

DAY = 86400.0

NEW = "rtpproxy-ctl certs DIR makes new ones; those of your own authority come from there"

PYOPENSSL = "pip install 'rtpproxy-tw[tls]'"


def read_contents(settings: Settings, now: float) -> tuple[Finding, ...]:
    """What is found in them; ``now`` in seconds since the epoch.

    Files that are not there, or that who asks may not read, are left to ``places``.
    """
    return (*_control(settings, now), *_tokens(settings), *_http(settings, now))


def _control(settings: Settings, now: float) -> Iterator[Finding]:
    """Certificates of ``tls:`` sockets."""
    certificate = settings.tls_cert
    if certificate is None or all(each.kind not in TLS_KINDS for each in settings.control):
        return
    authority = settings.tls_ca if settings.tls_client_cert else None
    files = [certificate, settings.tls_key or certificate, *filter(None, [authority])]
    if not _all_readable(files):
        return
    try:
        from rtpproxy_tw.control.tls import options_of
    except ImportError:
        yield error("tls: sockets", "pyOpenSSL is not installed", PYOPENSSL)
        return
    try:
        options_of(files[0], files[1], authority)
    except ConfigError as wrong:
        yield error("certificates of tls: sockets", str(wrong), NEW)
        return
    for path in dict.fromkeys(filter(None, (certificate, authority))):
        yield from _validity(path, now)


def _validity(path: str, now: float) -> Iterator[Finding]:
    from rtpproxy_tw.control.tls import expiries

    for each in expiries(path):
        days = (each.until - now) / DAY
        subject = f"certificate {path}"
        if days < 0:
            yield warning(subject, f"{each.subject} is no longer valid: nobody gets in", NEW)
        elif each.until - now < MONTH:
            yield warning(subject, f"{each.subject} is valid for {days:.0f} more days", NEW)
        else:
            yield ok(subject, f"{each.subject}, valid for {days:.0f} days")


def _tokens(settings: Settings) -> Iterator[Finding]:
    path = settings.http_token_file
    if path is None or not _all_readable([path]):
        return
    try:
        read_tokens(path)
    except ConfigError:
        yield error(
            f"{spelled('http_token_file')} {path}",
            "there is no token in it",
            f"(umask 077; openssl rand -hex 32 > {path})",
        )


def _http(settings: Settings, now: float) -> Iterator[Finding]:
    """Endpoints that describe nothing, or whose files are of no use."""
    for text in settings.http:
        try:
            words = taken_apart(text)
            if words.kind == "unix":
                continue
            described(None, text, settings.http_client_ca)
        except (ConfigError, OSError, ValueError, TypeError, LookupError) as wrong:
            yield error(f"HTTP at {text}", str(wrong), "see --http in the manual")
            continue
        if words.kind == "ssl":
            key = words.named.get("privateKey", "server.pem")
            yield from _validity(words.named.get("certKey", key), now)


def _all_readable(paths: list[str]) -> bool:
    return all(os.path.isfile(path) and os.access(path, os.R_OK) for path in paths)
