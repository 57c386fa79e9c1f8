"""Call records: what is in them, and the file they are appended to."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rtpproxy_tw.commands import Delete
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.quality.verdict import CODES
from rtpproxy_tw.reporting import linefile
from rtpproxy_tw.reporting.linefile import LineFile
from rtpproxy_tw.reporting.records import CallRecords
from rtpproxy_tw.session import Ending
from tests.conftest import LoggedFailures
from tests.web.client import NASTY, WALL, Served


class MemorySink:
    """Keeps records."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}

    def put(self, name: str, record: bytes) -> None:
        """See Sink."""
        assert name not in self.records
        self.records[name] = record


def recorded() -> tuple[Served, MemorySink]:
    served, sink = Served(), MemorySink()
    clock = served.bench.clock
    records = CallRecords(
        sinks=[sink],
        now=clock.seconds,
        wall=lambda: WALL + clock.seconds(),
        node="here",
        run="abcd",
    )
    served.bench.registry._observers += (records,)
    return served, sink


def test_a_session_leaves_one_record_when_it_ends() -> None:
    served, sink = recorded()
    served.call()
    served.media(packets=60)
    assert not sink.records
    served.bench.do(Delete("call", "a", None))
    ((name, record),) = sink.records.items()
    told = json.loads(record)
    assert b"\n" not in record
    assert told["record"] == name
    assert told["node"] == "here"
    assert told["call_id"] == told["id"] == "call"
    assert told["ended"] == "deleted"
    assert told["created"] == WALL
    assert told["finished"] == pytest.approx(WALL + 1.2)
    assert told["seconds"] == pytest.approx(1.2)
    for leg in told["legs"]:
        assert leg["verdict"]["code"] in CODES
        assert leg["verdict"]["sentence"]
        assert leg["rtp"]["accepted"] == 60
        assert leg["quality"]["packets"] == 60
        assert leg["local"].startswith("127.0.0.1:40")


def test_a_session_that_goes_on_elsewhere_is_recorded_there() -> None:
    served, sink = recorded()
    served.call("one")
    for session in served.bench.registry:
        served.bench.registry.end(session, Ending.MOVED)
    assert not sink.records


@pytest.mark.parametrize("why", [why for why in Ending if why is not Ending.MOVED])
def test_every_ending_is_recorded(why: Ending) -> None:
    served, sink = recorded()
    served.call("one")
    served.call("two", answered=False)
    for session in served.bench.registry:
        served.bench.registry.end(session, why)
    assert [json.loads(record)["ended"] for record in sink.records.values()] == [why.value] * 2
    assert sorted(sink.records) == list(sink.records)


@pytest.mark.parametrize("call_id", NASTY)
def test_hostile_names_are_only_text_in_a_record(call_id: str) -> None:
    served, sink = recorded()
    served.call(call_id, call_id)
    served.bench.registry.end_all(Ending.SHUTDOWN)
    ((name, record),) = sink.records.items()
    told = json.loads(record)
    told["call_id"].encode()
    assert record.isascii()
    assert len(record.splitlines()) == 1
    assert "/" not in name


def test_a_record_that_cannot_be_made_is_a_log_line_and_no_more(
    logged_failures: LoggedFailures, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, sink = recorded()
    served.call()
    monkeypatch.setattr("rtpproxy_tw.reporting.records.record_of", lambda *_: 1 / 0)
    served.bench.registry.end_all(Ending.DELETED)
    assert not sink.records
    assert len(logged_failures.take()) == 1


# The file.


def wait_for(condition: Any) -> None:
    """The thread needs a moment."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_lines_are_appended_and_all_written_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "records"
    path.write_text("before\n")
    file = LineFile(str(path))
    for number in range(1000):
        file.put("", b"%d" % number)
    file.stop()
    file.stop()
    assert path.read_text().splitlines() == ["before", *map(str, range(1000))]


def test_a_file_that_was_renamed_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "records"
    file = LineFile(str(path))
    file.put("", b"one")
    wait_for(lambda: path.read_bytes() == b"one\n")
    path.rename(tmp_path / "old")
    file.put("", b"two")
    file.stop()
    assert path.read_bytes() == b"two\n"
    assert (tmp_path / "old").read_bytes() == b"one\n"


def test_a_file_that_cannot_be_opened_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--record-calls"):
        LineFile(str(tmp_path / "nothing" / "records"))


def test_lines_wait_for_a_disk_that_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linefile, "RETRY", 0.01)
    path = tmp_path / "records"
    file = LineFile(str(path))
    refusing = threading.Event()
    refusing.set()
    original = LineFile._append

    def append(self: LineFile, handle: Any, octets: bytes) -> None:
        if refusing.is_set():
            raise OSError(28, "No space left on device")
        original(self, handle, octets)

    monkeypatch.setattr(LineFile, "_append", append)
    for number in range(10):
        file.put("", b"%d" % number)
    wait_for(lambda: file._trouble is not None)
    assert path.read_bytes() == b""
    refusing.clear()
    wait_for(lambda: path.read_bytes().count(b"\n") == 10)
    file.stop()


def test_lines_beyond_the_limit_are_lost_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linefile, "MOST_LINES", 10)
    monkeypatch.setattr(linefile, "RETRY", 0.01)
    monkeypatch.setattr(linefile, "STOP", 0.1)
    monkeypatch.setattr(LineFile, "_write", lambda self, octets: False)
    file = LineFile(str(tmp_path / "records"))
    for number in range(15):
        file.put("", b"%d" % number)
    assert file.lost == 5
    file.stop()
