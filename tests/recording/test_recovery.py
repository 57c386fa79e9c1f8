"""What a crash leaves is finished at the next start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from rtpproxy_tw.recording import adhoc
from rtpproxy_tw.recording.recovery import recover, set_aside
from rtpproxy_tw.recording.sinks import Place
from rtpproxy_tw.recording.spool import Writer
from tests.recording.test_spool import eventually

CALLER = ("192.0.2.1", 5004)
RECORD = adhoc.record(b"media", CALLER, 1000.5)


@pytest.fixture(params=["in place", "in a spool directory"])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    (tmp_path / "recordings").mkdir()
    (tmp_path / "spool").mkdir()
    spool = str(tmp_path / "spool") if request.param != "in place" else None
    return Place(str(tmp_path / "recordings"), spool)


def leave(place: Place, name: str = "call=from.o.rtp", cut: int = 7) -> None:
    """What a crash would."""
    grows = Path(place.spool or place.directory)
    (grows / name).write_bytes(RECORD * 3 + RECORD[:cut])
    told = {"state": "recording", "call_id": "call", "started": 999.0, "files": [{"name": name}]}
    (grows / f"{name}.json").write_text(json.dumps(told))


def recovered(place: Place) -> list[dict[str, Any]]:
    return list(recover(place)) if set_aside(place) else []


def test_a_recording_is_cut_after_its_last_whole_packet(place: Place) -> None:
    leave(place)
    (event,) = recovered(place)
    directory = Path(place.directory)
    assert (directory / "call=from~crashed.o.rtp").read_bytes() == RECORD * 3
    told = json.loads((directory / "call=from~crashed.o.rtp.json").read_text())
    assert event == {"event": "recording.finished", **told}
    assert (told["state"], told["recovered"], told["call_id"]) == ("finished", True, "call")
    assert (told["started"], told["ended"], told["packets"]) == (999.0, 1000.5, 3)
    assert told["files"][0]["sha256"] == sha256(RECORD * 3).hexdigest()
    assert sorted(os.listdir(directory)) == [
        "call=from~crashed.o.rtp",
        "call=from~crashed.o.rtp.json",
    ]
    assert place.spool is None or os.listdir(place.spool) == []


def test_nothing_left_is_nothing_done(place: Place) -> None:
    assert not set_aside(place)


def test_finished_recordings_stay(place: Place) -> None:
    told = {"state": "finished", "files": [{"name": "a.rtp"}]}
    (Path(place.directory) / "a.rtp").write_bytes(RECORD)
    (Path(place.directory) / "a.rtp.json").write_text(json.dumps(told))
    assert not set_aside(place)


def test_several_crashes_keep_all_recordings(place: Place) -> None:
    for _ in range(3):
        leave(place)
        recovered(place)
    assert len(list(Path(place.directory).glob("*.rtp"))) == 3


def test_what_was_set_aside_before_another_crash_is_finished_too(place: Place) -> None:
    leave(place)
    assert set_aside(place)
    leave(place)
    assert len(recovered(place)) == 2


def test_what_a_living_process_writes_is_left_alone(place: Place) -> None:
    writer = Writer()
    leave(place, "dead.o.rtp")
    file = writer.open(place, "call=from.o.rtp", b"")
    grows = Path(place.spool or place.directory)
    assert eventually(lambda: (grows / "call=from.o.rtp").exists())
    told = {"state": "recording", "files": [{"name": "call=from.o.rtp"}]}
    (grows / "call=from.o.rtp.json").write_text(json.dumps(told))
    (event,) = recovered(place)
    assert event["files"][0]["name"] == "dead~crashed.o.rtp"
    file.write(RECORD)
    file.close()
    writer.stop()
    assert (Path(place.directory) / "call=from.o.rtp").read_bytes() == RECORD


def test_files_of_the_original_in_the_spool_are_finished(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "to"), str(tmp_path / "spool"))
    for path in place:
        Path(str(path)).mkdir()
    (tmp_path / "spool" / "c=f.a.rtp").write_bytes(RECORD + b"\2")
    (tmp_path / "spool" / "letter.txt").write_bytes(b"mine")
    recovered(place)
    assert (tmp_path / "to" / "c=f~crashed.a.rtp").read_bytes() == RECORD
    assert os.listdir(tmp_path / "spool") == ["letter.txt"]


def test_it_runs_as_a_program(place: Place) -> None:
    leave(place)
    assert set_aside(place)
    options = ["-s", place.spool] if place.spool else []
    done = subprocess.run(
        [sys.executable, "-m", "rtpproxy_tw.recording.recovery", *options, place.directory],
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["packets"] == 3


_RECORDING = """
import sys, time
from rtpproxy_tw.recording import adhoc
from rtpproxy_tw.recording.recorders import FileRecorders
from rtpproxy_tw.recording.spool import Writer
from tests.recording.memory import a_session, hear
writer, session = Writer(), a_session()
recorders = FileRecorders(
    directory=sys.argv[1], spool=sys.argv[2] or None, pcap=False, rtcp=False, everything=False,
    writer=writer, wall=time.time, local_host=lambda host: host)
recorders.record(session.caller, None, single=False)
for number in range(10**6):
    hear(session.caller.rtp, b"%08d" % number, ("192.0.2.1", 5004))
    time.sleep(0.001)
    if number % 50 == 0:
        writer.flush()
        print(number, flush=True)
"""


def test_a_killed_process_loses_what_came_after_its_last_flush(place: Place) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _RECORDING, place.directory, place.spool or ""],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process, process.stdout:
        for line in process.stdout:
            if int(line) >= 300:
                break
        # What was asked to be flushed is given the time that a second flush would need.
        time.sleep(0.03)
        os.kill(process.pid, signal.SIGKILL)
    (event,) = recovered(place)
    assert event["packets"] >= 250
    assert event["recovered"]
    assert event["call_id"] == "call"
    (path,) = Path(place.directory).glob("*.rtp")
    octets = path.read_bytes()
    assert len(octets) == event["packets"] * 38
    numbers = [int(octets[at + 30 : at + 38]) for at in range(0, len(octets), 38)]
    assert numbers == list(range(len(numbers)))
