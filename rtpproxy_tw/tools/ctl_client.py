"""The HTTP interface from the client's side: a UNIX socket, or TCP with or without TLS. Blocks.

Only the standard library, so that a command is answered before it would be noticed.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

TIMEOUT = 75.0
"""Seconds to wait for the relay; a list of all calls of a busy one takes a few, a new
process up to a minute."""

MAX_ANSWER = 1 << 30
"""Octets. A relay does not send more; something else may."""


class Unreachable(Exception):
    """Nobody answered, or not in our language; the text says why."""


class Refused(Exception):
    """The relay answered that it does not do it; the text is its sentence."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


class Credentials(NamedTuple):
    """What a TCP endpoint may want: a token, a client certificate; and whom we trust there."""

    token: str | None = None
    certificate: str | None = None
    key: str | None = None
    authority: str | None = None

    def __repr__(self) -> str:
        shown = self._replace(token=None if self.token is None else "***")
        return f"Credentials{tuple(shown)}"


class Target(NamedTuple):
    """Where the interface is: ``scheme`` is ``unix``, ``http`` or ``https``."""

    scheme: str
    host: str
    port: int = 0
    prefix: str = ""

    @property
    def text(self) -> str:
        """As ``--api`` takes it."""
        if self.scheme == "unix":
            return f"unix:{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"


def read_target(text: str) -> Target:
    """``unix:PATH``, a path, ``http://HOST:PORT`` or ``https://…``. Raises ValueError."""
    if text.startswith(("/", ".")):
        return Target("unix", text)
    if text.startswith("unix:"):
        if len(text) == len("unix:"):
            raise ValueError(f"{text}: a path is missing")
        return Target("unix", text.removeprefix("unix:"))
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text}: neither a path, nor unix:PATH, http://HOST or https://HOST")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Target(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))


def call_path(call: str, *further: str) -> str:
    """The path of a call; ``call`` as it came from the command line, whatever its bytes."""
    # Not only what must be: a call-id "." would be taken out of the path as a step to nowhere.
    name = quote(os.fsencode(call), safe="").replace(".", "%2E")
    return "/".join(("/api/v1/calls", name, *further))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """Asks one relay, one question per connection."""

    def __init__(self, target: Target, credentials: Credentials | None = None) -> None:
        self.target = target
        self._credentials = credentials or Credentials()

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: Mapping[str, object] | None = None,
        **query: object,
    ) -> dict[str, Any]:
        """The JSON object of the answer. Raises Refused or Unreachable."""
        octets = self.fetch(path, method, body, **query)
        try:
            found = json.loads(octets)
        except ValueError:
            raise Unreachable(f"what answers at {self.target.text} is no relay") from None
        if not isinstance(found, dict):
            raise Unreachable(f"what answers at {self.target.text} is no relay")
        return found

    def fetch(
        self,
        path: str,
        method: str = "GET",
        body: Mapping[str, object] | None = None,
        **query: object,
    ) -> bytes:
        """The octets of the answer. Raises Refused or Unreachable."""
        wanted = {name: value for name, value in query.items() if value is not None}
        whole = self.target.prefix + path + (f"?{urlencode(wanted)}" if wanted else "")
        headers = {"Accept": "*/*"}
        if self._credentials.token is not None:
            headers["Authorization"] = f"Bearer {self._credentials.token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection = self._connection()
            try:
                connection.request(
                    method, whole, None if body is None else json.dumps(body), headers
                )
                answer = connection.getresponse()
                octets = answer.read(MAX_ANSWER)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self.target.text}: {_why(error)}") from error
        if answer.status != 200:
            raise _refusal(answer.status, octets)
        return octets

    def _connection(self) -> http.client.HTTPConnection:
        target = self.target
        match target.scheme:
            case "unix":
                return _UnixConnection(target.host)
            case "http":
                return http.client.HTTPConnection(target.host, target.port, timeout=TIMEOUT)
            case _:
                context = ssl.create_default_context(cafile=self._credentials.authority)
                if self._credentials.certificate is not None:
                    context.load_cert_chain(self._credentials.certificate, self._credentials.key)
                return http.client.HTTPSConnection(
                    target.host, target.port, timeout=TIMEOUT, context=context
                )


def _refusal(status: int, octets: bytes) -> Refused:
    try:
        error = json.loads(octets)["error"]
        return Refused(status, str(error["code"]), str(error["sentence"]))
    except (ValueError, LookupError, TypeError):
        return Refused(status, "unknown", f"the answer was {status}")


def _why(error: Exception) -> str:
    match error:
        case FileNotFoundError():
            return "there is no such socket; is the relay running, and with this --http?"
        case ConnectionRefusedError():
            return "nobody listens there"
        case PermissionError():
            return "this user may not use that socket"
        case TimeoutError():
            return "there was no answer in time"
        case OSError(strerror=str(text)):
            return text
        case _:
            return str(error) or type(error).__name__
