"""The log: its lines, and that the system's log is never waited for."""

from __future__ import annotations

import io
import os
import re
import socket
import syslog
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel
from twisted.python.failure import Failure

from rtpproxy_tw.tools.logs import (
    MAX_OCTETS,
    RETRY_AFTER,
    StreamObserver,
    SyslogObserver,
    lines_of,
)


def event(text: str = "hello", level: Any = LogLevel.info, **more: object) -> LogEvent:
    """A log event of the second 1 000 000 000.25."""
    return {
        "log_level": level,
        "log_time": 1e9 + 0.25,
        "log_namespace": "here",
        "log_format": "{text}",
        "text": text,
        **more,
    }


def system_log(path: Path) -> socket.socket:
    """What syslogd does: a datagram socket."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.bind(str(path))
    return made


def taken(log: socket.socket) -> list[str]:
    """The texts of all messages that have arrived."""
    found: list[str] = []
    try:
        while True:
            found.append(log.recv(65536).decode().partition("]: ")[2])
    except BlockingIOError:
        return found


def test_control_characters_in_messages_are_made_visible() -> None:
    assert lines_of(event("a\x1b[31mb\x00\tc é")) == ["a\\x1b[31mb\\x00\tc é"]


def test_a_failure_is_logged_with_its_traceback() -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        lines = lines_of(event("broken", log_failure=Failure()))
    assert lines[0] == "broken"
    assert lines[-1].endswith("ValueError: odd")


def test_lines_on_a_stream_have_time_level_and_origin() -> None:
    stream = io.StringIO()
    StreamObserver(stream)(event("one\ntwo", LogLevel.error))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.250 ERR here: one", lines[0])
    assert lines[1].endswith("here: two")


def test_a_stream_that_fails_is_no_matter() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    StreamObserver(Broken())(event())
    StreamObserver(None)(event())
    closed = io.StringIO()
    closed.close()
    StreamObserver(closed)(event())


def test_a_reader_that_is_stuck_is_not_waited_for_and_told_what_is_missing() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as reader, open(writing, "w") as stream:
        observer = StreamObserver(stream)
        for _ in range(500):
            observer(event("x" * 500))
        taken = os.read(reading, 1 << 20)
        kept = taken.count(b"\n")
        assert 50 < kept < 500
        observer(event("again"))
        lines = reader.read1(1 << 20).decode().splitlines()
    notice, last = lines[-2:]
    assert notice.endswith(f" {500 - kept} messages could not be logged")
    assert last.endswith(": again")


@pytest.mark.parametrize(
    "level, name, priority",
    [
        (LogLevel.debug, "DBUG", 7),
        (LogLevel.info, "INFO", 6),
        (LogLevel.warn, "WARN", 4),
        (LogLevel.error, "ERR", 3),
        (LogLevel.critical, "CRIT", 2),
    ],
)
def test_the_system_log_gets_facility_severity_and_process(
    tmp_path: Path, level: Any, name: str, priority: int
) -> None:
    path = tmp_path / "log"
    observed = closing(SyslogObserver(syslog.LOG_LOCAL5, str(path)))
    with system_log(path) as log, observed as observer:
        observer(event("hello", level))
        message = log.recv(65536).decode()
    start = rf"<{21 * 8 + priority}>[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d "
    assert re.fullmatch(rf"{start}rtpproxy\[{os.getpid()}\]: {name}: hello", message)


def test_long_messages_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with system_log(path) as log, closing(SyslogObserver(syslog.LOG_DAEMON, str(path))) as observer:
        observer(event("x" * 100_000))
        assert len(log.recv(65536)) == MAX_OCTETS


def test_a_missing_system_log_is_looked_for_now_and_then(tmp_path: Path) -> None:
    path = tmp_path / "log"
    clock = Clock()
    with closing(SyslogObserver(syslog.LOG_DAEMON, str(path), clock.seconds)) as observer:
        clock.advance(1)
        observer(event("first"))
        observer(event("second"))
        with system_log(path) as log:
            observer(event("third"))
            assert taken(log) == []
            clock.advance(RETRY_AFTER)
            observer(event("fourth"))
            assert taken(log) == ["WARN: 3 messages could not be logged", "INFO: fourth"]


def test_a_system_log_that_is_stuck_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with system_log(path) as log, closing(SyslogObserver(syslog.LOG_DAEMON, str(path))) as observer:
        for _ in range(5000):
            observer(event("message"))
        arrived = len(taken(log))
        assert 0 < arrived < 5000
        observer(event("again"))
        assert taken(log) == [
            f"WARN: {5000 - arrived} messages could not be logged",
            "INFO: again",
        ]


def test_a_restarted_system_log_gets_the_next_message(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with closing(SyslogObserver(syslog.LOG_DAEMON, str(path))) as observer:
        with system_log(path):
            observer(event("first"))
        path.unlink()
        with system_log(path) as log:
            observer(event("second"))
            assert taken(log) == ["INFO: second"]
