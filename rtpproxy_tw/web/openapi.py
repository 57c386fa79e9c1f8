"""The description of the HTTP interface, by which others make clients and test it (OpenAPI 3.1)."""

from __future__ import annotations

from typing import Any

from rtpproxy_tw.probing import LONGEST, PORTS_AT_ONCE, SHORTEST
from rtpproxy_tw.quality.verdict import CODES
from rtpproxy_tw.views.sessions import STATES

Schema = dict[str, Any]

MAX_LIMIT = 1_000_000
"""Calls in a list; no relay has as many."""

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
SIDE: Schema = {"type": "string", "enum": ["caller", "callee"]}
STATE: Schema = {"type": "string", "enum": list(STATES)}
CODE: Schema = {"type": "string", "enum": list(CODES)}


def document(version: str) -> Schema:
    """The whole description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rtpproxy-tw",
            "version": version,
            "description": "The calls of one relay: what they are, why one has no audio, and"
            " what can be done about it. Times are seconds since the epoch.",
        },
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "parameters": {
                "call": {
                    "name": "call",
                    "in": "path",
                    "required": True,
                    "description": "The call-id, percent-encoded byte by byte: the field id.",
                    "schema": {"type": "string", "minLength": 1},
                }
            },
            "responses": {
                "Error": _content("It was not done; the sentence says why.", _ref("Error"))
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _paths() -> Schema:
    calls = "/api/v1/calls"
    one = f"{calls}/{{call}}"
    return {
        calls: {"get": _operation("List calls", "Calls", parameters=_filters())},
        one: {
            "parameters": [_CALL],
            "get": _operation("All of one call", "Call", 404),
            "delete": _operation("End a call", "Deleted", 404),
        },
        f"{one}/why": {
            "parameters": [_CALL],
            "get": _operation("Why there is no audio, in words", "Why", 404),
        },
        f"{one}/trace": {
            "parameters": [_CALL],
            "get": {
                "summary": "Headers of its last packets as a capture file",
                "responses": {
                    "200": {
                        "description": "A file for Wireshark.",
                        "content": {"application/vnd.tcpdump.pcap": {"schema": {}}},
                    },
                    **_errors(404, 409),
                },
            },
        },
        f"{one}/record": {
            "parameters": [_CALL],
            "post": {
                **_operation("Record both parties", "Recorded", 404, 409, 413, 415),
                "requestBody": {
                    "content": {"application/json": {"schema": _ref("Recording")}},
                },
            },
            "delete": _operation("End its recordings", "Stopped", 404),
        },
        f"{one}/debug": {
            "parameters": [_CALL],
            "put": _operation("Log everything of a call", "Debug"),
            "delete": _operation("Log it as usual again", "Debug"),
        },
        "/api/v1/events": {"get": _events()},
        "/api/v1/stats": {"get": _operation("Totals", "Stats")},
        **_outside(),
        "/api/v1/capacity": {"get": _operation("How many calls there can be", "Capacity")},
        "/api/v1/drain": {
            "get": _operation("Whether new sessions are refused", "Drain"),
            "put": {
                **_operation("Refuse new sessions", "Drain", 400, 413, 415),
                "requestBody": {"content": {"application/json": {"schema": _ref("Draining")}}},
            },
            "delete": _operation("Take new sessions again", "Drain", 409),
        },
        "/api/v1/upgrade": {
            "post": {
                **_operation(
                    "Have a new process go on with everything", "Upgraded", 400, 409, 413, 415
                ),
                "requestBody": {"content": {"application/json": {"schema": _ref("Upgrade")}}},
            },
        },
        "/api/v1/fleet": {"get": _operation("The relays that share calls", "Fleet", 409)},
        "/api/v1/takeover": {
            "post": {
                **_operation("Take media addresses over", "Fleet", 400, 409, 413, 415),
                "requestBody": {"content": {"application/json": {"schema": _ref("TakeOver")}}},
            },
        },
        "/api/v1/reload": {"post": _operation("Read certificates again", "Reloaded", 409)},
        "/healthz": {"get": _operation("Whether the process answers", "Healthy")},
        "/readyz": {"get": _operation("Whether calls can be sent here", "Ready", 503)},
        "/metrics": {
            "get": {
                "summary": "Metrics in the text format of Prometheus",
                "responses": {
                    "200": {"description": "Metrics.", "content": {"text/plain": {"schema": TEXT}}},
                    **_errors(),
                },
            }
        },
    }


_CALL = {"$ref": "#/components/parameters/call"}


def _outside() -> Schema:
    name = {"name": "id", "in": "path", "required": True, "schema": {**TEXT, "minLength": 1}}
    octets = {**TEXT, "pattern": "^([0-9a-f]{2})+$"}
    port = {"type": "integer", "minimum": 1024, "maximum": 65535}
    size = {"type": "integer", "minimum": SHORTEST, "maximum": LONGEST}
    wanted = {
        **_object(
            host={**TEXT, "description": "As the STUN answer had it."},
            proof={**octets, "description": "The NONCE of the STUN answer."},
            cookie={**octets, "minLength": 32, "maxLength": 32},
            ports={**_list(port), "minItems": 1, "maxItems": PORTS_AT_ONCE},
            size=size,
        ),
        "required": ["host", "proof", "cookie", "ports"],
    }
    family = {**TEXT, "enum": ["ipv4", "ipv6"]}
    begin = {**_object(family=family), "required": []}
    return {
        "/api/v1/outside": {
            "post": {
                **_operation(
                    "Begin to examine another relay's network from here",
                    "Examination",
                    *(409, 413, 415),
                ),
                "description": "STUN requests (RFC 8489) whose USERNAME is the id are answered at"
                " the port, with the address they came from and a NONCE, which is the proof that"
                " probes may be sent there. Nobody is at the port `closed`.",
                "requestBody": {"content": {"application/json": {"schema": begin}}},
            }
        },
        "/api/v1/outside/{id}": {
            "parameters": [name],
            "delete": _operation("End the examination", "Ended", 404, 409),
        },
        "/api/v1/outside/{id}/probes": {
            "parameters": [name],
            "post": {
                **_operation("Have probes sent to ports", "Probes", 404, 409, 413, 415),
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": wanted}},
                },
            },
        },
    }


def _events() -> Schema:
    return {
        "summary": "What changes, as server-sent events",
        "description": "Once a second what has changed since the second before: events `calls`"
        " (schema LiveCalls), `news` (a list of News) and, last and always, `relay` (LiveRelay),"
        " whose id says how far one was told. Figures of more than 250 calls take turns. A client"
        " that reads slowly is told the present, not all it missed.",
        "parameters": [
            _query("since", "The last event's id, like the header Last-Event-ID.", TEXT),
            {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "Only what is newer; everything where that is not known any more.",
                "schema": TEXT,
            },
        ],
        "responses": {
            "200": {
                "description": "Events without an end.",
                "content": {"text/event-stream": {"schema": {}}},
            },
            **_errors(503),
        },
    }


def _filters() -> list[Schema]:
    return [
        _query("search", "Text within the call-id.", TEXT),
        _query("verdict", "A leg has this verdict.", CODE),
        _query("state", "A session is in this state.", STATE),
        _query(
            "limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}
        ),
    ]


def _schemas() -> Schema:
    named = {"id": TEXT, "call_id": TEXT}
    leg = {"side": SIDE, "verdict": CODE, "remote": _maybe(TEXT), "packets": COUNT}
    session = {"from_tag": TEXT, "state": STATE, "created": NUMBER, "seconds": NUMBER}
    reason = {"side": SIDE, "code": CODE, "sentence": TEXT, "hint": TEXT, "evidence": _list(TEXT)}
    stream = {
        **dict.fromkeys(("accepted", "relayed", "dropped", "ignored", "octets"), COUNT),
        "first_heard": _maybe(NUMBER),
        "last_heard": _maybe(NUMBER),
    }
    return {
        "Examination": _object(
            **{"id": TEXT, "host": _maybe(TEXT), "port": COUNT, "closed": COUNT, "seconds": NUMBER}
        ),
        "Probes": _object(probes=COUNT, waiting=COUNT),
        "Ended": _object(ended=FLAG),
        "Error": _object(error=_object(code=TEXT, sentence=TEXT)),
        "Calls": _object(count=COUNT, calls=_list(_object(**named, sessions=_list(_ref("Brief"))))),
        "Brief": _object(**session, legs=_list(_object(**leg, relayed=COUNT))),
        "Call": _object(**named, debug=FLAG, sessions=_list(_ref("Session"))),
        "Session": _object(
            **session,
            answered=_maybe(NUMBER),
            ended=_maybe(TEXT),
            legs=_list(_ref("Leg")),
            timeline=_list(_object(at=_maybe(NUMBER), kind=TEXT, text=TEXT)),
        ),
        "Leg": _object(
            side=SIDE,
            **dict.fromkeys(("local", "signalled", "source", "remote"), _maybe(TEXT)),
            latch=TEXT,
            relatches=COUNT,
            held=FLAG,
            holds=COUNT,
            payload_types=_list(COUNT),
            recording={
                "description": "What is recorded of the party; null: nothing.",
                "oneOf": [
                    {"type": "null"},
                    _object(name=TEXT, packets=COUNT, lost=COUNT, failed=FLAG, paused=FLAG),
                ],
            },
            rtp=_ref("Stream"),
            rtcp=_ref("Stream"),
            verdict=_object(code=CODE, sentence=TEXT, hint=TEXT, evidence=_list(TEXT)),
            quality={"type": "object"},
            history=_list(_ref("Interval")),
        ),
        "Interval": {
            "description": "What a party sent in some ten seconds; at is their end.",
            **_object(
                at=NUMBER,
                seconds=NUMBER,
                packets=COUNT,
                lost={"type": "integer"},
                jitter_ms=_maybe(NUMBER),
                mos=_maybe(NUMBER),
            ),
        },
        "Stream": _object(**stream),
        "Why": _object(
            **named,
            sessions=_list(
                _object(
                    from_tag=TEXT, state=STATE, ended=_maybe(TEXT), legs=_list(_object(**reason))
                )
            ),
        ),
        "Deleted": _object(**named, deleted=COUNT),
        "Recording": {
            "type": "object",
            "properties": {"single": {**FLAG, "description": "Both parties in one file."}},
            "additionalProperties": False,
        },
        "Recorded": _object(**named, recorded=COUNT),
        "Stopped": _object(**named, stopped=COUNT),
        "Debug": _object(**named, debug=FLAG),
        "Stats": _object(
            version=TEXT, time=NUMBER, sessions=COUNT, draining=FLAG, totals={"type": "object"}
        ),
        "Capacity": _object(
            calls=COUNT,
            why=TEXT,
            sessions=COUNT,
            ports=_list(_object(family=TEXT, pairs=COUNT, free=COUNT)),
        ),
        **_live(session),
        "Upgraded": _object(process=COUNT),
        "Reloaded": _object(reloaded=_list(TEXT)),
        "Drain": _object(
            draining=FLAG,
            ending=FLAG,
            sessions=COUNT,
            of=COUNT,
            seconds_left={"type": ["number", "null"]},
        ),
        "Draining": {
            "type": "object",
            "properties": {"exit": FLAG, "limit": {"type": "number", "minimum": 0}},
            "additionalProperties": False,
        },
        "Upgrade": {
            "type": "object",
            "properties": {"options": _list(TEXT)},
            "additionalProperties": False,
        },
        "TakeOver": {
            "type": "object",
            "properties": {"address": TEXT},
            "additionalProperties": False,
        },
        "Fleet": {"type": "object", "required": ["node", "store", "addresses", "nodes"]},
        "Healthy": _object(healthy=FLAG),
        "Ready": _object(ready=FLAG),
    }


def _live(session: Schema) -> Schema:
    """What events consist of."""
    figure = {"type": ["number", "null"]}
    leg = {
        **{"side": SIDE, "verdict": CODE, "kernel": FLAG, "loss_ratio": NUMBER},
        "sentence": {**TEXT, "description": "What is wrong; empty where nothing is."},
        **dict.fromkeys(("remote", "local", "codec"), _maybe(TEXT)),
        **dict.fromkeys(("packets", "relayed", "received", "lost"), COUNT),
        **dict.fromkeys(("jitter_ms", "rtt_ms", "mos", "mos_last"), figure),
    }
    known = {name: session[name] for name in ("from_tag", "state", "created")}
    counts = {"type": "object", "additionalProperties": COUNT}
    return {
        "LiveCalls": _object(
            reset={**FLAG, "description": "Forget all calls that were told before."},
            calls=_list(_ref("LiveCall")),
            gone={**_list(TEXT), "description": "The field id of calls that have ended."},
        ),
        "LiveCall": _object(
            id=TEXT,
            call_id=TEXT,
            at={**NUMBER, "description": "When the figures were read."},
            sessions=_list(_object(**known, recording=FLAG, legs=_list(_object(**leg)))),
        ),
        "News": _object(
            at=NUMBER,
            id=TEXT,
            call_id=TEXT,
            kind={"type": "string", "enum": ["verdict", "recording", "end", "address"]},
            side={"oneOf": [SIDE, {"type": "null"}]},
            code={**TEXT, "description": "Of `address`, which is of no call: a sentence."},
        ),
        "LiveRelay": _object(
            **{"version": TEXT, "time": NUMBER, "sessions": COUNT},
            **{"draining": FLAG, "ending": FLAG, "totals": {"type": "object"}},
            of={**COUNT, "description": "Sessions there were when new ones were refused."},
            seconds_left=figure,
            fleet={"oneOf": [_ref("Fleet"), {"type": "null"}]},
            capacity=_object(calls=COUNT, why=TEXT),
            ports=_list(_object(family=TEXT, pairs=COUNT, free=COUNT)),
            verdicts={**counts, "description": "Legs by verdict."},
            states={**counts, "description": "Sessions by state."},
            kernel={**COUNT, "description": "Legs whose media the kernel carries."},
        ),
    }


def _operation(
    summary: str, schema: str, *errors: int, parameters: list[Schema] | None = None
) -> Schema:
    made: Schema = {
        "summary": summary,
        "responses": {"200": _content("Done.", _ref(schema)), **_errors(*errors)},
    }
    if parameters is not None:
        made["parameters"] = parameters
    return made


def _errors(*more: int) -> Schema:
    statuses = sorted({400, 401, 403, *more})
    return {str(status): {"$ref": "#/components/responses/Error"} for status in statuses}


def _content(about: str, schema: Schema) -> Schema:
    return {"description": about, "content": {"application/json": {"schema": schema}}}


def _query(name: str, about: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": about, "schema": schema}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _maybe(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
