"""The description of the interface: true of what is answered, and a generator's source."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rtpproxy_tw.web.openapi import document
from tests.e2e.process import Process, wait_until
from tests.web.client import Served

MISSING = find_spec("jsonschema") is None


def schema_of(path: str, method: str = "get") -> dict[str, Any]:
    """What an answer must be, with all it refers to."""
    found = document("1")
    answer = found["paths"][path][method]["responses"]["200"]["content"]["application/json"]
    return {**answer["schema"], "components": found["components"]}


def test_the_description_is_json_and_names_every_call_once() -> None:
    text = json.dumps(document("1"))
    assert json.loads(text)["info"]["version"] == "1"
    assert "$ref" in text


@pytest.mark.skipif(MISSING, reason="jsonschema is missing")
@pytest.mark.parametrize(
    "path, asked, method",
    [
        ("/api/v1/calls", "/api/v1/calls", "get"),
        ("/api/v1/calls/{call}", "/api/v1/calls/call", "get"),
        ("/api/v1/calls/{call}/why", "/api/v1/calls/call/why", "get"),
        ("/api/v1/calls/{call}/record", "/api/v1/calls/call/record", "post"),
        ("/api/v1/calls/{call}/record", "/api/v1/calls/call/record", "delete"),
        ("/api/v1/calls/{call}/debug", "/api/v1/calls/call/debug", "put"),
        ("/api/v1/calls/{call}", "/api/v1/calls/call", "delete"),
        ("/api/v1/stats", "/api/v1/stats", "get"),
        ("/api/v1/capacity", "/api/v1/capacity", "get"),
        ("/api/v1/drain", "/api/v1/drain", "get"),
        ("/healthz", "/healthz", "get"),
        ("/readyz", "/readyz", "get"),
    ],
)
def test_answers_are_as_described(path: str, asked: str, method: str) -> None:
    from jsonschema import Draft202012Validator

    served = Served()
    served.call()
    served.media(packets=60)
    schema = schema_of(path, method)
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(served.ask(asked, method.upper()).json)


@pytest.mark.network
@pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is missing")
def test_a_generator_of_requests_finds_nothing_that_is_not_described(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    relay = Process(
        [
            *(sys.executable, "-m", "rtpproxy_tw.tools.launcher", "-f", "-F", "-p", "/dev/null"),
            *("-s", f"unix:{tmp_path / 'control.sock'}", "-l", "127.0.0.1", "-d", "WARN"),
            *("--http", f"tcp:{port}:interface=127.0.0.1"),
        ],
        tmp_path / "log",
    )
    with relay:
        wait_until(lambda: not relay.running or answers(port), "the relay answers", 20)
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from schemathesis.cli import schemathesis as s; s()"),
                *("run", f"http://127.0.0.1:{port}/openapi.json", "--max-examples", "10"),
                *("--generation-deterministic", "--no-color"),
                # 503 is what it has to answer while the generator drains the relay.
                *("--exclude-path", "/readyz"),
                # It would have the relay end, and did; see test_site.py.
                *("--exclude-path", "/api/v1/drain"),
                # It would have it restarted, again and again; see tests/e2e/test_handover.py.
                *("--exclude-path", "/api/v1/upgrade"),
                # An answer without an end, which it would wait for; see test_events.py.
                *("--exclude-path", "/api/v1/events"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert relay.running
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in relay.printed()


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
