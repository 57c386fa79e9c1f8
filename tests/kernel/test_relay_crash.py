"""The kernel goes on relaying while there is no relay, and the next one goes on with that."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from rtpproxy_tw.media.kernel import capabilities
from tests.e2e.process import wait_until
from tests.kernel.test_relay_carried import Call

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(
        not capabilities.has_needed(), reason="needs CAP_BPF and CAP_NET_ADMIN to load a program"
    ),
]


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Call]:
    """A call that the kernel carries, of a relay that has a keeper."""
    made = Call(tmp_path, "--keeper")
    try:
        made.settle()
        yield made
    finally:
        made.close()
    assert "Traceback" not in (tmp_path / "log").read_text()


def present(tmp_path: Path) -> int:
    """The process that serves now."""
    return int((tmp_path / "pid").read_text())


def connect(call: Call) -> None:
    """Connections do not survive a crash."""
    call.control.close()
    call.control = type(call.control)(call.control.family)
    call.control.settimeout(10)
    call.control.connect(call.path)


def stopped_exchange(call: Call, pid: int, count: int) -> None:
    """``count`` packets each way pass while the relay's process is stopped."""
    os.kill(pid, signal.SIGSTOP)
    try:
        call.exchange(count)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_the_kernel_path_does_not_notice_a_crash(call: Call, tmp_path: Path) -> None:
    """Each packet is answered at once while nobody runs, and counted by the next process."""
    time.sleep(1.5)  # the last change has been written
    before = present(tmp_path)
    # The keeper is held up, so that there is no relay for as long as we like.
    os.kill(call.relay.pid, signal.SIGSTOP)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: _is_dead(before), "it is gone")
    call.exchange(100)
    os.kill(call.relay.pid, signal.SIGCONT)
    while present(tmp_path) == before:
        call.exchange(1)
    connect(call)
    call.settle()
    stopped_exchange(call, present(tmp_path), 50)
    sent = call.sequence
    names = "npkts_ina npkts_ino nrelayed ndropped rtpa_nsent rtpa_nrcvd rtpa_ndups rtpa_nlost"
    assert call.ask(f"Q c f t {names}") == f"{sent} {sent} {2 * sent} 0 {sent} {sent} 0 0"


def _is_dead(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_kernel_path_goes_on_after_a_planned_restart(call: Call, tmp_path: Path) -> None:
    """The new process has no right to load a program, and needs none; nothing is lost."""
    for _ in range(2):
        before = present(tmp_path)
        os.kill(before, signal.SIGUSR2)
        while present(tmp_path) == before:
            call.exchange(1)
        call.settle()
        stopped_exchange(call, present(tmp_path), 50)
    sent = call.sequence
    names = "npkts_ina npkts_ino nrelayed ndropped rtpa_nsent rtpa_nrcvd rtpa_ndups rtpa_nlost"
    assert call.ask(f"Q c f t {names}") == f"{sent} {sent} {2 * sent} 0 {sent} {sent} 0 0"
    assert call.ask("G npkts_rcvd npkts_relayed") == f"{2 * sent} {2 * sent}"


@pytest.fixture
def held_up(tmp_path: Path) -> Iterator[Call]:
    """The same, of a relay whose successors stop when they have been told everything."""
    made = Call(tmp_path, program="tests.kernel.held_up")
    try:
        made.settle()
        yield made
    finally:
        made.close()
    assert "Traceback" not in (tmp_path / "log").read_text()


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_the_kernel_relays_while_neither_process_does(held_up: Call, tmp_path: Path) -> None:
    """Nothing comes back before a planned restart: both are stopped in the midst of it."""
    call = held_up
    for _ in range(2):
        before = present(tmp_path)
        os.kill(before, signal.SIGUSR2)
        wait_until(partial(_has_stopped_child, before), "all is told", 20)
        (new,) = _children(before)
        os.kill(before, signal.SIGSTOP)
        call.exchange(200)
        os.kill(before, signal.SIGCONT)
        os.kill(new, signal.SIGCONT)
        while present(tmp_path) == before:
            call.exchange(1)
        assert present(tmp_path) == new
        # Without a packet through the process: the flows were never taken back.
        stopped_exchange(call, new, 50)
    sent = call.sequence
    names = "npkts_ina npkts_ino nrelayed ndropped rtpa_nsent rtpa_nrcvd rtpa_ndups rtpa_nlost"
    assert call.ask(f"Q c f t {names}") == f"{sent} {sent} {2 * sent} 0 {sent} {sent} 0 0"
    assert call.ask("G npkts_rcvd npkts_relayed") == f"{2 * sent} {2 * sent}"
    # One of the two is ours to end, the other is a child of the first.
    os.kill(present(tmp_path), signal.SIGTERM)


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _has_stopped_child(pid: int) -> bool:
    return any(map(_is_stopped, _children(pid)))


def test_an_end_in_order_leaves_nothing_in_the_kernel(call: Call, tmp_path: Path) -> None:
    """Nor with the keeper."""
    os.kill(present(tmp_path), signal.SIGTERM)
    call.relay.wait(10)
    call.parties[0].sendto(b"\x80" + bytes(171), call.to[0])
    call.parties[1].settimeout(0.2)
    with pytest.raises(TimeoutError):
        call.parties[1].recvfrom(2000)
