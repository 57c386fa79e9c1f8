"""Who could command the relay, and who could look into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_network

from rtpproxy_tw.addresses import is_loopback
from rtpproxy_tw.checkup.facts import World
from rtpproxy_tw.checkup.findings import Finding, error, ok, warning
from rtpproxy_tw.checkup.network import WILDCARDS
from rtpproxy_tw.configuration.settings import (
    INET_KINDS,
    TLS_KINDS,
    UNIX_KINDS,
    ControlAddress,
    Settings,
)
from rtpproxy_tw.http_sockets import Words, taken_apart


def control(settings: Settings, world: World) -> Iterator[Finding]:
    """Every control socket."""
    for address in settings.control:
        subject = f"access to {address.text}"
        if address.kind in INET_KINDS:
            yield _inet(subject, address, settings)
        elif address.kind in UNIX_KINDS:
            yield _unix(subject, address, settings, world)
    yield from _root(settings, world)


def _inet(subject: str, address: ControlAddress, settings: Settings) -> Finding:
    if address.kind in TLS_KINDS and settings.tls_client_cert:
        return ok(subject, "holders of a certificate only")
    anybody = [net for net in settings.control_allow if not ip_network(net).prefixlen]
    if is_loopback(address.host):
        return ok(subject, "this host only")
    if anybody:
        return error(
            subject,
            f"whoever can reach it may end every call ({', '.join(anybody)} is allowed)",
            "--control-allow with the addresses of your SIP proxies only",
        )
    if settings.control_allow:
        return ok(subject, f"{', '.join(settings.control_allow)} only")
    if address.host in WILDCARDS:
        return error(
            subject,
            "it is open on every address of this host, to all the networks it is in",
            "--control-allow ADDRESS-OF-THE-SIP-PROXY, and -s with one address instead of *",
        )
    return warning(
        subject,
        "everybody in this address's network may command",
        "--control-allow ADDRESS-OF-THE-SIP-PROXY",
    )


def _unix(subject: str, address: ControlAddress, settings: Settings, world: World) -> Finding:
    mode = settings.socket_mode
    if settings.group is not None and mode is not None and mode & 0o002:
        return error(
            subject,
            f"its mode {mode:04o} lets every user of this host command",
            f"-w {mode & ~0o007} (decimal for {mode & ~0o007:04o})",
        )
    folder = world.places.get(os.path.dirname(address.host))
    if folder is not None and folder.mode & 0o002 and not folder.mode & 0o1000:
        return error(
            subject,
            f"every user may put another socket in its place ({folder.mode & 0o7777:04o})",
            f"chmod o-w {os.path.dirname(address.host)}",
        )
    return ok(subject, "by the socket's mode and folder")


def _root(settings: Settings, world: World) -> Iterator[Finding]:
    if world.account.uid or settings.allow_root:
        return
    remedy = "-u USER to run as another user, or -F"
    if any(address.kind in ("udp", "udp6") for address in settings.control):
        yield error("user", "root takes no commands over UDP", remedy)
    else:
        yield warning("user", "the relay would run as root", remedy)


def http(settings: Settings) -> Iterator[Finding]:
    """Every HTTP endpoint."""
    for text in settings.http:
        subject = f"HTTP at {text}"
        try:
            words = taken_apart(text)
            yield _http(subject, words, settings)
        except (ValueError, IndexError):
            yield error(subject, "this is not an endpoint", "see Endpoints in Twisted's manual")


def _http(subject: str, words: Words, settings: Settings) -> Finding:
    if words.kind == "unix":
        mode = int(words.named.get("mode", "660"), 8)
        if mode & 0o002:
            return error(subject, f"its mode {mode:o} lets every user in", "mode=660")
        return ok(subject, "by the socket's mode")
    host = words.named.get("interface", "")
    if host and is_loopback(host):
        return ok(subject, "this host only")
    certified = words.kind == "ssl" and settings.http_client_ca is not None
    if not certified and settings.http_token_file is None:
        return error(
            subject,
            "others could reach it, so the relay will not start",
            "--http-token-file FILE, or ssl with --http-client-ca, or interface=127.0.0.1",
        )
    if words.kind == "tcp":
        return warning(subject, "the token is sent in clear", "ssl:PORT:privateKey=FILE")
    return ok(subject, "with a token or a certificate")
