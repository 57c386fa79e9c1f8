"""The HTTP interface: what is asked and done, errors, hostile names, limits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from rtpproxy_tw.quality.verdict import CODES
from rtpproxy_tw.web import site
from rtpproxy_tw.web.guard import Guard, Reach
from rtpproxy_tw.web.requests import MAX_BODY, MAX_CONNECTIONS
from rtpproxy_tw.web.site import HEADERS
from tests.conftest import LoggedFailures
from tests.web.client import CALLEE, CALLER, NASTY, WALL, Connection, Served, request

CALLS = "/api/v1/calls"


def path_of(call_id: str) -> str:
    """Where a call is."""
    return f"{CALLS}/{quote(call_id.encode('utf-8', 'surrogateescape'), safe='')}"


def test_calls_are_listed_with_verdicts() -> None:
    served = Served()
    served.call("one")
    served.call("two", answered=False)
    served.media("one", packets=3)
    answer = served.ask(CALLS).json
    assert answer["count"] == 2
    assert [call["call_id"] for call in answer["calls"]] == ["one", "two"]
    (session,) = answer["calls"][0]["sessions"]
    assert session["state"] == "both"
    assert session["created"] == WALL
    caller, callee = session["legs"]
    assert caller == {
        "side": "caller",
        "verdict": caller["verdict"],
        "remote": "192.0.2.1:4000",
        "packets": 3,
        "relayed": 3,
    }
    assert callee["remote"] == "198.51.100.1:5000"
    assert caller["verdict"] in CODES


def test_all_media_of_a_call_are_one_entry() -> None:
    served = Served()
    served.call("one", "a;1")
    served.call("one", "a;2")
    answer = served.ask(CALLS).json
    assert answer["count"] == 1
    assert [each["from_tag"] for each in answer["calls"][0]["sessions"]] == ["a;1", "a;2"]


@pytest.mark.parametrize(
    "query, found",
    [
        ("", ["one", "other"]),
        ("?search=ot", ["other"]),
        ("?search=%6ft", ["other"]),
        ("?search=nothing", []),
        ("?limit=1", ["one"]),
        ("?state=both", ["one"]),
        ("?state=setup", ["other"]),
        ("?state=held", []),
        ("?verdict=ok", ["one"]),
        ("?verdict=looped-to-us", []),
        ("?verdict=ok&search=other", []),
    ],
)
def test_a_list_can_be_narrowed(query: str, found: list[str]) -> None:
    served = Served()
    served.call("one")
    served.call("other", answered=False)
    served.media("one", packets=60)
    answer = served.ask(CALLS + query).json
    assert [call["call_id"] for call in answer["calls"]] == found
    assert answer["count"] == len(found)


@pytest.mark.parametrize(
    "query",
    [
        *(
            "?limit=0",
            "?limit=1000001",
            "?limit=-1",
            "?limit=x",
            "?limit=",
            "?limit=%D9%A1",
            "?state=odd",
        ),
        *("?verdict=odd", "?verdict=", "?unknown=1", "?%ff=%ff"),
    ],
)
def test_a_wrong_parameter_is_refused(query: str) -> None:
    answer = Served().ask(CALLS + query)
    assert answer.status == 400
    assert answer.json["error"]["sentence"]


def test_one_call_is_told_whole() -> None:
    served = Served()
    served.call()
    served.media(packets=5)
    answer = served.ask(f"{CALLS}/call").json
    (session,) = answer["sessions"]
    assert session["ended"] is None
    caller, callee = session["legs"]
    assert caller["source"] == "{}:{}".format(*CALLER)
    assert callee["source"] == "{}:{}".format(*CALLEE)
    assert caller["rtp"]["accepted"] == 5
    assert caller["quality"]["packets"] == 5
    assert caller["verdict"]["sentence"]
    assert isinstance(session["timeline"], list)


def test_why_is_answered_in_words() -> None:
    served = Served()
    served.call()
    served.bench.clock.advance(30)
    (session,) = served.ask(f"{CALLS}/call/why").json["sessions"]
    for leg in session["legs"]:
        assert leg["code"] == "never-arrived"
        assert leg["sentence"]


def test_a_call_that_has_ended_can_still_be_asked_about() -> None:
    served = Served()
    served.call()
    served.media(packets=60)
    before = served.ask(f"{CALLS}/call/why").json["sessions"][0]["legs"]
    served.ask(f"{CALLS}/call", "DELETE")
    served.bench.clock.advance(600)
    (session,) = served.ask(f"{CALLS}/call/why").json["sessions"]
    assert session["ended"] == "deleted"
    assert [leg["code"] for leg in session["legs"]] == [leg["code"] for leg in before]
    assert served.ask(f"{CALLS}/call").json["sessions"][0]["ended"] == "deleted"
    assert served.ask(CALLS).json["count"] == 0


@pytest.mark.parametrize("what", ["", "/why", "/trace"])
def test_an_unknown_call_is_told_as_such(what: str) -> None:
    answer = Served().ask(f"{CALLS}/nothing{what}")
    assert answer.status == 404
    assert answer.json["error"]["code"] == "no-such-call"


def test_a_call_is_deleted_with_all_its_media() -> None:
    served = Served()
    served.call("one", "a;1")
    served.call("one", "a;2")
    served.call("two")
    assert served.ask(f"{CALLS}/one", "DELETE").json["deleted"] == 2
    assert [*served.bench.registry.calls()] == ["two"]
    assert served.ask(f"{CALLS}/one", "DELETE").status == 404


def test_a_call_is_recorded_and_no_longer() -> None:
    served = Served()
    served.call()
    assert served.ask(f"{CALLS}/call/record", "POST").json["recorded"] == 2
    assert len(served.bench.recorders.recording) == 2
    assert served.ask(f"{CALLS}/call/record", "POST", b'{"single":true}').json["recorded"] == 2
    assert served.ask(f"{CALLS}/call/record", "DELETE").json["stopped"] == 2
    assert served.ask(f"{CALLS}/call/record", "DELETE").json["stopped"] == 0


def test_where_nothing_can_be_recorded_the_reason_is_told() -> None:
    served = Served(recording=False)
    served.call()
    answer = served.ask(f"{CALLS}/call/record", "POST")
    assert answer.status == 409
    assert answer.json["error"] == {
        "code": "not-recorded",
        "sentence": "no recording directory",
    }


@pytest.mark.parametrize(
    "body", [b"x", b"[]", b"1", b"null", b'{"single":1}', b'{"other":true}', b"\xff", b"[" * 60000]
)
def test_a_body_that_means_nothing_is_refused(body: bytes) -> None:
    served = Served()
    served.call()
    assert served.ask(f"{CALLS}/call/record", "POST", body).status == 400
    assert not served.bench.recorders.recording


def test_a_body_of_another_type_is_refused() -> None:
    served = Served()
    served.call()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert served.ask(f"{CALLS}/call/record", "POST", b"single=1", headers).status == 415


def test_a_call_is_debugged_and_no_longer() -> None:
    served = Served()
    assert served.ask(f"{CALLS}/call/debug", "PUT").json["debug"] is True
    assert "call" in served.debugging
    assert served.ask(f"{CALLS}/call/debug", "DELETE").json["debug"] is False
    assert "call" not in served.debugging


def test_new_sessions_are_refused_and_taken_again() -> None:
    served = Served()
    assert served.ask("/api/v1/drain").json == {
        **{"draining": False, "ending": False, "sessions": 0},
        **{"of": 0, "seconds_left": None},
    }
    assert served.ask("/api/v1/drain", "PUT").json["draining"] is True
    assert served.ask("/readyz").status == 503
    assert served.ask("/healthz").status == 200
    assert served.ask("/api/v1/drain", "DELETE").json["draining"] is False
    assert served.ask("/readyz").status == 200


@pytest.mark.parametrize(
    "body", [b'{"limit": null}', b'{"limit": true}', b'{"limit": -1}', b'{"exit": 1}', b'{"x": 1}']
)
def test_draining_takes_nothing_but_what_is_described(body: bytes) -> None:
    served = Served()
    kind = {"Content-Type": "application/json"}
    assert served.ask("/api/v1/drain", "PUT", body, kind).status == 400
    assert not served.draining.draining


def test_a_relay_that_is_going_to_end_cannot_be_kept_from_it() -> None:
    served = Served()
    served.draining.draining = served.draining.ending = True
    assert served.ask("/api/v1/drain", "DELETE").status == 409
    assert served.draining.draining


def test_a_relay_without_its_control_sockets_is_not_ready() -> None:
    served = Served()
    served.listening = False
    assert served.ask("/readyz").json["error"]["code"] == "starting"


def test_totals_and_room_are_told() -> None:
    served = Served()
    served.call()
    stats = served.ask("/api/v1/stats").json
    assert stats["totals"]["nsess_created"] == 1
    assert stats["version"] == "1.2.3"
    assert served.ask("/api/v1/capacity").json == {
        "calls": 42,
        "why": "limited by a test",
        "sessions": 1,
        "ports": [{"family": "ipv4", "pairs": 100, "free": 99}],
    }


PAGE = Path(site.__file__).parent / "page"


def test_the_page_and_its_parts_are_served_under_a_strict_policy() -> None:
    served = Served()
    kinds = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    names = [file for file in PAGE.iterdir() if file.suffix in kinds]
    assert len(names) > 1
    for path, kind in (
        ("/", "text/html"),
        *((f"/page/{file.name}", kinds[file.suffix]) for file in names),
    ):
        answer = served.ask(path)
        assert answer.status == 200
        assert answer.headers["content-type"].partition(";")[0] == kind
        for name, value in HEADERS.items():
            assert answer.headers[name.lower()] == value


def test_the_page_has_nothing_that_the_policy_forbids() -> None:
    html = (PAGE / "index.html").read_text()
    assert not re.search(r"\sstyle=|\son[a-z]+=|<script(?! [^>]*src=)|<style", html)
    for file in PAGE.iterdir():
        text = file.read_text()
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), file
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


@pytest.mark.parametrize(
    "path",
    [
        *("/nothing", "/api", "/api/v1", "/api/v2/calls", f"{CALLS}/a/b", f"{CALLS}/a/why/x"),
        *(
            "/page",
            "/page/",
            "/page/..",
            "/page/%2e%2e",
            "/page/../site.py",
            "/page/%2e%2e%2fsite.py",
        ),
        *("/page/index", "/page/x/y", "/page/app.js/", "/page/app.js%00", "/site.py", "//"),
        *("/metrics/", "/page.js", "/api/v1/stats/", "/%00", "/index.html"),
    ],
)
def test_there_is_nothing_anywhere_else(path: str) -> None:
    assert Served().ask(path).status == 404


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        ("POST", CALLS, "GET, HEAD"),
        ("PUT", f"{CALLS}/x", "GET, DELETE, HEAD"),
        ("GET", f"{CALLS}/x/record", "POST, DELETE"),
        ("TRACE", "/", "GET, HEAD"),
        ("get", "/", "GET, HEAD"),
        ("OPTIONS", "/api/v1/drain", "GET, PUT, DELETE, HEAD"),
    ],
)
def test_another_method_is_told_what_is_possible(method: str, path: str, allowed: str) -> None:
    answer = Served().ask(path, method)
    assert answer.status == 405
    assert answer.headers["allow"] == allowed


def test_a_head_has_no_body() -> None:
    answer = Served().ask("/healthz", "HEAD")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("call_id", NASTY)
def test_hostile_call_ids_are_only_text(call_id: str) -> None:
    served = Served(trace=1)
    served.call(call_id, call_id)
    served.media(call_id)
    listed = served.ask(CALLS)
    (call,) = listed.json["calls"]
    assert b"<" not in listed.body
    json.loads(listed.body)["calls"][0]["call_id"].encode()  # Unicode, no surrogates
    for path in (path_of(call_id), f"{CALLS}/{call['id']}"):
        for what in ("", "/why"):
            answer = served.ask(path + what)
            assert answer.status == 200
            assert answer.json["id"] == call["id"]
            assert b"<" not in answer.body
    trace = served.ask(f"{path_of(call_id)}/trace")
    assert trace.status == 200
    assert trace.headers["content-disposition"] == 'attachment; filename="trace.pcap"'
    assert served.ask(path_of(call_id), "DELETE").json["deleted"] == 1


def test_a_name_from_elsewhere_is_kept_out_before_anything_is_done() -> None:
    served = Served(guard=Guard(Reach.LOOPBACK))
    served.call()
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        assert served.ask(f"{CALLS}/call", "DELETE", None, headers).status == 403
    assert len(served.bench.registry) == 1


def test_a_public_endpoint_tells_that_it_wants_a_token() -> None:
    served = Served(guard=Guard(Reach.PUBLIC, [b"right"]))
    answer = served.ask("/api/v1/stats")
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="rtpproxy-tw"'
    assert served.ask("/nothing").status == 401
    assert served.ask("/metrics").status == 401
    assert served.ask("/readyz").status == 200
    headers = {"Authorization": "Bearer right"}
    assert served.ask("/api/v1/stats", headers=headers).status == 200


def test_a_body_that_is_too_large_is_neither_kept_nor_awaited() -> None:
    served = Served()
    served.call()
    connection = Connection(served)
    head = request(f"{CALLS}/call/record", "POST", b"").replace(
        b"Content-Length: 0", b"Content-Length: %d" % (10 * MAX_BODY)
    )
    connection.send(head)
    assert connection.answer().status == 413
    assert connection.transport.disconnecting
    connection.send(b"x" * MAX_BODY)
    assert not served.bench.recorders.recording


def test_a_body_in_chunks_is_bounded_as_well() -> None:
    connection = Connection(Served())
    head = request(f"{CALLS}/call/record", "POST", b"").replace(
        b"Content-Length: 0", b"Transfer-Encoding: chunked"
    )
    connection.send(head)
    for _ in range(5):
        connection.send(b"%x\r\n%b\r\n" % (MAX_BODY // 4, b"x" * (MAX_BODY // 4)))
    assert connection.answer().status == 413


def test_connections_are_limited_and_counted_down_again() -> None:
    served = Served()
    connections = [Connection(served) for _ in range(MAX_CONNECTIONS)]
    assert served.site.buildProtocol(None) is None
    from twisted.internet.error import ConnectionDone
    from twisted.python.failure import Failure

    connections[0].protocol.connectionLost(Failure(ConnectionDone()))
    assert Connection(served).protocol is not None


def test_a_fault_of_our_own_is_told_without_details(
    logged_failures: LoggedFailures, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served()
    monkeypatch.setattr(type(served.api), "stats", lambda self: 1 / 0)
    answer = served.ask("/api/v1/stats")
    assert answer.status == 500
    assert b"ZeroDivision" not in answer.body
    assert len(logged_failures.take()) == 1


def test_octets_that_are_no_http_do_no_harm() -> None:
    served = Served()
    for octets in (
        b"\0" * 100,
        b"\r\n" * 100,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\xff\xfe",
    ):
        Connection(served).send(octets)
    assert served.ask("/healthz").status == 200
