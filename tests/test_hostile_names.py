"""Call-ids and tags are strangers' bytes: each of a list of bad ones, in all that tells them.

An output may tell a name in its own way, but must stay what it is: one value, one line, one file
name, one row; nothing in it may be taken for markup, and nothing may reach a terminal raw.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from rtpproxy_tw.commands import Delete
from rtpproxy_tw.recording.names import session_endings, session_stem
from rtpproxy_tw.reporting.acct_record import COLUMNS, record
from rtpproxy_tw.reporting.hep import MAX_CORRELATION
from rtpproxy_tw.reporting.homer import Collector, Homer
from rtpproxy_tw.reporting.linefile import LineFile
from rtpproxy_tw.reporting.records import CallRecords
from rtpproxy_tw.reporting.sampling import Sampler
from rtpproxy_tw.reporting.spooled import SpoolDirectory
from rtpproxy_tw.reporting.webhooks import Webhook
from rtpproxy_tw.session import Session, SessionKey, Side
from rtpproxy_tw.tools import ctl_words
from rtpproxy_tw.tools.logs import JournalObserver, JsonObserver, StreamObserver
from rtpproxy_tw.views.text import MAX_SHOWN, identifier, shown, unescaped
from tests.recording.test_trace import captured
from tests.reporting.test_hep import decoded
from tests.reporting.test_webhooks import at_once
from tests.tools.test_log_formats import Journal
from tests.web.client import NASTY, WALL, Served
from tests.web.test_events import Client, named


class Sent(Collector):
    """Keeps what would be sent to Homer."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 1, lambda host, port: Deferred())
        self.datagrams: list[bytes] = []

    def send(self, datagram: bytes) -> None:
        """Keep it."""
        self.datagrams.append(datagram)


@implementer(ILogObserver)
class Logged:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        """Keep it."""
        self.events.append(event)


@dataclass
class World:
    """A relay of which everything is told, with one call of that name."""

    name: str
    folder: Path
    posted: list[bytes] = field(default_factory=list)
    log: Logged = field(default_factory=Logged)

    def __post_init__(self) -> None:
        self.served = served = Served(trace=5)
        clock, registry = served.bench.clock, served.bench.registry
        self.homer = Sent()
        self.records = self.folder / "records"
        file = LineFile(str(self.records))
        hook = Webhook(
            spool=SpoolDirectory(str(self.folder / "spool")),
            post=self._post,
            run=at_once,
            clock=clock,
        )
        hook.start()
        watch = Sampler(clock=clock, is_local=lambda host: False)
        watch.sessions = registry
        registry._observers = (
            watch,
            *registry._observers,
            CallRecords(
                sinks=[file, hook],
                now=clock.seconds,
                wall=lambda: WALL + clock.seconds(),
                node="here",
                run="abcd",
            ),
            Homer(
                collector=self.homer,
                capture_id=1,
                now=clock.seconds,
                wall=lambda: WALL + clock.seconds(),
            ),
        )
        self.before = served.ask("/metrics").body
        self.events = Client(served)
        self.events.wait()
        served.call(self.name, self.name)
        served.media(self.name, packets=60)
        watch.tick()
        (self.session,) = registry.of_call(self.name)
        self.path = f"/api/v1/calls/{identifier(self.name)}"
        self.live = {
            what: served.ask(path)
            for what, path in {
                "list": "/api/v1/calls",
                "call": self.path,
                "why": f"{self.path}/why",
                "trace": f"{self.path}/trace",
            }.items()
        }
        self.told = self.events.wait()
        self.row = record(self.session, node="n", pid=1, uid=1, now=1.0, epoch=0.0)
        globalLogPublisher.addObserver(self.log)
        try:
            served.bench.do(Delete(self.name, self.name, None))
        finally:
            globalLogPublisher.removeObserver(self.log)
        file.stop()
        hook.stop()

    def _post(self, name: str, record: bytes) -> Deferred[int]:
        self.posted.append(record)
        assert re.fullmatch(r"[0-9]+-abcd-[0-9]+", name)
        return succeed(200)


def is_harmless(text: str) -> bool:
    """Whether a terminal shows it as it is, line by line."""
    return all(char.isprintable() or char == "\n" for char in text)


def is_json_of(octets: bytes, name: str) -> Any:
    """One JSON text in ASCII, no markup in it, in which the call has its name."""
    assert octets.isascii()
    assert not set(octets) & set(b"<>")
    told = json.loads(octets)
    told = told["calls"][0] if "calls" in told else told
    assert unescaped(told["id"]) == name
    assert told["call_id"] == shown(name)
    assert len(told["call_id"]) <= MAX_SHOWN + 1
    told["call_id"].encode()  # Unicode, without half a character
    return told


def in_the_list(world: World) -> None:
    is_json_of(world.live["list"].body, world.name)


def in_one_call(world: World) -> None:
    told = is_json_of(world.live["call"].body, world.name)
    assert told["sessions"][0]["from_tag"] == shown(world.name)


def in_why(world: World) -> None:
    is_json_of(world.live["why"].body, world.name)


def in_headers_of_answers(world: World) -> None:
    for answer in world.live.values():
        assert answer.status == 200
        for key, value in answer.headers.items():
            assert is_harmless(key + value)
            assert (key + value).isascii()


def in_the_trace(world: World) -> None:
    assert len(captured(world.live["trace"].body)) == 120


def on_a_terminal(world: World) -> None:
    whole = is_json_of(world.live["call"].body, world.name)
    why = is_json_of(world.live["why"].body, world.name)
    calls = json.loads(world.live["list"].body)["calls"]
    for lines in (
        ctl_words.show(whole),
        ctl_words.why(why),
        ctl_words.table(ctl_words.call_rows(calls)),
    ):
        assert all(map(is_harmless, lines))
    assert len(list(ctl_words.table(ctl_words.call_rows(calls)))) == 2


def in_metrics(world: World) -> None:
    after = world.served.ask("/metrics").body
    series = [re.sub(rb" \S+$", b"", line) for line in after.splitlines()]
    assert series == [re.sub(rb" \S+$", b"", line) for line in world.before.splitlines()]


def in_events(world: World) -> None:
    ids = {each["id"] for calls in named(world.told, "calls") for each in calls["calls"]}
    assert {unescaped(each) for each in ids} == {world.name}


def in_records(world: World) -> None:
    octets = world.records.read_bytes()
    assert octets.count(b"\n") == 1
    is_json_of(octets, world.name)


def in_what_is_posted(world: World) -> None:
    (body,) = world.posted
    is_json_of(body, world.name)


def in_reports_to_homer(world: World) -> None:
    assert len(world.homer.datagrams) == 2
    for datagram in world.homer.datagrams:
        found = decoded(datagram)
        octets = world.name.encode("utf-8", "surrogateescape")
        assert found["correlation"] == octets[:MAX_CORRELATION]
        assert json.loads(found["payload"])["CORRELATION_ID"] == shown(world.name)


def in_the_log(world: World) -> None:
    events = [event for event in world.log.events if event.get("call_id") is not None]
    assert events
    stream, lines = io.StringIO(), io.StringIO()
    for event in events:
        StreamObserver(stream)(event)
        JsonObserver(lines)(event)
    assert stream.getvalue().count("\n") == len(events)
    assert is_harmless(stream.getvalue())
    stream.getvalue().encode()
    for line in lines.getvalue().splitlines():
        assert json.loads(line)["call_id"]
        line.encode()


def in_the_journal(world: World) -> None:
    journal = Journal(world.folder / "journal")
    observer = JournalObserver(str(world.folder / "journal"))
    try:
        events = [event for event in world.log.events if event.get("call_id") is not None]
        for event in events:
            observer(event)
            found = journal.entry()
            assert set(found) >= {"MESSAGE", "PRIORITY", "CALL_ID"}
            assert is_harmless(found["CALL_ID"] + found["MESSAGE"])
    finally:
        observer.close()
        journal.socket.close()


def in_names_of_recordings(world: World) -> None:
    stem = session_stem(SessionKey(world.name, world.name))
    for ending in session_endings(Side.CALLER, rtcp=True, single=False):
        name = stem + ending
        assert len(name.encode()) <= 255
        assert "/" not in name
        assert not name.startswith(".")
        assert is_harmless(name)
        assert name.isascii()


def in_the_accounting_file(world: World) -> None:
    (row,) = csv.reader(io.StringIO(world.row))
    assert len(row) == len(COLUMNS)
    assert row[COLUMNS.index("call_id")] == world.name


def in_the_timeline(world: World) -> None:
    assert isinstance(world.session, Session)
    told = is_json_of(world.live["call"].body, world.name)
    assert all(is_harmless(entry["text"]) for entry in told["sessions"][0]["timeline"])


OUTPUTS: list[Callable[[World], None]] = [
    in_the_list,
    in_one_call,
    in_why,
    in_headers_of_answers,
    in_the_trace,
    on_a_terminal,
    in_metrics,
    in_events,
    in_records,
    in_what_is_posted,
    in_reports_to_homer,
    in_the_log,
    in_the_journal,
    in_names_of_recordings,
    in_the_accounting_file,
    in_the_timeline,
]


@pytest.fixture(scope="module", params=NASTY, ids=lambda name: ascii(name)[:24])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(request.param, tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.__name__)
def test_a_hostile_name_is_only_a_name(world: World, output: Callable[[World], None]) -> None:
    output(world)


def scripts() -> Iterator[str]:
    """The programs of the page."""
    for file in (resources.files("rtpproxy_tw.web") / "page").iterdir():
        if file.name.endswith(".js"):
            yield file.read_text()


def test_the_page_never_makes_markup_of_text() -> None:
    """It shows names by textContent; a strict policy keeps out what should get in all the same."""
    for text in scripts():
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text
        )
    policy = Served().ask("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
