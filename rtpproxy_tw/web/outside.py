"""What another relay may ask of this one to examine its own network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from twisted.logger import Logger

from rtpproxy_tw.addresses import canonical
from rtpproxy_tw.errors import RelayError
from rtpproxy_tw.probing import SHORTEST, Wanted
from rtpproxy_tw.probing import Refused as NotSent
from rtpproxy_tw.views.text import shown
from rtpproxy_tw.web.api import Refused, View

FAMILIES = {"ipv4": 2, "ipv6": 10}

_HEX = re.compile(r"[0-9a-f]{2,64}")


class Outside(Protocol):
    """See rtpproxy_tw.outside."""

    def begin(self, family: int) -> View:
        """Begin an examination. Raises RelayError."""

    def send(self, name: str, wanted: Wanted, proof: bytes) -> View:
        """Send probes. Raises KeyError or probing.Refused."""

    def end(self, name: str) -> bool:
        """End an examination; False where there is none such."""


class Examining:
    """Examinations as answers."""

    _log = Logger()

    def __init__(self, outside: Outside | None) -> None:
        """Without an ``outside`` everything is refused."""
        self._outside = outside

    def begin(self, body: Mapping[str, Any]) -> View:
        """Raises Refused."""
        family = body.get("family", "ipv4")
        if set(body) - {"family"} or family not in tuple(FAMILIES):
            raise Refused(400, "bad-body", 'the body may be {"family": "ipv4"} or "ipv6"')
        try:
            return self._there().begin(FAMILIES[family])
        except RelayError as error:
            raise Refused(409, "not-examined", shown(str(error))) from error

    def probe(self, name: str, body: Mapping[str, Any]) -> View:
        """Raises Refused."""
        wanted, proof = _wanted(body)
        try:
            return self._there().send(name, wanted, proof)
        except KeyError:
            raise _unknown() from None
        except NotSent as error:
            raise Refused(409, "not-sent", shown(str(error))) from error

    def end(self, name: str) -> View:
        """Raises Refused."""
        if not self._there().end(name):
            raise _unknown()
        return {"ended": True}

    def _there(self) -> Outside:
        if self._outside is None:
            raise Refused(409, "not-examined", "this relay does not help others")
        return self._outside


def _unknown() -> Refused:
    return Refused(404, "no-such-examination", "there is no such examination, or it is over")


def _wanted(body: Mapping[str, Any]) -> tuple[Wanted, bytes]:
    """What a body asks for. Raises Refused."""
    ports, size = body.get("ports"), body.get("size", SHORTEST)
    if set(body) - {"host", "proof", "cookie", "ports", "size"}:
        raise _bad("host, proof, cookie, ports and size are all there is")
    if not isinstance(ports, list) or not all(_whole(port) for port in ports):
        raise _bad("ports must be a list of whole numbers")
    if not _whole(size):
        raise _bad("size must be a whole number")
    host = body.get("host")
    if not isinstance(host, str):
        raise _bad("host must be an address")
    with suppress(ValueError):  # of what is none there can be no proof
        host = canonical(host)
    return (
        Wanted(host, _octets(body, "cookie"), tuple(map(int, ports)), int(size)),
        _octets(body, "proof"),
    )


def _whole(value: object) -> bool:
    """Whether it is a whole number as JSON has them: 5.0 is one."""
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def _octets(body: Mapping[str, Any], name: str) -> bytes:
    text = body.get(name)
    if not isinstance(text, str) or not _HEX.fullmatch(text) or len(text) % 2:
        raise _bad(f"{name} must be octets in hexadecimal digits")
    return bytes.fromhex(text)


def _bad(sentence: str) -> Refused:
    return Refused(400, "bad-body", sentence)
