"""Who may use the HTTP interface: decided for each request before anything else happens.

========  =======================================================================================
UNIX      the socket's mode says who may connect
loopback  every user and every browser of this machine can connect. A browser may be led here by
          a page from elsewhere, under a name of that page's choice (DNS rebinding): so ``Host``
          must name loopback and ``Origin``, where there is one, this very host
public    a token (RFC 6750) or a client certificate as well
========  =======================================================================================

A token, once there is one, is wanted on every TCP endpoint. What a load balancer asks about
health, and what is the same on every relay, needs none.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple
from urllib.parse import urlsplit

from rtpproxy_tw.addresses import is_loopback

OPEN = frozenset((b"/", b"/healthz", b"/readyz", b"/openapi.json"))
"""Paths that tell nothing of anybody's calls."""

FILES = b"/page/"
"""Below it are the parts of the page, which are the same on every relay."""


class Reach(Enum):
    """From where an endpoint can be reached."""

    UNIX = "unix"
    LOOPBACK = "loopback"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request says of whoever sends it; header values as they came, None without one."""

    path: bytes
    host: str | None = None
    origin: str | None = None
    site: str | None = None
    """``Sec-Fetch-Site``, which browsers send."""
    authorization: bytes | None = field(default=None, repr=False)


class Refusal(NamedTuple):
    """An HTTP status and a sentence."""

    status: int
    sentence: str


class Guard:
    """The rules for one endpoint; ``certified``: TLS lets in holders of a certificate only."""

    def __init__(
        self, reach: Reach, tokens: Iterable[bytes] = (), *, certified: bool = False
    ) -> None:
        self.reach = reach
        self.certified = certified
        self._tokens = tuple(tokens)

    @property
    def closed(self) -> bool:
        """Whether nobody could ever get in, for lack of tokens and certificates."""
        return self.reach is Reach.PUBLIC and not (self._tokens or self.certified)

    def refusal(self, caller: Caller) -> Refusal | None:
        """Why ``caller`` may not go on, None where it may."""
        if self.reach is Reach.LOOPBACK and not _names_loopback(caller.host):
            return Refusal(403, "this endpoint answers to loopback names only; see Host")
        if not _same_origin(caller):
            return Refusal(403, "a page from elsewhere may not use this interface")
        if self.reach is Reach.UNIX or caller.path in OPEN:
            return None
        if caller.path.startswith(FILES):
            return None
        return self._unknown(caller)

    def _unknown(self, caller: Caller) -> Refusal | None:
        if self.certified or (self.reach is Reach.LOOPBACK and not self._tokens):
            return None
        scheme, _, given = (caller.authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return Refusal(401, "a token is needed: Authorization: Bearer TOKEN")
        known = False
        for token in self._tokens:  # all of them, so that the time tells nothing
            known |= hmac.compare_digest(token, given.strip())
        return None if known else Refusal(401, "this token is not known here")


def _same_origin(caller: Caller) -> bool:
    if caller.site is not None and caller.site not in ("same-origin", "none"):
        return False
    if caller.origin is None:
        return True
    try:
        return urlsplit(caller.origin).netloc.lower() == (caller.host or "").lower() != ""
    except ValueError:
        return False


def _names_loopback(host: str | None) -> bool:
    try:
        name = urlsplit(f"//{host or ''}").hostname
        return name == "localhost" or (name is not None and is_loopback(name))
    except ValueError:
        return False


def tokens_in(content: bytes) -> tuple[bytes, ...]:
    """The tokens of a file: one a line; empty lines and those that begin with ``#`` are none."""
    lines = (line.strip() for line in content.splitlines())
    return tuple(line for line in lines if line and not line.startswith(b"#"))
