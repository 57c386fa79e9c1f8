"""Accounting: the line of a session, and that it is written once, whatever happens."""

from __future__ import annotations

import csv
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface.verify import verifyObject

from rtpproxy_tw.interfaces import ISessionObserver
from rtpproxy_tw.reporting import acct_files
from rtpproxy_tw.reporting.accounting import NAME, Accounting, Books
from rtpproxy_tw.reporting.acct_files import CsvFile, Journal, recover
from rtpproxy_tw.reporting.acct_record import COLUMNS, HEADER, line, record
from rtpproxy_tw.session import Ending, Session, SessionKey
from tests.contracts import session
from tests.oracle import Oracle, needs_oracle

EPOCH = 1_000_000.0


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def values(made: Session, now: float = 9.0) -> dict[str, str]:
    """The record of ``made`` by column."""
    text = record(made, node="box", pid=7, uid=3, now=now, epoch=EPOCH)
    return dict(zip(COLUMNS, next(csv.reader([text])), strict=True))


def test_a_record_tells_who_and_when() -> None:
    told = values(session())
    assert told["rec_ver"] == "1.2"
    assert (told["rtpp_node_id"], told["rtpp_pid"], told["sess_uid"]) == ("box", "7", "3")
    assert (told["call_id"], told["from_tag"]) == ("call1", "f")
    assert (told["setup_ts"], told["teardown_ts"]) == ("1000000.000000", "1000009.000000")
    assert told["first_rtp_ts_ina"] == told["last_rtp_ts_ino"] == "0.000000"
    assert told["rtpa_ssrc_last_ina"] == ""
    assert told["rtpa_pt_last_ina"] == "-1"
    assert told["rtpp_rtp_rmt_ip_o"] == told["rtpp_rtcp_rmt_pt_a"] == ""


def test_what_is_said_of_the_caller_ends_in_a_and_of_the_callee_in_o() -> None:
    made = session()
    made.caller.rtp.accepted, made.callee.rtp.accepted = 5, 6
    made.caller.rtcp.accepted, made.callee.rtcp.accepted = 1, 2
    made.caller.rtp.relayed, made.callee.rtp.relayed = 4, 3
    made.caller.rtp.dropped = 1
    made.caller.rtp.first_heard, made.caller.rtp.last_heard = 1.0, 2.0
    made.caller.held, made.caller.holds = True, 2
    made.caller.rtp.latch.signal(("192.0.2.1", 5000), 0.0)
    told = values(made)
    assert (told["rtp_npkts_ina"], told["rtp_npkts_ino"]) == ("5", "6")
    assert (told["rtcp_npkts_ina"], told["rtcp_npkts_ino"]) == ("1", "2")
    assert (told["rtp_nrelayed"], told["rtp_ndropped"]) == ("7", "1")
    assert (told["first_rtp_ts_ina"], told["last_rtp_ts_ina"]) == (
        "1000001.000000",
        "1000002.000000",
    )
    assert (told["rtpp_hld_sts_o"], told["rtpp_hld_sts_a"]) == ("f", "t")
    assert (told["rtpp_hld_cnt_o"], told["rtpp_hld_cnt_a"]) == ("0", "2")
    assert (told["rtpp_rtp_rmt_ip_a"], told["rtpp_rtp_rmt_pt_a"]) == ("192.0.2.1", "5000")


def test_a_call_id_cannot_break_the_line() -> None:
    made = session()
    made.key = SessionKey('a,"b\r\udcff', "f")
    assert values(made)["call_id"] == made.key.call_id


@needs_oracle
def test_the_columns_and_a_sessions_values_are_those_of_the_original(tmp_path: Path) -> None:
    with Oracle() as engine:
        engine.ask("U call,1 127.0.0.1 5000 f")
        engine.ask("U call,1 0.0.0.0 5000 f")
        engine.ask("X")
        path = engine.directory / NAME
        deadline = time.monotonic() + 10
        while (text := path.read_text() if path.exists() else "").count("\n") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    header, theirs = text.splitlines()
    assert header + "\n" == HEADER
    made = session()
    made.caller.rtp.latch.signal(("127.0.0.1", 5000), 0.0)
    made.caller.rtcp.latch.signal(("127.0.0.1", 5001), 0.0)
    made.caller.held, made.caller.holds = True, 1
    ours = record(made, node="", pid=0, uid=0, now=0.0, epoch=0.0).strip().split(",")
    # The original's call-id is not quoted; names and times are of that machine and moment.
    assert ours[8:] == theirs.split(",")[9:]


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def accounting(
    folder: Path, elsewhere: Callable[[list[str]], Deferred[set[str]]] | None = None
) -> Accounting:
    made = Accounting(
        path=str(folder / NAME),
        node="box",
        now=lambda: 5.0,
        wall=lambda: EPOCH,
        elsewhere=elsewhere,
    )
    made.start()
    return made


def test_each_session_has_one_record_when_the_relay_has_stopped(tmp_path: Path) -> None:
    books = accounting(tmp_path)
    assert verifyObject(ISessionObserver, books)
    sessions = [session(number) for number in range(200)]
    for each in sessions:
        books.created(each)
        books.tick()
    for each in sessions:
        books.ended(each, Ending.SHUTDOWN)
        books.ended(each, Ending.SHUTDOWN)
    books.stop()
    assert [row["call_id"] for row in rows(tmp_path / NAME)] == [f"call{n}" for n in range(200)]
    assert os.listdir(tmp_path) == [NAME]
    assert "accounting" not in {thread.name for thread in threading.enumerate()}


def test_a_second_relay_appends_without_another_header(tmp_path: Path) -> None:
    for _ in range(2):
        books = accounting(tmp_path)
        made = session()
        books.created(made)
        books.ended(made, Ending.DELETED)
        books.stop()
    assert len(rows(tmp_path / NAME)) == 2
    assert (tmp_path / NAME).read_text().count("rec_ver") == 1


def test_a_file_that_was_rotated_away_is_begun_anew(tmp_path: Path) -> None:
    books = accounting(tmp_path)
    for number, name in enumerate((NAME, "old")):
        made = session(number)
        books.created(made)
        books.ended(made, Ending.DELETED)
        eventually(lambda: (tmp_path / NAME).exists() and len(rows(tmp_path / NAME)) == 1)
        if name == NAME:
            os.rename(tmp_path / NAME, tmp_path / "old")
    books.stop()
    assert [row["call_id"] for row in rows(tmp_path / "old")] == ["call0"]
    assert [row["call_id"] for row in rows(tmp_path / NAME)] == ["call1"]


def crash(folder: Path, number: int, pid: int = 99) -> tuple[CsvFile, Journal]:
    """A relay that knew of two sessions: one has its record, one has none yet."""
    file = CsvFile(str(folder / NAME))
    journal = Journal(file, pid)
    for uid in (0, 1):
        made = session(number + uid)
        text = record(made, node="box", pid=pid, uid=uid, now=1.0, epoch=EPOCH)
        journal.note({uid: text})
        journal.note({uid: text})
        if uid == 0:
            file.append(text)
    return file, journal


def test_after_a_crash_the_next_relay_writes_what_is_missing_and_only_that(
    tmp_path: Path,
) -> None:
    file, journal = crash(tmp_path, 1)
    os.close(journal._fd)  # as the kernel does when a process dies
    books = accounting(tmp_path)
    books.stop()
    assert [row["call_id"] for row in rows(tmp_path / NAME)] == ["call1", "call2"]
    assert os.listdir(tmp_path) == [NAME]
    assert recover(file) == 0


@pytest.mark.parametrize("gone_on_with, written", [({"call2"}, []), ({"other"}, ["call2"])])
def test_of_calls_that_other_relays_have_gone_on_with_they_tell(
    tmp_path: Path, gone_on_with: set[str], written: list[str]
) -> None:
    _, journal = crash(tmp_path, 1)
    os.close(journal._fd)
    asked: list[list[str]] = []
    answers: list[Deferred[set[str]]] = [fail(OSError("not yet")), succeed(gone_on_with)]

    def elsewhere(calls: list[str]) -> Deferred[set[str]]:
        asked.append(calls)
        return answers[len(asked) - 1]

    books = accounting(tmp_path, elsewhere)

    def settled() -> bool:
        books.tick()
        return len(asked) == 2

    eventually(settled)
    books.tick()
    books.stop()
    assert asked == [["call2"]] * 2
    assert [row["call_id"] for row in rows(tmp_path / NAME)] == ["call1", *written]
    assert os.listdir(tmp_path) == [NAME]


def test_as_long_as_nobody_knows_of_other_relays_what_is_owed_waits(tmp_path: Path) -> None:
    _, journal = crash(tmp_path, 1)
    os.close(journal._fd)
    books = accounting(tmp_path, lambda calls: fail(OSError("nobody knows")))
    for _ in range(20):
        books.tick()
    books.stop()
    assert len(list(tmp_path.glob("*.journal"))) == 1
    books = accounting(tmp_path)
    books.stop()
    assert {row["call_id"] for row in rows(tmp_path / NAME)} == {"call1", "call2"}


def test_what_was_rotated_before_the_crash_is_not_written_again(tmp_path: Path) -> None:
    file, journal = crash(tmp_path, 1)
    os.rename(tmp_path / NAME, tmp_path / f"{NAME}.1")
    os.close(journal._fd)
    assert recover(file) == 1
    assert [row["call_id"] for row in rows(tmp_path / NAME)] == ["call2"]


def test_the_journal_of_a_relay_that_lives_is_left_alone(tmp_path: Path) -> None:
    file, journal = crash(tmp_path, 1)
    assert recover(file) == 0
    journal.close()


@pytest.mark.parametrize("keep", [0, 1, 30, -3])
def test_a_journal_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path: Path, keep: int) -> None:
    file, journal = crash(tmp_path, 1)
    os.close(journal._fd)
    (path,) = tmp_path.glob("*.journal")
    path.write_bytes(path.read_bytes()[:keep])
    assert recover(file) == (1 if keep == -3 else 0)
    assert not path.exists()


def test_a_journal_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acct_files, "SLACK", 10)
    journal = Journal(CsvFile(str(tmp_path / NAME)), 1)
    for number in range(500):
        journal.note({number: line(["x"] * 30)})
        journal.forget(number)
    (path,) = tmp_path.glob("*.journal")
    assert len(path.read_text().splitlines()) < 20
    journal.close()
    assert not list(tmp_path.glob("*.journal"))


def test_records_wait_for_a_disk_that_is_full_and_are_then_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Books(str(tmp_path / NAME))
    books.open()
    write = os.write
    room = [30]

    def full(fd: int, octets: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = write(fd, octets[: room[0]])
        room[0] -= taken
        return taken

    monkeypatch.setattr(os, "write", full)
    books.write([(0, "one\n" * 20)])
    assert books.behind
    assert "No space" in books.complaints.pop()
    assert (tmp_path / NAME).read_text() == HEADER
    monkeypatch.undo()
    books.write([(1, "two\n")])
    assert (tmp_path / NAME).read_text() == HEADER + "one\n" * 20 + "two\n"
    books.close()
