"""A real relay, a real disk in trouble: the recording suffers and says so, the call does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtpproxy_tw.tools.ctl_client import Client, call_path, read_target
from tests.e2e import loopback
from tests.e2e.process import wait_until
from tests.e2e.relay import Relay
from tests.recording.calling import Call, Told, web_server

pytestmark = pytest.mark.network

HOST = loopback.host(77)

RECORD = 30 + 172
"""Octets of a packet in the ad-hoc format."""

ROOM = 64
"""KiB of the small file system: three seconds of a party."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}k", "none", str(path)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may make a small file system")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def told() -> Iterator[Told]:
    with web_server(HOST) as told:
        yield told


def options(folder: Path, told: Told, *more: str) -> list[str]:
    spool = folder.parent / "webhook"
    spool.mkdir(exist_ok=True)
    hook = ["--record-webhook", told.url, "--webhook-spool", str(spool)]
    return ["-r", str(folder), "-R", "--record-min-free", "0", *hook, *more]


def sidecars(folder: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_bytes()) for path in folder.glob("*.json")]


def test_a_full_disk_costs_the_recording_and_no_packet_of_the_call(
    disk: Path, tmp_path: Path, told: Told
) -> None:
    with Relay(HOST, tmp_path, options=options(disk, told, "-a")) as relay:
        with Call(relay, "call") as call:
            call.talk(ROOM * 1024 // RECORD)
            failed = told.wait_for("recording.failed")
            call.talk(20)
            call.end()
        relay.assert_is_clean()
        assert "No space left" in relay.printed()
    assert "No space left" in failed[0]["files"][0]["error"]
    sizes = {path.name: path.stat().st_size for path in disk.glob("*.rtp")}
    assert len(sizes) == 2
    assert not any(size % RECORD for size in sizes.values())


def test_a_disk_that_has_become_read_only_costs_the_recording_only(
    disk: Path, tmp_path: Path, told: Told
) -> None:
    with Relay(HOST, tmp_path, options=options(disk, told)) as relay:
        with Call(relay, "call") as call:
            assert relay.ask("R call a b") == "0"
            call.talk(20)
            assert relay.ask("N call a b") == "0"
            told.wait_for("recording.finished")
            before = sorted(disk.iterdir())
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            assert relay.ask("R call a b") == "0"
            call.talk(20)
            (failed,) = told.wait_for("recording.failed")
            call.talk(20)
            assert sorted(disk.iterdir()) == before
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            assert relay.ask("R call a b") == "0"
            call.talk(20)
            call.end()
            told.wait_for("recording.finished", 2)
        relay.assert_is_clean()
    assert "Read-only file system" in failed["files"][0]["error"]
    (sidecar,) = sidecars(disk)
    assert (sidecar["state"], sidecar["packets"]) == ("finished", 20)


def test_a_directory_that_vanishes_costs_the_recording_only(tmp_path: Path, told: Told) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    with Relay(HOST, tmp_path, options=options(folder, told, "-a")) as relay:
        with Call(relay, "call") as call:
            wait_until(lambda: len(list(folder.glob("*.json"))) == 2, "recordings begin")
            call.talk(20)
            shutil.rmtree(folder)
            call.talk(20)
            failed = told.wait_for("recording.failed", 2)
            call.talk(20)
            folder.mkdir()
            call.end()
        with Call(relay, "next") as call:
            call.talk(20)
            call.end()
        told.wait_for("recording.finished", 2)
        relay.assert_is_clean()
    assert all("deleted" in event["files"][0]["error"] for event in failed)
    assert {path.name for path in folder.glob("*.rtp")} == {"next=a.o.rtp", "next=a.a.rtp"}


STALLING = """
import os, sys, time
from rtpproxy_tw.recording import disk, spool

def write(fd, data):
    while os.path.exists(sys.argv[0] + ".stalled"):
        time.sleep(0.01)
    return os.write(fd, data)

class Stalling(disk.Calls):
    def __init__(self):
        super().__init__(write=write)

spool.Calls = Stalling
spool.Writer.__init__.__kwdefaults__["max_octets"] = 40 * 202

from rtpproxy_tw.tools import launcher
launcher.main()
"""
"""A relay whose disk does not answer while there is a file of that name, and with a short queue."""


def test_a_disk_that_stalls_costs_what_the_queue_cannot_hold_and_no_packet_of_the_call(
    tmp_path: Path, told: Told
) -> None:
    folder, program = tmp_path / "recordings", tmp_path / "relay.py"
    folder.mkdir()
    program.write_text(STALLING)
    stalled, http = tmp_path / "relay.py.stalled", tmp_path / "http"
    with Relay(
        HOST,
        tmp_path,
        options=options(folder, told, "-a", "--http", f"unix:{http}"),
        program=[sys.executable, str(program)],
    ) as relay:
        with Call(relay, "call") as call:
            call.talk(10)
            stalled.touch()
            call.talk(300)
            asked = Client(read_target(str(http))).ask(call_path("call"))
            stalled.unlink()
            wait_until(
                lambda: all(path.stat().st_size for path in folder.glob("*.rtp")), "it is written"
            )
            call.talk(10)
            call.end()
        finished = told.wait_for("recording.finished", 2)
        relay.assert_is_clean()
        assert relay.printed().count("loses packets") == 2
    (session,) = asked["sessions"]
    for leg in session["legs"]:
        assert leg["recording"]["lost"] > 200
    assert [each["text"] for each in session["timeline"] if "loses packets" in each["text"]]
    for event in finished:
        assert event["lost"] > 200
        assert event["packets"] + event["lost"] == 320
        size = (folder / event["files"][0]["name"]).stat().st_size
        assert size == event["packets"] * RECORD
    assert {sidecar["lost"] for sidecar in sidecars(folder)} == {e["lost"] for e in finished}


def test_events_are_posted_until_the_web_server_takes_them(tmp_path: Path, told: Told) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    told.status = 503
    with Relay(HOST, tmp_path, options=options(folder, told, "-a", "-P")) as relay:
        with Call(relay, "a/call") as call:
            call.talk(20)
            call.end()
        wait_until(lambda: len(told.refused) >= 1, "the first attempt")
        told.status = 200
        (finished,) = told.wait_for("recording.finished")
        told.wait_for("recording.started", 2)
        relay.assert_is_clean()
    assert told.types == {"application/json"}
    sidecar = json.loads(next(folder.glob("*.json")).read_bytes())
    assert finished == {"event": "recording.finished", **sidecar}
    assert (sidecar["call_id"], sidecar["from_tag"], sidecar["to_tag"]) == ("a/call", "a", "b")
    assert sidecar["packets"] == 40
