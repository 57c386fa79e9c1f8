"""Disks that run full, by policy and for real."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtpproxy_tw.errors import RecordingRefused
from rtpproxy_tw.recording.files import Event
from rtpproxy_tw.recording.recorders import FileRecorders
from rtpproxy_tw.recording.sinks import Place
from rtpproxy_tw.recording.space import Low, Reserve, read_sidecar
from rtpproxy_tw.recording.spool import Writer
from rtpproxy_tw.session import Ending
from tests.recording.memory import a_session, hear
from tests.recording.talking import Talker
from tests.recording.test_spool import eventually

CALLER = ("192.0.2.1", 5004)


class Disk:
    """Says how much is free."""

    def __init__(self, free: int = 10_000_000) -> None:
        self.free = free

    def __call__(self, directory: str) -> int:
        """Octets."""
        return self.free


def finished(folder: Path, name: str, age: int, state: str = "finished") -> None:
    """A recording of ``age`` seconds, with its sidecar."""
    (folder / name).write_bytes(b"recording")
    sidecar = folder / f"{name}.json"
    sidecar.write_text(json.dumps({"state": state, "files": [{"name": name}], "exports": []}))
    os.utime(sidecar, (1_700_000_000 - age,) * 2)


def test_with_space_enough_nothing_happens(tmp_path: Path) -> None:
    for policy in Low:
        assert not Reserve(1000, policy, Disk(1000)).is_short(Place(str(tmp_path)))
        assert not Reserve(0, policy, Disk(0)).is_short(Place(str(tmp_path)))


def test_the_oldest_are_deleted_until_there_is_enough(tmp_path: Path) -> None:
    for name, age in (("new", 1), ("old", 3), ("middle", 2)):
        finished(tmp_path, name, age)
    finished(tmp_path, "running", 9, "recording")
    (tmp_path / "foreign.json").write_text("{}")

    def free(directory: str) -> int:
        return 1000 - 300 * sum(path.suffix == "" for path in tmp_path.iterdir())

    # Four recordings of 300 each; two of them have to go.
    assert not Reserve(400, Low.DELETE_OLDEST, free).is_short(Place(str(tmp_path)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("foreign.json", "new", "new.json", "running", "running.json"),
    ]
    assert Reserve(4000, Low.DELETE_OLDEST, free).is_short(Place(str(tmp_path)))
    assert (tmp_path / "running").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"state": "finished", "files": [{"name": "../x"}]}',
        '{"state": "finished", "files": [{"name": ""}]}',
        '{"state": "finished", "files": [{}]}',
        '{"state": "odd", "files": []}',
        '{"state": "finished", "files": [], "exports": ["/etc/passwd"]}',
    ],
)
def test_what_is_no_sidecar_of_ours_deletes_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert read_sidecar(str(tmp_path / "x.json")) is None


def test_new_recordings_are_refused_until_there_is_space(tmp_path: Path) -> None:
    disk = Disk()
    writer = Writer(reserve=Reserve(1 << 20, Low.REJECT_NEW, disk))
    place = Place(str(tmp_path))
    running = writer.open(place, "running", b"")
    assert eventually(lambda: (tmp_path / "running").exists())
    disk.free = 0
    writer.flush()
    assert eventually(lambda: place not in writer._worker.short)
    late = writer.open(place, "late", b"")
    assert eventually(lambda: late.failed)
    with pytest.raises(RecordingRefused, match="less than 1 MB"):
        writer.open(place, "later", b"")
    running.write(b"goes on")
    disk.free = 1 << 21
    writer.flush()
    assert eventually(lambda: place not in writer._worker.short)
    writer.open(place, "again", b"")
    writer.stop()
    assert (tmp_path / "running").read_bytes() == b"goes on"
    assert not running.failed


@pytest.mark.parametrize("policy", [Low.STOP, Low.DELETE_OLDEST])
def test_running_recordings_end_when_nothing_else_helps(tmp_path: Path, policy: Low) -> None:
    disk = Disk()
    writer = Writer(reserve=Reserve(1 << 20, policy, disk))
    running = writer.open(Place(str(tmp_path)), "running", b"")
    running.write(b"before")
    assert eventually(lambda: (tmp_path / "running").exists())
    disk.free = 0
    writer.flush()
    assert eventually(lambda: running.failed)
    running.write(b"after")
    writer.stop()
    assert (tmp_path / "running").read_bytes() == b"before"
    assert running.outcome.error == "[Errno 28] less than 1 MB of disk space are free"
    assert (running.outcome.packets, running.outcome.lost) == (1, 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    path = tmp_path / "small"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(path)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may make a small file system")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_costs_the_recording_and_nothing_else(small_disk: Path) -> None:
    writer, session = Writer(), a_session()
    events: list[Event] = []
    recorders = FileRecorders(
        directory=str(small_disk),
        spool=None,
        pcap=False,
        rtcp=False,
        everything=False,
        writer=writer,
        wall=lambda: 1.0,
        local_host=lambda host: host,
        tell=events.append,
    )
    recorders.record(session.caller, None, single=False)
    for number in range(3000):
        hear(session.caller.rtp, Talker().packet(number % 10), CALLER)
        if number % 100 == 0:
            writer.flush()
    state = session.caller.recording
    assert state is not None
    assert eventually(lambda: state.failed)
    recorders.tick()
    recorders.ended(session, Ending.DELETED)
    assert writer.stop()
    failed = events[1]
    assert failed["event"] == "recording.failed"
    assert "No space left" in failed["files"][0]["error"]
    # Whole records only, and every packet is either there or counted as lost.
    (size,) = {path.stat().st_size for path in small_disk.glob("*.rtp")}
    assert size % (30 + 172) == 0
    (file,) = events[-1]["files"]
    assert file["packets"] == size // 202
    assert file["packets"] + state.lost == 3000


def test_a_directory_that_vanishes_costs_the_recording_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    writer = Writer()
    file = writer.open(Place(str(folder)), "a", b"")
    assert eventually(lambda: (folder / "a").exists())
    (folder / "a").unlink()
    folder.rmdir()
    file.write(b"x")
    writer.flush()
    assert eventually(lambda: file.failed)
    file.write(b"x")
    assert file.outcome.lost >= 1
    other = writer.open(Place(str(folder)), "b", b"")
    assert eventually(lambda: other.failed)
    assert writer.stop()
