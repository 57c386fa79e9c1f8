"""Logs as JSON, to the journal, sparing, and in detail for single calls."""

from __future__ import annotations

import io
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, PredicateResult
from twisted.python.failure import Failure
from zope.interface import implementer

from rtpproxy_tw.control.escape import Escaped
from rtpproxy_tw.tools import logs
from rtpproxy_tw.tools.logs import (
    MAX_DEBUGGED,
    SPARED_ELSE,
    DebuggedCalls,
    JournalObserver,
    JsonObserver,
    SparingObserver,
    Wanted,
    fields_of,
)
from tests.web.client import NASTY


def event(text: str = "hello", level: Any = LogLevel.info, **more: object) -> LogEvent:
    """A log event of the second 1 000 000 000.25."""
    return {
        "log_level": level,
        "log_time": 1e9 + 0.25,
        "log_namespace": "here",
        "log_format": text,
        **more,
    }


def as_json(*events: LogEvent) -> list[dict[str, Any]]:
    stream = io.StringIO()
    for each in events:
        JsonObserver(stream)(each)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_of_json_has_the_message_and_its_values() -> None:
    (told,) = as_json(event("call {call_id!r} port {port}", call_id="x\x1b[0m", port=7, odd=[1]))
    assert told == {
        "time": 1e9 + 0.25,
        "level": "INFO",
        "logger": "here",
        "message": "call 'x\\x1b[0m' port 7",
        "call_id": "x\\x1b[0m",
        "port": 7,
    }


def test_a_failure_is_one_line_of_json() -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        (told,) = as_json(event("broken", LogLevel.critical, log_failure=Failure()))
    assert told["level"] == "CRIT"
    assert "ValueError: odd" in told["message"]


@pytest.mark.parametrize("call_id", NASTY)
def test_hostile_call_ids_neither_break_a_line_nor_reach_a_terminal(call_id: str) -> None:
    stream = io.StringIO()
    JsonObserver(stream)(event("call {call_id}", call_id=call_id))
    logs.StreamObserver(stream)(event("call {call_id}", call_id=call_id))
    text = stream.getvalue()
    assert text.count("\n") == 2
    text.encode()
    assert "\x1b" not in text
    assert "\x07" not in text
    json.loads(text.splitlines()[0])["call_id"].encode()


def test_values_that_json_lacks_are_left_out() -> None:
    assert fields_of(event(a=float("nan"), b=None, c=1.5, log_x=1, d=True)) == {"c": 1.5, "d": True}


class Journal:
    """What systemd's journal does: it takes datagrams."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)

    def entry(self) -> dict[str, str]:
        """The fields of one event, in the journal's own form."""
        octets = self.socket.recv(1 << 20)
        found = {}
        while octets:
            name, _, octets = octets.partition(b"\n")
            size = int.from_bytes(octets[:8], "little")
            found[name.decode()] = octets[8 : 8 + size].decode()
            assert octets[8 + size : 9 + size] == b"\n"
            octets = octets[9 + size :]
        return found


def test_the_journal_gets_values_as_fields(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "socket")
    observer = JournalObserver(str(tmp_path / "socket"))
    more = {"call_id": "x@y", "priority": "mine", "9odd": "1", "command": Escaped(b"V\n")}
    observer(event("call {call_id}", LogLevel.warn, **more))
    assert journal.entry() == {
        "MESSAGE": "call x@y",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "rtpproxy",
        "LOGGER": "here",
        "CALL_ID": "x@y",
        "COMMAND": "V\\n",
    }
    journal.socket.close()
    observer.close()


def test_what_no_journal_took_is_counted_and_told(tmp_path: Path) -> None:
    observer = JournalObserver(str(tmp_path / "socket"))
    for _ in range(3):
        observer(event())
    journal = Journal(tmp_path / "socket")
    observer(event())
    assert journal.entry()["MESSAGE"] == "(3 messages could not be logged) hello"
    observer(event())
    assert journal.entry()["MESSAGE"] == "hello"
    journal.socket.close()
    observer.close()


def test_messages_of_one_kind_are_limited_and_the_rest_is_counted() -> None:
    clock = Clock()
    seen: list[LogEvent] = []

    @implementer(ILogObserver)
    class Seen:
        def __call__(self, event: LogEvent) -> None:
            seen.append(event)

    sparing = SparingObserver(Seen(), clock.seconds)
    for number in range(SPARED_ELSE + 30):
        sparing(event("from {n}", LogLevel.warn, n=number))
        sparing(event("another", LogLevel.debug))
    warnings = [each for each in seen if each["log_level"] is LogLevel.warn]
    assert len(warnings) == SPARED_ELSE
    assert len(seen) - len(warnings) == SPARED_ELSE + 30
    clock.advance(11)
    sparing(event("from {n}", LogLevel.warn, n=-1))
    notice, last = seen[-2:]
    assert notice["suppressed"] == 30
    assert "suppressed" in logs.lines_of(notice)[0]
    assert last["n"] == -1


def test_of_a_debugged_call_everything_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    debugged = DebuggedCalls()
    monkeypatch.setattr(logs, "DEBUGGED", debugged)
    wanted = Wanted("WARN")
    about = event("x", LogLevel.debug, call_id="one")
    quoting = event("x", LogLevel.debug, command=Escaped(b"D one tag"))
    other = event("x", LogLevel.debug, command=Escaped(b"D two tag"), call_id="two")
    assert PredicateResult.yes not in [wanted(each) for each in (about, quoting, other)]
    debugged.add("one")
    assert [wanted(each) is PredicateResult.yes for each in (about, quoting, other)] == [
        True,
        True,
        False,
    ]
    debugged.discard("one")
    assert wanted(about) is not PredicateResult.yes


def test_only_so_many_calls_are_debugged() -> None:
    debugged = DebuggedCalls()
    for number in range(MAX_DEBUGGED + 3):
        debugged.add(str(number))
    assert "2" not in debugged
    assert "3" in debugged


@pytest.mark.parametrize("call_id", NASTY)
def test_a_call_with_a_hostile_name_can_be_debugged(call_id: str) -> None:
    debugged = DebuggedCalls()
    debugged.add(call_id)
    octets = call_id.encode("utf-8", "surrogateescape")
    assert debugged.concerns(event(command=Escaped(b"U " + octets + b" x")))
    assert debugged.concerns(event(call_id=call_id))
