"""The writing thread: on real files, and on disks that stall, fill up or break."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from rtpproxy_tw.errors import RecordingRefused
from rtpproxy_tw.recording.disk import Calls
from rtpproxy_tw.recording.sinks import Note, Place
from rtpproxy_tw.recording.spool import BETWEEN, PORTION, SpooledFile, Writer
from tests.recording.contracts import SinkContract
from tests.recording.memory import MemorySink, MemorySinks


class Gate:
    """An opener behind which the writing thread waits until it is let through."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.passable = threading.Event()

    def open(self, path: str, flags: int, mode: int, *, dir_fd: int) -> int:
        """As os.open, later."""
        self.reached.set()
        self.passable.wait(10)
        return os.open(path, flags, mode, dir_fd=dir_fd)


@implementer(ILogObserver)
class Texts:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        """Observe one event."""
        self.texts.append(formatEvent(event))


def full_disk(path: str, flags: int, mode: int, *, dir_fd: int) -> int:
    """As os.open, with no inode left."""
    raise OSError(errno.ENOSPC, "No space left on device")


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true soon; only the thread can make it so."""
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    return condition()


def content(path: Path) -> bytes | None:
    """What is in the file; None while there is none."""
    return path.read_bytes() if path.exists() else None


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(str(tmp_path), None)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What was logged, as text."""
    observer = Texts()
    globalLogPublisher.addObserver(observer)
    try:
        yield observer.texts
    finally:
        globalLogPublisher.removeObserver(observer)


class TestMemorySinks(SinkContract):
    """The fake keeps the contract."""

    def setup_method(self) -> None:
        self.sinks = MemorySinks()

    def opened(self, name: str, header: bytes) -> MemorySink:
        return self.sinks.open(Place("/nowhere"), name, header)

    def content(self, name: str) -> bytes:
        return self.sinks.files[name].content


class TestWriter(SinkContract):
    """The real one keeps it too."""

    @pytest.fixture(autouse=True)
    def _writer(self, tmp_path: Path) -> Iterator[None]:
        self.path = tmp_path
        self.writer = Writer()
        yield
        self.writer.stop()

    def opened(self, name: str, header: bytes) -> SpooledFile:
        return self.writer.open(Place(str(self.path)), name, header)

    def content(self, name: str) -> bytes:
        assert self.writer.stop()
        return (self.path / name).read_bytes()


def test_there_is_no_thread_before_the_first_recording() -> None:
    before = threading.active_count()
    writer = Writer()
    writer.flush()
    assert writer.stop()
    assert threading.active_count() == before


def test_the_file_is_there_without_any_packet(place: Place, tmp_path: Path) -> None:
    writer = Writer()
    writer.open(place, "a", b"header")
    assert eventually(lambda: content(tmp_path / "a") == b"header")
    writer.stop()


def test_flushing_makes_everything_visible(place: Place, tmp_path: Path) -> None:
    writer = Writer()
    files = [writer.open(place, name, b"") for name in "ab"]
    for file in files:
        file.write(b"record")
    writer.flush()
    assert eventually(lambda: content(tmp_path / "a") == b"record")
    assert eventually(lambda: content(tmp_path / "b") == b"record")
    writer.stop()


def test_much_is_written_without_flushing(place: Place, tmp_path: Path) -> None:
    writer = Writer()
    file = writer.open(place, "a", b"")
    for _ in range(100):
        file.write(bytes(10_000))
    assert eventually(lambda: len(content(tmp_path / "a") or b"") > 900_000)
    writer.stop()


def test_a_closed_recording_is_complete_without_flushing(place: Place, tmp_path: Path) -> None:
    writer = Writer()
    file = writer.open(place, "a", b"")
    file.write(b"record")
    file.close()
    assert eventually(lambda: content(tmp_path / "a") == b"record")
    writer.stop()


def test_stopping_finishes_what_is_still_open(tmp_path: Path) -> None:
    directory, spool = tmp_path / "done", tmp_path / "growing"
    directory.mkdir()
    spool.mkdir()
    writer = Writer()
    file = writer.open(Place(str(directory), str(spool)), "a", b"header ")
    file.write(b"record")
    assert writer.stop()
    assert (directory / "a").read_bytes() == b"header record"
    assert list(spool.iterdir()) == []


def test_after_stopping_nothing_is_recorded(place: Place, tmp_path: Path) -> None:
    writer = Writer()
    file = writer.open(place, "a", b"")
    assert writer.stop()
    file.write(b"late")
    file.close()
    with pytest.raises(RecordingRefused):
        writer.open(place, "b", b"")
    assert writer.stop()
    assert (tmp_path / "a").read_bytes() == b""


def test_a_stalled_disk_costs_records_and_no_time(
    place: Place, tmp_path: Path, logged: list[str]
) -> None:
    gate = Gate()
    writer = Writer(max_jobs=10, calls=Calls(open=gate.open))
    file = writer.open(place, "a", b"")
    assert gate.reached.wait(5)
    for number in range(1000):
        file.write(b"%d " % number)
    assert file.dropped == 1000 - 9
    assert [text for text in logged if "loses packets" in text] == [
        "the disk does not keep up: a loses packets"
    ]
    file.close()
    gate.passable.set()
    assert writer.stop()
    assert (tmp_path / "a").read_bytes() == b"0 1 2 3 4 5 6 7 8 "
    assert "a lacks 991 packets" in logged


def test_the_queue_is_limited_in_octets_too(place: Place) -> None:
    gate = Gate()
    writer = Writer(max_octets=1000, calls=Calls(open=gate.open))
    file = writer.open(place, "a", b"")
    assert gate.reached.wait(5)
    for _ in range(5):
        file.write(bytes(400))
    assert file.dropped == 2
    gate.passable.set()
    assert writer.stop()


def test_no_recording_is_begun_while_the_queue_is_full(place: Place) -> None:
    gate = Gate()
    writer = Writer(max_jobs=1, calls=Calls(open=gate.open))
    writer.open(place, "a", b"")
    with pytest.raises(RecordingRefused, match="keep up"):
        writer.open(place, "b", b"")
    gate.passable.set()
    assert writer.stop()


def test_stopping_does_not_wait_for_ever(place: Place, logged: list[str]) -> None:
    gate = Gate()
    writer = Writer(calls=Calls(open=gate.open))
    file = writer.open(place, "a", b"")
    file.write(b"record")
    assert gate.reached.wait(5)
    assert not writer.stop(0.01)
    assert "the disk hangs: 2 records are lost" in logged
    gate.passable.set()
    assert writer.stop()


def test_a_full_disk_ends_the_recording_and_is_told_once(place: Place, logged: list[str]) -> None:
    writer = Writer(calls=Calls(open=full_disk))
    file = writer.open(place, "a", b"header")
    assert eventually(lambda: file.failed)
    file.write(b"record")
    file.close()
    writer.flush()
    writer.flush()
    assert writer.stop()
    told = [text for text in logged if "failed" in text]
    assert told == ["recording a failed: [Errno 28] No space left on device"]


def test_a_failure_is_noticed_while_the_call_goes_on(place: Place, logged: list[str]) -> None:
    def broken(fd: int, data: memoryview) -> int:
        raise OSError(errno.EIO, "Input/output error")

    writer = Writer(calls=Calls(write=broken))
    file = writer.open(place, "a", b"")
    file.write(b"record")
    writer.flush()
    assert eventually(lambda: file.failed)
    assert writer.stop()
    assert "recording a failed: [Errno 5] Input/output error" in logged


def test_one_failure_leaves_other_recordings_alone(tmp_path: Path, logged: list[str]) -> None:
    gone, fine = tmp_path / "gone", tmp_path / "fine"
    fine.mkdir()
    writer = Writer()
    bad = writer.open(Place(str(gone)), "bad", b"")
    good = writer.open(Place(str(fine)), "good", b"")
    bad.write(b"record")
    good.write(b"record")
    assert writer.stop()
    assert (bad.failed, good.failed) == (True, False)
    assert (fine / "good").read_bytes() == b"record"


def test_the_thread_survives_what_nobody_thought_of(place: Place, tmp_path: Path) -> None:
    def first_time_mad(path: str, flags: int, mode: int, *, dir_fd: int) -> int:
        if path == "mad":
            raise MemoryError
        return os.open(path, flags, mode, dir_fd=dir_fd)

    writer = Writer(calls=Calls(open=first_time_mad))
    mad = writer.open(place, "mad", b"")
    assert eventually(lambda: mad.failed)
    writer.open(place, "sane", b"header").close()
    assert writer.stop()
    assert (tmp_path / "sane").read_bytes() == b"header"


def test_a_spool_on_another_file_system_is_reported(tmp_path: Path, logged: list[str]) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system to try it on")
    name = f"rtpproxy-tw-test-{os.getpid()}"
    writer = Writer()
    file = writer.open(Place(str(tmp_path), str(shm)), name, b"header")
    file.close()
    assert writer.stop()
    try:
        assert file.failed
        assert (shm / name).read_bytes() == b"header"
        assert any("cross-device" in text for text in logged)
    finally:
        (shm / name).unlink()


def test_that_many_notes_are_written_is_told_in_portions(tmp_path: Path) -> None:
    """Each has somebody do something; all of a second at once would be heard in calls."""
    clock = Clock()
    told: list[int] = []
    writer = Writer(later=clock.callLater)
    place = Place(str(tmp_path), None)
    for number in range(3 * PORTION - 1):
        writer.note(Note(place, f"note{number}", bytes, True, partial(told.append, number)))
    assert writer.settle()
    writer.flush()
    assert told == list(range(PORTION))
    writer.flush()
    assert len(told) == PORTION
    clock.advance(BETWEEN)
    assert len(told) == 2 * PORTION
    clock.advance(BETWEEN)
    assert told == list(range(3 * PORTION - 1))
    assert not clock.getDelayedCalls()
    assert writer.stop()


def test_the_end_tells_of_all_notes_at_once(tmp_path: Path) -> None:
    clock = Clock()
    told: list[int] = []
    writer = Writer(later=clock.callLater)
    for number in range(3 * PORTION):
        note = Note(
            Place(str(tmp_path), None), f"note{number}", bytes, True, lambda: told.append(1)
        )
        writer.note(note)
    assert writer.stop()
    assert len(told) == 3 * PORTION
