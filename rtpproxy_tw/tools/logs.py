"""Where the log goes: standard error in the foreground, else the system's log.

Neither a missing nor a stuck reader may hold up media, so messages are written without waiting;
those that are not taken are counted, and the count is told when messages are taken again.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import stat
import sys
import syslog
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from math import isfinite
from typing import Any, TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogFilterPredicate,
    ILogObserver,
    LogEvent,
    LogLevel,
    PredicateResult,
    eventAsText,
    globalLogBeginner,
)
from zope.interface import implementer

from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.control.escape import Escaped
from rtpproxy_tw.control.logbudget import LogBudget
from rtpproxy_tw.quality.words import Sentence

IDENT = "rtpproxy"
"""The original's name, by which logs are sorted."""

DEV_LOG = "/dev/log"
RETRY_AFTER = 5.0
"""Seconds until a system log that is not there is looked for again."""
MAX_OCTETS = 4096
"""Of one message; longer ones are cut."""
MAX_JOURNAL = 131072
"""Of a datagram to the journal: fields are cut before, so none is ever that long."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LEVELS = {
    "DBUG": LogLevel.debug,
    "INFO": LogLevel.info,
    "WARN": LogLevel.warn,
    "ERR": LogLevel.error,
    "CRIT": LogLevel.critical,
}
_NAMES = {level: name for name, level in _LEVELS.items()}
_PRIORITIES = {
    "DBUG": syslog.LOG_DEBUG,
    "INFO": syslog.LOG_INFO,
    "WARN": syslog.LOG_WARNING,
    "ERR": syslog.LOG_ERR,
    "CRIT": syslog.LOG_CRIT,
}


MAX_DEBUGGED = 64
"""Calls that can be logged in detail at a time."""


class DebuggedCalls:
    """The calls of which everything is logged, whatever the level; they may be yet to come."""

    def __init__(self) -> None:
        self._calls: dict[str, bytes] = {}

    def add(self, call_id: str) -> None:
        """Log everything of that call; of too many the oldest one is dropped."""
        self._calls.pop(call_id, None)
        self._calls[call_id] = call_id.encode("utf-8", "surrogateescape")
        if len(self._calls) > MAX_DEBUGGED:
            del self._calls[next(iter(self._calls))]

    def discard(self, call_id: str) -> None:
        """No more of it."""
        self._calls.pop(call_id, None)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._calls)

    def __contains__(self, call_id: object) -> bool:
        return call_id in self._calls

    def concerns(self, event: LogEvent) -> bool:
        """Whether ``event`` is about one of them: by its call-id, or by the command it quotes."""
        if not self._calls:
            return False
        if event.get("call_id") in self._calls:
            return True
        command = event.get("command")
        return isinstance(command, Escaped) and any(
            octets in command for octets in self._calls.values()
        )


DEBUGGED = DebuggedCalls()
"""Of this process, whose log is one."""


def is_detailed(settings: Settings) -> bool:
    """Whether events of the lowest level can be wanted at this moment."""
    return settings.log_level == "DBUG" or bool(DEBUGGED)


def start_logging(settings: Settings) -> None:
    """Send the log where ``settings`` want it."""
    wanted = Wanted(settings.log_level)
    observers = [SparingObserver(observer) for observer in _observers(settings)]
    globalLogBeginner.beginLoggingTo(
        [FilteringLogObserver(observer, [wanted]) for observer in observers],
        redirectStandardIO=False,
    )


@implementer(ILogFilterPredicate)
class Wanted:
    """Lets events of ``level`` and above pass, and all of calls that are being debugged."""

    def __init__(self, level: str) -> None:
        least = _LEVELS[level]
        self._passes = frozenset(each for each in LogLevel.iterconstants() if each >= least)

    def __call__(self, event: LogEvent) -> Any:
        if event.get("log_level") in self._passes or DEBUGGED.concerns(event):
            return PredicateResult.yes
        return PredicateResult.no


def _observers(settings: Settings) -> Iterator[ILogObserver]:
    if settings.log_format == "journald":
        yield JournalObserver()
        return
    if settings.foreground or not settings.redirect:
        yield (JsonObserver if settings.log_format == "json" else StreamObserver)(sys.stderr)
    if not settings.foreground:
        facility = getattr(syslog, f"LOG_{settings.log_facility}")
        lines = json_lines if settings.log_format == "json" else lines_of
        yield SyslogObserver(facility, lines=lines)


SPARED = {LogLevel.debug: None, LogLevel.info: 2000}
"""Events of one message in PERIOD that are written; None: all of them."""

SPARED_ELSE = 50
"""The same for warnings and errors, which strangers may be the cause of."""


@implementer(ILogObserver)
class SparingObserver:
    """Passes on so many events of one message in a period, then tells how many it left out."""

    def __init__(
        self, observer: ILogObserver, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._observer = observer
        self._monotonic = monotonic
        self._budgets = {
            level: LogBudget(lines=SPARED.get(level, SPARED_ELSE) or 0)
            for level in LogLevel.iterconstants()
        }

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        if SPARED.get(level, SPARED_ELSE) is None or DEBUGGED.concerns(event):
            self._observer(event)
            return
        # The format is the message; what fills it in may be different each time.
        kind = (event.get("log_namespace"), event.get("log_format"))
        suppressed = self._budgets[level].admit(kind, self._monotonic())
        if suppressed is None:
            return
        if suppressed:
            self._observer(_about(event, suppressed))
        self._observer(event)


def _about(event: LogEvent, suppressed: int) -> LogEvent:
    """An event that tells how many like ``event`` were not written."""
    return {
        "log_level": event.get("log_level", LogLevel.info),
        "log_namespace": event.get("log_namespace", "-"),
        "log_time": event.get("log_time", 0.0),
        "log_format": "suppressed {suppressed} messages like the next one",
        "suppressed": suppressed,
    }


def fields_of(event: LogEvent) -> dict[str, str | int | float | bool]:
    """The named values of an event, as far as they are plain ones."""
    return {
        key: value if isinstance(value, int | float) else "".join(map(_visible, str(value)))
        for key, value in event.items()
        if not key.startswith("log_")
        and isinstance(value, str | int | float | Escaped | Sentence)
        and not (isinstance(value, float) and not isfinite(value))
    }


def json_lines(event: LogEvent) -> list[str]:
    """The event as one line of JSON: time, level, namespace, message, and its named values."""
    record = {
        **fields_of(event),
        "time": round(event.get("log_time", 0.0), 6),
        "level": _level_of(event),
        "logger": event.get("log_namespace", "-"),
        "message": "\n".join(lines_of(event)),
    }
    return [json.dumps(record)]


def lines_of(event: LogEvent) -> list[str]:
    """The event's text, tracebacks included, without control characters."""
    text = _text_of(event)
    # Not splitlines(): there are characters that it takes for ends of lines and that may be in
    # what a stranger sends, whereby a line of the log could be made up.
    return [
        line if line.isprintable() else "".join(map(_visible, line))
        for line in text.split("\n")
        if line
    ]


def _text_of(event: LogEvent) -> str:
    """What Twisted would make of it; plain formats in a tenth of the time."""
    form = event.get("log_format")
    if isinstance(form, str) and "(" not in form and "log_failure" not in event:
        try:
            return form.format_map(event)
        except Exception:
            pass  # Twisted has words for what cannot be formatted
    return eventAsText(event, includeTimestamp=False, includeSystem=False)


def _visible(character: str) -> str:
    return character if character.isprintable() or character == "\t" else ascii(character)[1:-1]


def _level_of(event: LogEvent) -> str:
    return _NAMES.get(event.get("log_level", LogLevel.info), "INFO")


PIECE = 1024
"""Characters written at once: at most 4096 octets, for which a pipe that can be written to has room
(pipe(7))."""


class _Unhurried:
    """Writes lines to a stream, never waiting for whoever reads it.

    What is not taken is counted, and the count is told as soon as something is. The stream may be a
    terminal or a pipe that others write to as well, so it is left as it is and asked each time. One
    that fails is no reason to stop.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._lost = 0
        self._torn = False
        """Whether the last line that was begun has no end yet."""
        self._poll: Any = None
        with suppress(OSError, ValueError, AttributeError):
            # A file takes everything at once.
            if stream is not None and not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                poll = select.poll()
                poll.register(stream.fileno(), select.POLLOUT)
                self._poll = poll

    def __call__(self, event: LogEvent) -> None:
        if self._lost and self._ready():
            lost, self._lost = self._lost, 0
            self._write(
                {
                    "log_level": LogLevel.warn,
                    "log_time": event.get("log_time", 0.0),
                    "log_format": "{lost} messages could not be logged",
                    "lost": lost,
                }
            )
        self._write(event)

    def _lines(self, event: LogEvent) -> Iterable[str]:
        raise NotImplementedError

    def _write(self, event: LogEvent) -> None:
        if self._stream is None:
            return
        text = "".join(f"{line}\n" for line in self._lines(event))
        if self._torn:
            text = f"\n{text}"
        self._torn = False
        for at in range(0, len(text), PIECE):
            if not self._ready():
                self._lost += 1
                self._torn = at > 0
                return
            try:
                self._stream.write(text[at : at + PIECE])
                self._stream.flush()
            except (OSError, ValueError):
                # The terminal is gone, or the file is full.
                return

    def _ready(self) -> bool:
        """Whether a piece can be written at once; a broken stream takes everything."""
        return self._poll is None or bool(self._poll.poll(0))


@lru_cache(maxsize=8)
def _clock(at: int) -> str:
    """The local time of that second."""
    return time.strftime("%H:%M:%S", time.localtime(at))


@implementer(ILogObserver)
class StreamObserver(_Unhurried):
    """Writes ``TIME LEVEL NAMESPACE: TEXT`` lines."""

    def _lines(self, event: LogEvent) -> Iterable[str]:
        at = event.get("log_time", 0.0)
        clock = f"{_clock(int(at))}.{int(at * 1000) % 1000:03}"
        start = f"{clock} {_level_of(event)} {event.get('log_namespace', '-')}: "
        return (f"{start}{line}" for line in lines_of(event))


@implementer(ILogObserver)
class JsonObserver(_Unhurried):
    """Writes a JSON object per line."""

    def _lines(self, event: LogEvent) -> Iterable[str]:
        return json_lines(event)


JOURNAL = "/run/systemd/journal/socket"

_FIELD = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_RESERVED = frozenset(("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "LOGGER"))


@implementer(ILogObserver)
class JournalObserver:
    """Sends events to systemd's journal, named values as fields, never waiting for it.

    So ``journalctl CALL_ID=…`` finds a call. Where there is no journal events are lost, counted,
    and the count is told when there is one again.
    """

    def __init__(self, path: str = JOURNAL) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._lost = 0

    def __call__(self, event: LogEvent) -> None:
        text = "\n".join(lines_of(event))
        if self._lost:
            text = f"({self._lost} messages could not be logged) {text}"
        fields: dict[str, object] = {
            "MESSAGE": text,
            "PRIORITY": _PRIORITIES[_level_of(event)],
            "SYSLOG_IDENTIFIER": IDENT,
            "LOGGER": event.get("log_namespace", "-"),
        }
        for key, value in fields_of(event).items():
            name = key.upper()
            if _FIELD.fullmatch(name) and name not in _RESERVED:
                fields[name] = value
        if self._send(b"".join(_field(name, value) for name, value in fields.items())):
            self._lost = 0
        else:
            self._lost += 1

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def _send(self, datagram: bytes) -> bool:
        try:
            self._socket.sendto(datagram[:MAX_JOURNAL], self._path)
        except OSError:
            return False
        return True


def _field(name: str, value: object) -> bytes:
    """One field in the journal's own form, by which a value may hold newlines."""
    octets = str(value).encode(errors="backslashreplace")[:MAX_OCTETS]
    return name.encode() + b"\n" + len(octets).to_bytes(8, "little") + octets + b"\n"


@implementer(ILogObserver)
class SyslogObserver:
    """Sends messages to the system's log in the format of RFC 3164, never waiting for it."""

    def __init__(
        self,
        facility: int,
        path: str = DEV_LOG,
        monotonic: Callable[[], float] = time.monotonic,
        lines: Callable[[LogEvent], list[str]] = lines_of,
    ) -> None:
        self._facility = facility
        self._lines = lines
        self._path = path
        self._monotonic = monotonic
        self._socket: socket.socket | None = None
        self._retry_at = 0.0
        self._lost = 0

    def __call__(self, event: LogEvent) -> None:
        at = time.localtime(event.get("log_time", 0.0))
        level = _level_of(event)
        for line in self._lines(event):
            self._log_line(at, _PRIORITIES[level], f"{level}: {line}")

    def close(self) -> None:
        """Let go of the system's log; the next message finds it again."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _log_line(self, at: time.struct_time, priority: int, line: str) -> None:
        if self._lost:
            notice = f"WARN: {self._lost} messages could not be logged"
            if not self._send(at, syslog.LOG_WARNING, notice):
                self._lost += 1
                return
            self._lost = 0
        if not self._send(at, priority, line):
            self._lost += 1

    def _send(self, at: time.struct_time, priority: int, line: str) -> bool:
        date = f"{_MONTHS[at.tm_mon - 1]} {at.tm_mday:2} {time.strftime('%H:%M:%S', at)}"
        text = f"<{self._facility | priority}>{date} {IDENT}[{os.getpid()}]: {line}"
        datagram = text.encode(errors="backslashreplace")[:MAX_OCTETS]
        # Twice, since the first may only tell that the log was restarted.
        for _ in range(2):
            if self._socket is None and not self._connect():
                return False
            assert self._socket is not None
            try:
                self._socket.send(datagram)
            except BlockingIOError:
                return False
            except OSError:
                self.close()
            else:
                return True
        return False

    def _connect(self) -> bool:
        if self._monotonic() < self._retry_at:
            return False
        new = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        new.setblocking(False)
        if new.connect_ex(self._path):
            new.close()
            self._retry_at = self._monotonic() + RETRY_AFTER
            return False
        self._socket = new
        return True
