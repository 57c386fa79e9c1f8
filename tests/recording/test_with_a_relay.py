"""A real relay that records: sound, events, and a kill in the middle."""

from __future__ import annotations

import json
import socket
import sys
import time
import wave
from array import array
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import loopback
from tests.e2e.process import wait_until
from tests.e2e.relay import Relay
from tests.recording.talking import Talker, power

pytestmark = pytest.mark.network

HOST = loopback.host(75)

_HOOK = """
import sys
with open(sys.argv[1], "a") as file:
    file.write(sys.stdin.read())
"""


def a_call(relay: Relay, call_id: str) -> tuple[socket.socket, socket.socket]:
    """The parties' sockets, each connected to its port of the relay."""
    parties = []
    for command in (f"Uc0 {call_id} {HOST} {{}} a", f"Lc0 {call_id} {HOST} {{}} a b"):
        party = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        party.bind((HOST, 0))
        port = relay.ask(command.format(party.getsockname()[1])).split()[0]
        parties.append((party, int(port)))
    (caller, callee_side), (callee, caller_side) = parties
    # The port in the answer to the one is where the other is to send.
    caller.connect((HOST, caller_side))
    callee.connect((HOST, callee_side))
    return caller, callee


def talk(caller: socket.socket, callee: socket.socket, packets: int) -> None:
    """Both speak, at a pace."""
    one, other = Talker(400), Talker(700, ssrc=2)
    for number in range(packets):
        caller.send(one.packet(number))
        callee.send(other.packet(number))
        time.sleep(0.02)


def events(path: Path) -> list[dict[str, Any]]:
    """What the hook was told."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_call_becomes_sound_and_every_step_is_told(tmp_path: Path) -> None:
    folder, told = tmp_path / "rec", tmp_path / "told"
    folder.mkdir()
    (tmp_path / "hook.py").write_text(_HOOK)
    command = f"{sys.executable} {tmp_path / 'hook.py'} {told}"
    options = ["-r", str(folder), "-a", "--record-export", "wav", "--record-command", command]
    with Relay(HOST, tmp_path, options=options) as relay:
        caller, callee = a_call(relay, "call")
        with caller, callee:
            talk(caller, callee, 50)
        assert relay.ask("D call a b") == "0"
        wait_until(lambda: (folder / "call=a.wav").exists(), "a sound file")
        wait_until(
            lambda: "recording.exported" in [each["event"] for each in events(told)], "its event"
        )
        relay.assert_is_clean()
    names = sorted(each["event"] for each in events(told))
    assert names == [
        "recording.exported",
        *["recording.finished"] * 2,
        *["recording.started"] * 2,
    ]
    with wave.open(str(folder / "call=a.wav")) as file:
        samples = array("h", file.readframes(file.getnframes()))
    assert power(samples[0::2][1600:6400], 700, 8000) > 0.9
    assert power(samples[1::2][1600:6400], 400, 8000) > 0.9
    sidecar = json.loads((folder / "call=a.o.rtp.json").read_text())
    assert (sidecar["state"], sidecar["packets"], sidecar["lost"]) == ("finished", 50, 0)
    assert sidecar["exports"] in ([], ["call=a.wav"])


def test_a_killed_relay_s_recordings_are_finished_by_the_next(tmp_path: Path) -> None:
    folder, spool = tmp_path / "rec", tmp_path / "spool"
    folder.mkdir()
    spool.mkdir()
    options = ["-r", str(folder), "-S", str(spool), "-a"]
    relay = Relay(HOST, tmp_path, options=options)
    try:
        caller, callee = a_call(relay, "call")
        with caller, callee:
            talk(caller, callee, 100)
    finally:
        relay.kill()
    assert (spool / "call=a.o.rtp").exists()
    with Relay(HOST, tmp_path, options=options):
        wait_until(lambda: len(list(folder.glob("*.rtp"))) == 2, "both recordings")
        wait_until(lambda: len(list(folder.glob("*.json"))) == 2, "their sidecars")
    sidecar = json.loads((folder / "call=a~crashed.o.rtp.json").read_text())
    assert sidecar["recovered"]
    # Two seconds were spoken, of which the last one may be lost.
    assert 45 <= sidecar["packets"] <= 100
    assert list(spool.iterdir()) == []
