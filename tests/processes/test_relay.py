"""A real relay with media processes, on loopback: calls go on whatever becomes of these."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rtpproxy_tw.media.connecting import HOLE, MISSED
from tests.contracts import rtp
from tests.processes.rig import gone
from tests.processes.talking import PATIENCE, Call, eventually

pytestmark = pytest.mark.network


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Call]:
    """A call that a media process carries."""
    made = Call(tmp_path)
    try:
        made.settle()
        yield made
    finally:
        made.close()


def test_media_flows_while_the_relay_sleeps_and_every_packet_is_counted(call: Call) -> None:
    before = call.sequence
    call.asleep(100)
    sent = call.sequence
    assert sent == before + 100
    names = "npkts_ina npkts_ino nrelayed ndropped rtpa_nsent rtpa_nrcvd rtpa_ndups rtpa_nlost"
    assert call.ask(f"Q c f t {names}") == f"{sent} {sent} {2 * sent} 0 {sent} {sent} 0 0"
    assert call.ask("G npkts_rcvd npkts_relayed npkts_discard") == f"{2 * sent} {2 * sent} 0"


def test_a_command_takes_the_media_back_and_nothing_is_lost(call: Call) -> None:
    """A re-INVITE to another port: the new party is heard at once."""
    call.asleep(10)
    moved = call.socket()
    port = moved.getsockname()[1]
    call.ask(f"U c 127.0.0.1 {port} f t")
    call.parties[0].close()
    call.parties[0] = moved
    call.exchange(20)
    call.settle()
    call.asleep(10)
    sent = call.sequence
    assert call.ask("Q c f t npkts_ina npkts_ino nrelayed ndropped") == (
        f"{sent} {sent} {2 * sent} 0"
    )


def test_commands_in_the_middle_of_media_cost_no_packet_and_no_order(call: Call) -> None:
    """Back and forth between relay and process, with packets in every queue."""
    for _ in range(40):
        first = call.sequence + 1
        for _ in range(10):
            call.sequence += 1
            call.parties[0].sendto(rtp(call.sequence, ssrc=7), call.to[0])
        call.ask(f"U c 127.0.0.1 {call.parties[0].getsockname()[1]} f t")
        numbers = [int.from_bytes(call.parties[1].recv(2000)[2:4], "big") for _ in range(10)]
        assert numbers == list(range(first, call.sequence + 1))
    assert call.nothing_comes(1)


def test_a_stranger_is_not_relayed_beside_a_carried_stream(tmp_path: Path) -> None:
    """Ports on a wildcard are not connected: the process compares."""
    call = Call(tmp_path, local="0.0.0.0")
    try:
        call.settle()
        with call.socket() as stranger:
            for number in range(30):
                stranger.sendto(rtp(number, ssrc=666), call.to[0])
        call.exchange(20)
        sent = call.sequence
        assert call.nothing_comes(1)
        assert call.ask("Q c f t npkts_ina npkts_ino nrelayed") == f"{sent} {sent} {2 * sent}"
        assert call.ask("G npkts_discard") == "30"
        assert call.carried()
    finally:
        call.close()


@pytest.mark.parametrize("local", ["127.0.0.1", "0.0.0.0"], ids=["connected", "open"])
def test_a_party_that_moved_is_followed_after_a_second_of_silence(
    tmp_path: Path, local: str
) -> None:
    call = Call(tmp_path, local=local)
    try:
        call.settle()
        call.exchange(40, pause=0.02)
        call.parties[0].close()
        call.parties[0] = call.socket()
        time.sleep(1.3)
        moved_at = call.sequence
        for _ in range(150):
            call.sequence += 1
            call.parties[0].sendto(rtp(call.sequence, ssrc=7), call.to[0])
            time.sleep(0.02)
            call.parties[1].sendto(rtp(call.sequence, ssrc=8), call.to[1])
            with suppress(OSError):
                call.parties[0].settimeout(0.02)
                call.parties[0].recv(2000)
                break
        assert call.sequence < moved_at + 30
    finally:
        call.close()


def test_a_stream_that_comes_from_two_ports_by_turns_is_told_of(tmp_path: Path) -> None:
    """A connected port listens for a while, once packets are missing after a pause."""
    call = Call(tmp_path)
    try:
        call.settle()
        call.exchange(40, pause=0.02)
        with call.socket() as other:
            for _ in range(5):
                other.sendto(rtp(call.sequence + 1, ssrc=7), call.to[0])
            assert call.ask("G npkts_discard") == "0"
            time.sleep(2 * HOLE)
            call.sequence += 2 * MISSED
            call.exchange(1)
            for _ in range(5):
                other.sendto(rtp(call.sequence + 1, ssrc=7), call.to[0])
            eventually(lambda: call.ask("G npkts_discard") == "5", PATIENCE)
        call.exchange(20)
        assert call.carried()
    finally:
        call.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_no_call_ends_with_a_media_process(call: Call, tmp_path: Path, number: int) -> None:
    """It is killed, ended or hangs: its calls come back at once, and it is replaced."""
    call.exchange(50, pause=0.01)
    (old,) = call.processes()
    os.kill(old, number)
    if number == signal.SIGSTOP:
        eventually(lambda: gone(old), 10.0)
    call.recover()
    call.exchange(50)
    eventually(lambda: call.processes() not in ([], [old]), 10.0)
    assert gone(old)
    call.settle()
    call.exchange(50)
    log = (tmp_path / "log").read_text()
    assert "media process 1" in log
    assert "another one follows" in log


def test_a_hanging_process_does_not_keep_a_command_waiting_for_long(call: Call) -> None:
    (pid,) = call.processes()
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    assert call.ask("D c f t") == "0"
    assert time.monotonic() - began < 5
    eventually(lambda: gone(pid), 10.0)  # that is seen to when the answer has been given


def test_media_processes_end_with_the_relay_however_it_ends(tmp_path: Path) -> None:
    call = Call(tmp_path)
    call.settle()
    (pid,) = call.processes()
    call.relay.kill()
    call.relay.wait()
    eventually(lambda: gone(pid), 5.0)
    call.close()


def test_calls_are_shared_out(tmp_path: Path) -> None:
    call = Call(tmp_path, "--media-processes", "2")
    try:
        call.settle()
        eventually(lambda: len(call.processes()) == 2, 5.0)
        others = [call.another(number) for number in range(8)]
        for _ in range(100):
            for other in others:
                other.exchange(1)
            time.sleep(0.02)
            if all(other.carried() for other in others):
                break
        sockets = [
            sum(os.readlink(fd).startswith("socket:") for fd in Path(f"/proc/{pid}/fd").iterdir())
            for pid in call.processes()
        ]
        assert min(sockets) >= 1 + 2 * 3
    finally:
        call.close()


def test_recorded_calls_stay_in_the_relay(tmp_path: Path) -> None:
    call = Call(tmp_path, "-r", str(tmp_path))
    try:
        call.settle()
        call.ask("R c f t")
        call.exchange(30)
        assert not call.carried()
        call.ask("D c f t")
        eventually(lambda: recorded(tmp_path) > 30 * len(rtp(1)), 5.0)
    finally:
        call.close()


def recorded(folder: Path) -> int:
    """How much of the caller there is."""
    return sum(path.stat().st_size for path in folder.rglob("*.rtp"))


def test_a_closed_party_harms_nobody(call: Call) -> None:
    """Its host answers with ICMP, which a connected socket hears of."""
    call.exchange(60, pause=0.01)
    address = call.parties[1].getsockname()
    call.parties[1].close()
    for _ in range(50):
        call.sequence += 1
        call.parties[0].sendto(rtp(call.sequence, ssrc=7), call.to[0])
        time.sleep(0.002)
    back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    back.bind(address)
    back.settimeout(1.0)
    call.parties[1] = back
    call.exchange(20)
