"""A relay that is killed is there again at once, and has lost no call."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rtpproxy_tw.recording.readback import Reading
from tests.e2e.process import wait_until
from tests.e2e.relay import Relay
from tests.e2e.test_handover import CALLS, HOST, USERSPACE, present, restart, talking

pytestmark = pytest.mark.network


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """One with a keeper, which is the process that was started."""
    options = ["-p", str(tmp_path / "pid"), "--keeper", *USERSPACE]
    with Relay(HOST, tmp_path, options=options) as running:
        wait_until(lambda: present(tmp_path) != running.pid, "the relay is a child")
        yield running


def crash(tmp_path: Path) -> float:
    """Kill the relay; seconds until another process is there."""
    before, began = present(tmp_path), time.monotonic()
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: present(tmp_path) != before, "another process serves", 8)
    return time.monotonic() - began


def test_no_call_and_no_packet_is_lost_by_crashes(relay: Relay, tmp_path: Path) -> None:
    """What arrives while there is no relay waits in the sockets, and is relayed in order."""
    with talking(relay) as talk:
        for _ in range(3):
            time.sleep(1.0)
            crash(tmp_path)
            assert relay.count_sessions() == CALLS
        time.sleep(0.5)
        talk.assert_all_was_heard()
    assert relay.ask("D c0 f t") == "0"
    assert relay.count_sessions() == CALLS - 1
    relay.assert_had_no_accident()


def test_commands_are_answered_as_before_the_crash(relay: Relay, tmp_path: Path) -> None:
    """A command that comes again gets the same ports; one that comes meanwhile waits."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect((HOST, 22222))
        client.send(f"cookie U again {HOST} 4000 f".encode())
        first = client.recv(2048)
        time.sleep(0.1)
        os.kill(present(tmp_path), signal.SIGKILL)
        client.send(f"cookie U again {HOST} 4000 f".encode())
        assert client.recv(2048) == first
    assert relay.count_sessions() == 1


def test_a_relay_crashes_after_it_was_restarted_and_is_restarted_after_a_crash(
    relay: Relay, tmp_path: Path
) -> None:
    """The keeper follows whoever is the relay."""
    with talking(relay, 4) as talk:
        restart(tmp_path)
        time.sleep(0.5)
        crash(tmp_path)
        time.sleep(0.5)
        restart(tmp_path)
        time.sleep(0.5)
        crash(tmp_path)
        time.sleep(0.5)
        assert relay.count_sessions() == 4
        talk.assert_all_was_heard()


def _ports_of(pid: int) -> set[int]:
    """The UDP ports of the descriptors of a process."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            target = os.readlink(entry)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    rows = [line.split() for line in Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]]
    return {int(row[1].split(":")[1], 16) for row in rows if row[9] in inodes}


def test_the_keeper_lets_go_of_calls_that_have_ended(relay: Relay, tmp_path: Path) -> None:
    """Else their ports would never be free again."""
    port = int(relay.ask(f"U a {HOST} 4000 f").split()[0])
    wait_until(lambda: port in _ports_of(relay.pid), "the keeper has the socket, too")
    crash(tmp_path)
    assert port in _ports_of(present(tmp_path))
    relay.ask("D a f")
    wait_until(lambda: port not in _ports_of(relay.pid), "the keeper has let go of it")


def test_a_relay_that_ends_in_order_is_not_started_again(relay: Relay, tmp_path: Path) -> None:
    """Nor is one whose keeper is asked to end."""
    os.kill(present(tmp_path), signal.SIGTERM)
    wait_until(lambda: not relay.running, "the keeper ends as well")


def test_a_keeper_that_is_asked_to_end_takes_the_relay_along(relay: Relay, tmp_path: Path) -> None:
    """Though it leaves it a moment to end by itself."""
    pid = present(tmp_path)
    os.kill(relay.pid, signal.SIGTERM)
    wait_until(lambda: not relay.running, "the keeper ends")
    assert not Path(f"/proc/{pid}").exists()


def _parts(folder: Path, name: str) -> list[dict[str, Any]]:
    """The sidecars of all parts of a call's recording of the caller, in order."""
    found = [json.loads(path.read_text()) for path in folder.glob(f"{name}=f*.o.rtp.json")]
    return sorted(found, key=lambda told: told["part"])


def _heard(folder: Path, told: dict[str, Any]) -> list[int]:
    """The numbers of the packets in a part."""
    octets = (folder / told["files"][0]["name"]).read_bytes()
    return [int.from_bytes(packet.datagram[2:4], "big") for packet in Reading(octets)]


@pytest.mark.parametrize("spooled", [False, True], ids=["in place", "in a spool directory"])
def test_recordings_go_on_after_crashes_as_further_parts(tmp_path: Path, spooled: bool) -> None:
    """All was written but the last moment before each crash; the sound is of all parts."""
    folder, spool = tmp_path / "recordings", tmp_path / "spool"
    folder.mkdir()
    spool.mkdir()
    options = ["-p", str(tmp_path / "pid"), "--keeper", *USERSPACE, "-a", "-r", str(folder)]
    options += ["-S", str(spool)] if spooled else []
    with Relay(HOST, tmp_path, options=options) as relay:
        wait_until(lambda: present(tmp_path) != relay.pid, "the relay is a child")
        with talking(relay, 2) as talk:
            for _ in range(2):
                time.sleep(1.5)
                crash(tmp_path)
            time.sleep(1.0)
            talk.assert_all_was_heard()
        for number in range(2):
            assert relay.ask(f"D c{number} f t") == "0"
        wait_until(
            lambda: all(
                [each["state"] for each in _parts(folder, name)] == ["finished"] * 3
                for name in ("c0", "c1")
            ),
            "all parts are where they belong",
        )
        relay.assert_had_no_accident()
    parts = _parts(folder, "c0")
    assert [each["part"] for each in parts] == [1, 2, 3]
    assert len({each["recording"] for each in parts}) == 1
    assert [each.get("recovered", False) for each in parts] == [True, True, False]
    heard = [_heard(folder, each) for each in parts]
    assert heard[0][0] == 0
    assert heard[-1][-1] == talk.sent - 1
    for before, after in pairwise(heard):
        # Written at least once a second; what waited in the sockets is in the next part.
        assert 0 < after[0] - before[-1] <= 75
    for numbers in heard:
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
    sound = tmp_path / "c0.wav"
    program = [sys.executable, "-m", "rtpproxy_tw.tools.extractaudio"]
    subprocess.run([*program, str(folder / "c0=f"), str(sound)], check=True, capture_output=True)
    with wave.open(str(sound)) as read:
        assert read.getnframes() / read.getframerate() == pytest.approx(talk.sent / 50, abs=0.5)
