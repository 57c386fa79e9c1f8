"""New calls are refused before memory is gone."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from rtpproxy_tw.memory_room import LOOK_EVERY, RESERVE, MemoryRoom, address_space, group, room
from rtpproxy_tw.registry import TooManySessions
from tests.fakes import Bench


def test_it_becomes_short_and_recovers() -> None:
    clock, free = Clock(), [float("inf")]
    memory = MemoryRoom(clock, lambda: free[0])
    memory.startService()
    assert not memory.short
    free[0] = RESERVE - 1
    clock.advance(LOOK_EVERY)
    assert memory.short
    free[0] = RESERVE
    clock.advance(LOOK_EVERY)
    assert memory.short
    free[0] = 2 * RESERVE
    clock.advance(LOOK_EVERY)
    assert not memory.short
    memory.stopService()


def test_without_memory_no_session_is_admitted() -> None:
    bench = Bench()
    bench.registry.short_of_memory = lambda: True
    with pytest.raises(TooManySessions, match="memory"):
        bench.registry.admit("call")


def test_a_limit_of_the_address_space_is_seen() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30), hard))
    try:
        assert 0 < address_space() <= 1 << 30
        assert room() <= 1 << 30
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize(
    "line, folder, limit, usage, files",
    [
        ("4:memory:/a", "memory/a", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ("0::/a", "a", "memory.max", "memory.current", ""),
    ],
)
def test_the_group_is_read_in_both_versions(
    tmp_path: Path, line: str, folder: str, limit: str, usage: str, files: str
) -> None:
    place = tmp_path / folder
    place.mkdir(parents=True)
    (place / limit).write_text("1000\n")
    (place / usage).write_text("700\n")
    (place / "memory.stat").write_text(f"cache 5\n{files}inactive_file 200\n")
    assert group(["3:cpuset:/", line], tmp_path) == 500
    (place / limit).write_text("max\n")
    assert group([line], tmp_path) == float("inf")
    assert group(["3:cpuset:/"], tmp_path) == float("inf")
