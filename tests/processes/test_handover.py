"""A restart with calls in media processes: these come back first, and nothing is heard of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.relay import Relay
from tests.e2e.test_handover import CALLS, HOST, _end, present, restart, talking
from tests.processes.talking import MODULE, eventually

pytestmark = pytest.mark.network


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """One with two media processes."""
    pid_file = tmp_path / "pid"
    options = ["-p", str(pid_file), "--fast-path", "none", "--media-processes", "2"]
    with Relay(HOST, tmp_path, options=options) as running, ExitStack() as stack:
        stack.callback(_end, pid_file, running.pid)
        yield running


def workers(parent: int) -> int:
    """How many media processes ``parent`` has."""
    return sum(
        MODULE in Path(f"/proc/{pid}/cmdline").read_bytes()
        for task in Path(f"/proc/{parent}/task").glob("*/children")
        for pid in task.read_text().split()
    )


def test_nobody_hears_restarts_of_a_relay_with_media_processes(
    relay: Relay, tmp_path: Path
) -> None:
    """Every packet comes through, once and in order; the counters go on."""
    with talking(relay) as talk:
        for _ in range(3):
            eventually(lambda: workers(present(tmp_path)) == 2, 10.0)
            time.sleep(2.5)
            restart(tmp_path)
        time.sleep(0.3)
        talk.assert_all_was_heard()
    lines = relay.ask("I").splitlines()
    assert f"packets received: {2 * CALLS * talk.sent}" in lines
    assert f"packets transmitted: {2 * CALLS * talk.sent}" in lines
    relay.assert_had_no_accident()
