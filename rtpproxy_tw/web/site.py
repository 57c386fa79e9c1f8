"""Requests to answers: paths, methods, headers and status codes, over the values of ``api``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from rtpproxy_tw.views.text import identified, to_json
from rtpproxy_tw.web.api import Api, Filter, Refused, View
from rtpproxy_tw.web.guard import Caller, Guard
from rtpproxy_tw.web.openapi import MAX_LIMIT, document
from rtpproxy_tw.web.outside import Examining
from rtpproxy_tw.web.slices import Slices
from rtpproxy_tw.web.stream import MEDIA_TYPE, MOST, EventStream

JSON = "application/json"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
PCAP = "application/vnd.tcpdump.pcap"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Content-Security-Policy: nothing but our own files, nothing inline, no frames, no forms; and no
text ever becomes markup, whatever the scripts try."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

KINDS = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""Media types of the page's files; one of another kind is not served."""

START = "index.html"


def _page() -> Mapping[bytes, str]:
    """The files of the page by name, with their media types."""
    files = resources.files(__package__) / "page"
    found = ((file.name, KINDS.get(file.name.rpartition(".")[2])) for file in files.iterdir())
    return {name.encode(): kind for name, kind in found if kind is not None}


PAGE = _page()

Body = View | bytes | Iterator[bytes] | Deferred[bytes] | EventStream


LONGEST_DRAIN = 1e6
"""Seconds, some eleven days."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent with status 200."""

    body: Body
    media_type: str = JSON
    file_name: str | None = None


Handler = Callable[[Request], Answer]


class Interface(Resource):
    """The whole HTTP interface of one endpoint, behind ``guard``.

    ``metrics`` makes the text of /metrics; it may take a while.
    """

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        *,
        api: Api,
        guard: Guard,
        clock: IReactorTime,
        metrics: Callable[[], Deferred[bytes]],
        examining: Examining | None = None,
    ) -> None:
        super().__init__()
        self._examining = examining or Examining(None)
        self.guard = guard
        self._api = api
        self._clock = clock
        self._metrics = metrics

    def render(self, request: Request) -> Any:
        """Answer ``request``."""
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        try:
            answer = self._handler(request)(request)
        except Refused as refused:
            return _error(request, refused)
        except Exception:
            self._log.failure("a request over HTTP met a fault of the relay itself")
            return _error(request, Refused(500, "internal", "a fault of the relay itself"))
        return self._send(request, answer)

    def _handler(self, request: Request) -> Handler:
        refusal = self.guard.refusal(_caller(request))
        if refusal is not None:
            if refusal.status == 401:
                request.setHeader("WWW-Authenticate", 'Bearer realm="rtpproxy-tw"')
            code = "unauthorised" if refusal.status == 401 else "forbidden"
            raise Refused(refusal.status, code, refusal.sentence)
        handlers = self._handlers(request.postpath or [])
        if not handlers:
            raise Refused(404, "no-such-path", "there is nothing at this path; see /openapi.json")
        method = request.method.decode("latin-1")
        handler = handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = [*handlers, *(["HEAD"] if "GET" in handlers else [])]
            request.setHeader("Allow", ", ".join(allowed))
            raise Refused(405, "no-such-method", f"here one can only {', '.join(allowed)}")
        return handler

    def _handlers(self, path: list[bytes]) -> Mapping[str, Handler]:
        api = self._api
        match path:
            case [b""]:
                return {"GET": partial(_static, START.encode())}
            case [b"page", name] if name in PAGE:
                return {"GET": partial(_static, name)}
            case [b"openapi.json"]:
                return {"GET": _plain(lambda: document(api.version))}
            case [b"healthz"]:
                return {"GET": _plain(lambda: {"healthy": True})}
            case [b"readyz"]:
                return {"GET": _plain(api.ready)}
            case [b"metrics"]:
                return {"GET": self._scrape}
            case [b"api", b"v1", *rest]:
                return self._api_handlers(rest)
            case _:
                return {}

    def _api_handlers(self, path: list[bytes]) -> Mapping[str, Handler]:
        api = self._api
        match path:
            case [b"calls"]:
                return {"GET": lambda request: Answer(api.calls(_filter(request)))}
            case [b"calls", call]:
                call_id = identified(call)
                return {
                    "GET": _plain(partial(api.call, call_id)),
                    "DELETE": _plain(partial(api.delete, call_id)),
                }
            case [b"calls", call, b"why"]:
                return {"GET": _plain(partial(api.why, identified(call)))}
            case [b"calls", call, b"trace"]:
                return {"GET": partial(_trace, api, identified(call))}
            case [b"calls", call, b"record"]:
                call_id = identified(call)
                return {
                    "POST": partial(_record, api, call_id),
                    "DELETE": _plain(partial(api.stop_recording, call_id)),
                }
            case [b"calls", call, b"debug"]:
                call_id = identified(call)
                return {
                    "PUT": _plain(partial(api.debug, call_id, on=True)),
                    "DELETE": _plain(partial(api.debug, call_id, on=False)),
                }
            case [b"events"]:
                return {"GET": self._listen}
            case [b"outside"]:
                return {"POST": lambda request: Answer(self._examining.begin(_posted(request)))}
            case [b"outside", name]:
                return {"DELETE": _plain(partial(self._examining.end, name.decode("latin-1")))}
            case [b"outside", name, b"probes"]:
                return {"POST": partial(_probes, self._examining, name.decode("latin-1"))}
            case [b"stats"]:
                return {"GET": _plain(api.stats)}
            case [b"capacity"]:
                return {"GET": _plain(api.room)}
            case [b"upgrade"]:
                return {"POST": partial(_upgrade, api)}
            case [b"fleet"]:
                return {"GET": _plain(api.fleet)}
            case [b"takeover"]:
                return {"POST": partial(_take_over, api)}
            case [b"reload"]:
                return {"POST": _plain(api.read_again)}
            case [b"drain"]:
                return {
                    "GET": _plain(api.drain),
                    "PUT": partial(_drain, api),
                    "DELETE": _plain(api.stop_draining),
                }
            case _:
                return {}

    def _listen(self, request: Request) -> Answer:
        given = _parameters(request, "since")
        feed = self._api.feed
        if len(feed) >= MOST:
            raise Refused(503, "busy", f"{MOST} are listening already")
        seen = feed.position(_header(request, "Last-Event-ID") or given.get("since"))
        return Answer(EventStream(request, feed, self._clock, seen), MEDIA_TYPE)

    def _scrape(self, request: Request) -> Answer:
        _parameters(request)
        return Answer(self._metrics(), METRICS)

    def _send(self, request: Request, answer: Answer) -> Any:
        request.setHeader("Content-Type", answer.media_type)
        if answer.file_name is not None:
            request.setHeader("Content-Disposition", f'attachment; filename="{answer.file_name}"')
        match answer.body:
            case dict(view):
                return to_json(view) + b"\n"
            case bytes(octets):
                return octets
            case EventStream() as stream:
                if request.method == b"HEAD":
                    return b""
                stream.start()
            case Deferred():
                self._send_later(request, answer.body)
            case chunks:
                Slices(request, chunks, self._clock).start()
        return NOT_DONE_YET

    def _send_later(self, request: Request, body: Deferred[bytes]) -> None:
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        def send(octets: bytes) -> None:
            if not gone:
                request.write(octets)
                request.finish()

        def fail(failure: Any) -> None:
            refused = failure.check(Refused) and failure.value
            if refused:
                if not gone:
                    request.write(_error(request, refused))
                    request.finish()
                return
            self._log.failure("an answer over HTTP could not be made", failure)
            if not gone:
                request.write(_error(request, Refused(500, "internal", "it could not be made")))
                request.finish()

        body.addCallbacks(send, fail)


def _error(request: Request, refused: Refused) -> bytes:
    request.setResponseCode(refused.status)
    request.setHeader("Content-Type", JSON)
    return to_json({"error": {"code": refused.code, "sentence": refused.sentence}}) + b"\n"


def _caller(request: Request) -> Caller:
    return Caller(
        path=request.path,
        host=_header(request, "Host"),
        origin=_header(request, "Origin"),
        site=_header(request, "Sec-Fetch-Site"),
        authorization=request.getHeader(b"Authorization"),
    )


def _header(request: Request, name: str) -> str | None:
    value = request.getHeader(name.encode())
    return None if value is None else value.decode("latin-1")


def _plain(make: Callable[[], View]) -> Handler:
    """The handler of a question without parameters."""

    def handle(request: Request) -> Answer:
        _parameters(request)
        return Answer(make())

    return handle


def _upgrade(api: Api, request: Request) -> Answer:
    wanted = _posted(request)
    options = wanted.get("options")
    known = set(wanted) <= {"options"} and isinstance(options, list | None)
    # As in a command line, no text has a zero in it.
    if not known or not all(isinstance(each, str) and "\0" not in each for each in options or ()):
        raise Refused(400, "bad-body", 'the body may be {"options": ["-F", "..."]}')
    return Answer(api.upgrade(options))


def _static(name: bytes, request: Request) -> Answer:
    _parameters(request)
    octets = (resources.files(__package__) / "page" / name.decode()).read_bytes()
    return Answer(octets, PAGE[name])


def _trace(api: Api, call_id: str, request: Request) -> Answer:
    _parameters(request)
    # Not named after the call: its id is anybody's text.
    return Answer(api.trace(call_id), PCAP, "trace.pcap")


def _record(api: Api, call_id: str, request: Request) -> Answer:
    _parameters(request)
    wanted = _json_body(request)
    if not set(wanted) <= {"single"} or not isinstance(wanted.get("single", False), bool):
        raise Refused(400, "bad-body", 'the body may be {"single": true} or {"single": false}')
    return Answer(api.record(call_id, single=wanted.get("single", False)))


def _probes(examining: Examining, name: str, request: Request) -> Answer:
    return Answer(examining.probe(name, _posted(request)))


def _posted(request: Request) -> dict[str, Any]:
    _parameters(request)
    return _json_body(request)


def _drain(api: Api, request: Request) -> Answer:
    _parameters(request)
    wanted = _json_body(request)
    leave, limit = wanted.get("exit", False), wanted.get("limit")
    known = set(wanted) <= {"exit", "limit"} and isinstance(leave, bool)
    if "limit" in wanted:
        known &= type(limit) in (int, float) and 0 <= wanted["limit"] <= LONGEST_DRAIN
    if not known:
        raise Refused(400, "bad-body", 'the body may be {"exit": true, "limit": SECONDS}')
    return Answer(api.start_draining(leave=leave, limit=limit))


def _take_over(api: Api, request: Request) -> Answer:
    _parameters(request)
    wanted = _json_body(request)
    address = wanted.get("address")
    if not set(wanted) <= {"address"} or not isinstance(address, str | None):
        raise Refused(400, "bad-body", 'the body may be {"address": "192.0.2.1"}')
    return Answer(api.take_over(address))


def _json_body(request: Request) -> dict[str, Any]:
    assert request.content is not None, "all of the request has come"
    request.content.seek(0)  # older versions of Twisted have read forms already
    octets = request.content.read()
    if not octets:
        return {}
    media_type = (_header(request, "Content-Type") or "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise Refused(415, "not-json", f"a body must be {JSON}")
    try:
        body = json.loads(octets)
    except (ValueError, RecursionError):
        raise Refused(400, "bad-body", "the body is not JSON") from None
    if not isinstance(body, dict):
        raise Refused(400, "bad-body", "the body must be an object")
    return body


def _filter(request: Request) -> Filter:
    given = _parameters(request, "search", "verdict", "state", "limit")
    text = given.get("limit")
    limit = None if text is None else _limit(text)
    return Filter(
        search=given.get("search"),
        verdict=given.get("verdict"),
        state=given.get("state"),
        limit=limit,
    )


def _limit(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
    if not 0 < number <= MAX_LIMIT:
        raise Refused(400, "bad-parameter", f"limit must be a whole number from 1 to {MAX_LIMIT}")
    return number


def _parameters(request: Request, *known: str) -> dict[str, str]:
    """The parameters of the query; an unknown one is more likely a typing error than nothing."""
    given = {}
    query = request.uri.partition(b"?")[2].decode("latin-1")
    fields = parse_qs(query, keep_blank_values=True, errors="surrogateescape")
    for name, values in fields.items():
        if name not in known:
            sentence = f"possible parameters: {', '.join(known)}" if known else "there are none"
            raise Refused(400, "unknown-parameter", sentence)
        given[name] = values[-1]
    return given
