"""Files on a disk that works, and on one that does not."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from rtpproxy_tw.recording.disk import Calls, DiskFile
from rtpproxy_tw.recording.sinks import Place


class SmallDisk:
    """Takes so many octets and is full then, like a real one after a short write."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, fd: int, data: memoryview) -> int:
        """As os.write."""
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os.write(fd, data[: self.room])
        self.room -= written
        return written


def a_file(directory: Path, spool: Path | None = None, calls: Calls | None = None) -> DiskFile:
    """One named ``call.rtp``, not opened yet."""
    place = Place(str(directory), str(spool) if spool else None)
    return DiskFile(place, "call.rtp", calls or Calls())


def test_it_is_there_at_once_with_its_header(tmp_path: Path) -> None:
    file = a_file(tmp_path)
    file.open(b"header")
    assert (tmp_path / "call.rtp").read_bytes() == b"header"
    file.finish()


def test_its_mode_is_that_of_an_ordinary_file(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        file = a_file(tmp_path)
        file.open(b"")
        file.finish()
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "call.rtp").stat().st_mode) == 0o640


def test_records_are_gathered_until_asked_for(tmp_path: Path) -> None:
    file = a_file(tmp_path)
    file.open(b"")
    file.add(b"record")
    assert (tmp_path / "call.rtp").read_bytes() == b""
    assert file.buffered == 6
    file.write_out()
    assert (tmp_path / "call.rtp").read_bytes() == b"record"
    assert file.buffered == 0
    file.finish()


def test_many_records_are_written_without_asking(tmp_path: Path) -> None:
    file = a_file(tmp_path)
    file.open(b"")
    for _ in range(7):
        file.add(bytes(10_000))
    assert (tmp_path / "call.rtp").stat().st_size == 70_000
    file.finish()


def test_a_spooled_file_arrives_when_it_is_finished(tmp_path: Path) -> None:
    directory, spool = tmp_path / "done", tmp_path / "growing"
    directory.mkdir()
    spool.mkdir()
    file = a_file(directory, spool)
    file.open(b"header")
    assert [path.name for path in spool.iterdir()] == ["call.rtp"]
    assert list(directory.iterdir()) == []
    file.add(b"!")
    file.finish()
    assert list(spool.iterdir()) == []
    assert (directory / "call.rtp").read_bytes() == b"header!"


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "call.rtp").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links") as raised:
        a_file(tmp_path).open(b"header")
    assert raised.value.errno == errno.ELOOP
    assert victim.read_text() == "precious"


def test_a_fifo_does_not_stop_everything(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "call.rtp")
    with pytest.raises(OSError, match="No such device"):
        a_file(tmp_path).open(b"header")


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "call.rtp")
    reader = os.open(tmp_path / "call.rtp", os.O_RDONLY | os.O_NONBLOCK)
    try:
        file = a_file(tmp_path)
        with pytest.raises(OSError, match="not a regular file"):
            file.open(b"header")
        file.abandon()
    finally:
        os.close(reader)


def test_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    gone.rmdir()
    file = a_file(gone)
    with pytest.raises(FileNotFoundError):
        file.open(b"header")
    file.abandon()


def test_a_file_deleted_under_our_hands_is_an_error(tmp_path: Path) -> None:
    file = a_file(tmp_path)
    file.open(b"header")
    (tmp_path / "call.rtp").unlink()
    file.add(b"record")
    with pytest.raises(FileNotFoundError):
        file.write_out()
    file.abandon()


def test_a_full_disk_leaves_the_records_that_are_whole(tmp_path: Path) -> None:
    file = a_file(tmp_path, calls=Calls(write=SmallDisk(25).write))
    file.open(b"header")
    file.add(b"first one,")
    file.add(b"second one")
    with pytest.raises(OSError, match="No space"):
        file.write_out()
    assert (tmp_path / "call.rtp").read_bytes() == b"headerfirst one,second on"
    file.abandon()
    assert (tmp_path / "call.rtp").read_bytes() == b"headerfirst one,"


def test_a_full_disk_does_not_keep_a_recording_in_the_spool(tmp_path: Path) -> None:
    directory, spool = tmp_path / "done", tmp_path / "growing"
    directory.mkdir()
    spool.mkdir()
    file = a_file(directory, spool, Calls(write=SmallDisk(6).write))
    file.open(b"header")
    file.add(b"lost")
    with pytest.raises(OSError, match="No space"):
        file.finish()
    file.abandon()
    assert (directory / "call.rtp").read_bytes() == b"header"


def test_no_descriptor_is_left_behind(tmp_path: Path) -> None:
    def descriptors() -> set[str]:
        return set(os.listdir("/proc/self/fd"))

    before = descriptors()
    spool = tmp_path / "spool"
    spool.mkdir()
    good = a_file(tmp_path, spool)
    good.open(b"")
    good.finish()
    bad = a_file(tmp_path, spool, Calls(write=SmallDisk(0).write))
    with pytest.raises(OSError, match="No space"):
        bad.open(b"header")
    bad.abandon()
    assert descriptors() == before
