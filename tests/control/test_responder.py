"""One command, bytes to reply: what is answered, counted and logged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from rtpproxy_tw.commands import (
    Command,
    Failed,
    Info,
    NotFound,
    Number,
    Origin,
    Reply,
    Statistics,
    Text,
    Version,
)
from rtpproxy_tw.control.logbudget import LINES, PERIOD, LogBudget
from rtpproxy_tw.control.render import INTERNAL_ERROR
from rtpproxy_tw.control.responder import Responder
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from rtpproxy_tw.errors import CommandError
from rtpproxy_tw.statistics import Totals
from tests.conftest import LoggedFailures

ORIGIN = Origin("udp", "192.0.2.1")


class Echo:
    """Answers with what it was prepared to answer, 1 by default."""

    def __init__(self) -> None:
        self.commands: list[tuple[Command, Origin]] = []
        self.answers: list[Reply | Exception] = []

    def execute(self, command: Command, origin: Origin) -> Reply:
        """See Executor."""
        self.commands.append((command, origin))
        answer = self.answers.pop(0) if self.answers else Number(1)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Setting:
    """A responder and what is around it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.totals = Totals()
        self.echo = Echo()
        self.responder = Responder(
            dialect=RtpproxyDialect(), executor=self.echo, totals=self.totals, clock=self.clock
        )

    def ask(self, command: bytes, cookie: bytes | None = None) -> bytes:
        """The reply to a command."""
        return self.responder.respond(command, ORIGIN, cookie)

    def counts(self) -> tuple[int, int, int, int]:
        """Received, succeeded, failed, answered."""
        totals = self.totals
        return totals.ncmds_rcvd, totals.ncmds_succd, totals.ncmds_errs, totals.ncmds_repld


@pytest.fixture
def setting() -> Setting:
    return Setting()


@implementer(ILogObserver)
class Log(list[LogEvent]):
    """All that is logged."""

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        self.append(event)


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    """What was logged while the test ran."""
    log = Log()
    globalLogPublisher.addObserver(log)
    yield log
    globalLogPublisher.removeObserver(log)


def texts(events: list[LogEvent], *levels: LogLevel) -> list[str]:
    """The lines of these levels."""
    return [formatEvent(event) for event in events if event["log_level"] in levels]


NOTED = (LogLevel.info, LogLevel.warn, LogLevel.error)


def test_a_command_is_parsed_executed_and_answered(setting: Setting) -> None:
    assert setting.ask(b"V\n") == b"1\n"
    assert setting.ask(b"I", b"1_2") == b"1_2 1\n"
    assert setting.echo.commands == [(Version(), ORIGIN), (Info(), ORIGIN)]


def test_commands_are_counted_by_their_outcome(setting: Setting) -> None:
    setting.echo.answers = [Number(0), NotFound(), Failed(50), CommandError(71, "no port")]
    replies = [setting.ask(line) for line in (b"V", b"V", b"V", b"V", b"bogus", b"")]
    assert replies == [b"0\n", b"0\n", b"E50\n", b"E71\n", b"E0\n", b"E5\n"]
    assert setting.counts() == (6, 1, 5, 6)


def test_a_reply_that_does_not_fit_counts_as_an_error(setting: Setting) -> None:
    setting.echo.answers = [Text("x" * 1020, overflow=25)]
    assert setting.ask(b"G", b"1_2_3") == b"1_2_3 E25\n"
    assert setting.counts() == (1, 0, 1, 1)


def test_a_command_sees_itself_received_but_not_yet_answered(setting: Setting) -> None:
    seen: list[tuple[int, int, int, int]] = []

    class Statistician(Echo):
        def execute(self, command: Command, origin: Origin) -> Reply:
            assert isinstance(command, Statistics)
            seen.append(setting.counts())
            return Text("")

    responder = Responder(
        dialect=RtpproxyDialect(),
        executor=Statistician(),
        totals=setting.totals,
        clock=setting.clock,
    )
    responder.respond(b"G", ORIGIN)
    responder.respond(b"G", ORIGIN)
    assert seen == [(1, 0, 0, 0), (2, 1, 0, 1)]


def test_a_repeated_command_counts_as_nothing_else(setting: Setting) -> None:
    setting.responder.repeated(b"V", ORIGIN)
    assert setting.counts() == (0, 0, 0, 0)
    assert setting.totals.ncmds_rcvd_ndups == 1


def test_a_fault_of_the_relay_is_answered_logged_and_survived(
    setting: Setting, logged_failures: LoggedFailures
) -> None:
    setting.echo.answers = [ZeroDivisionError("oops"), Number(1)]
    assert setting.ask(b"V") == f"E{INTERNAL_ERROR}\n".encode()
    assert setting.ask(b"V") == b"1\n"
    assert setting.counts() == (2, 1, 1, 2)
    (event,) = logged_failures.take()
    assert '"V"' in formatEvent(event)
    assert event["log_failure"].check(ZeroDivisionError)


def test_the_code_of_an_internal_fault_says_nothing_else_to_clients() -> None:
    assert INTERNAL_ERROR not in (7, 8, 9, 10, 50, 98)


def test_command_and_reply_are_debug_lines_without_control_characters(
    setting: Setting, logged: list[LogEvent]
) -> None:
    setting.ask(b"V \x1b[31m\r\nfaked line", b"1_\x07")
    lines = texts(logged, LogLevel.debug)
    assert 'received command "V \\x1b[31m\\r\\nfaked line" over udp from 192.0.2.1' in lines
    assert 'sending reply "1_\\x07 E1\\n"' in lines
    assert all(line.isprintable() for line in texts(logged, *NOTED))


def test_an_error_is_one_line_with_its_sentence(setting: Setting, logged: list[LogEvent]) -> None:
    setting.ask(b"Uq a 127.0.0.1 5000 f")
    (line,) = texts(logged, *NOTED)
    assert line.startswith("E35: unknown modifier 'q'")
    assert '"Uq a 127.0.0.1 5000 f"' in line


def test_unknown_sessions_are_no_news(setting: Setting, logged: list[LogEvent]) -> None:
    setting.echo.answers = [CommandError(50, "no such session"), Failed(50), NotFound()]
    for _ in range(3):
        setting.ask(b"D a b")
    assert texts(logged, *NOTED) == []
    assert len(texts(logged, LogLevel.debug)) == 6


def test_a_flood_of_errors_is_a_handful_of_lines(setting: Setting, logged: list[LogEvent]) -> None:
    for _ in range(1000):
        setting.ask(b"bogus")
    setting.ask(b"")
    assert len(texts(logged, *NOTED)) == LINES + 1
    logged.clear()
    setting.clock.advance(PERIOD)
    setting.ask(b"bogus")
    (line,) = texts(logged, *NOTED)
    assert line.endswith("(995 more like this were not logged)")


def test_a_flood_of_internal_faults_is_a_handful_of_tracebacks(
    setting: Setting, logged_failures: LoggedFailures
) -> None:
    setting.echo.answers = [ZeroDivisionError() for _ in range(100)]
    for _ in range(100):
        setting.ask(b"V")
    assert len(logged_failures.take()) == LINES


def test_complaints_about_connections_are_limited_by_kind(
    setting: Setting, logged: list[LogEvent]
) -> None:
    for _ in range(100):
        setting.responder.complain("one", "this happened")
        setting.responder.complain("two", "that happened")
    assert texts(logged, *NOTED) == ["this happened", "that happened"] * LINES


def test_a_budget_begins_anew_after_its_period() -> None:
    budget = LogBudget(lines=2, period=10.0)
    admitted = [budget.admit("x", now) for now in (0.0, 1.0, 2.0, 9.9, 10.0, 11.0, 12.0, 30.0)]
    assert admitted == [0, 0, None, None, 2, 0, None, 1]


def test_a_quiet_kind_has_left_out_nothing() -> None:
    budget = LogBudget(lines=2, period=10.0)
    assert [budget.admit("x", now) for now in (0.0, 100.0, 200.0)] == [0, 0, 0]
