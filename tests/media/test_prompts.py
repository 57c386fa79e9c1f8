"""Prompt files: which can be had, how they are read, and what a disk can do to players."""

from __future__ import annotations

import errno
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from rtpproxy_tw.errors import PromptRefused
from rtpproxy_tw.media.pacer import BURST, Pacer
from rtpproxy_tw.media.prompt_files import PromptDirectories
from rtpproxy_tw.media.prompts import SLICE, Prompts, ThreadReader, Track
from tests.fakes import FakeReader
from tests.media.playing import Stage, done, open_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``inside/sub/x.0`` is a prompt, ``secret.0`` beside ``inside`` is none."""
    sub = tmp_path / "inside" / "sub"
    sub.mkdir(parents=True)
    (sub / "x.0").write_bytes(b"prompt")
    (tmp_path / "secret.0").write_bytes(b"secret")
    return tmp_path


def content(directories: PromptDirectories, name: str) -> bytes:
    fd = directories.open(name)
    with os.fdopen(fd, "rb") as file:
        return file.read()


def test_names_are_relative_to_a_prompt_directory_or_absolute_below_one(folder: Path) -> None:
    directories = PromptDirectories([str(folder / "nowhere"), str(folder / "inside")])
    for name in ("sub/x.0", "./sub//x.0", "sub/../sub/x.0", str(folder / "inside/sub/x.0")):
        assert content(directories, name) == b"prompt"


@pytest.mark.parametrize(
    "name",
    ["../secret.0", "sub/../../secret.0", "{}/secret.0", "{}/inside/../secret.0", "/etc/passwd"],
)
def test_nothing_outside_the_prompt_directories_can_be_opened(folder: Path, name: str) -> None:
    directories = PromptDirectories([str(folder / "inside")])
    with pytest.raises(PromptRefused, match="outside the prompt directories"):
        directories.open(name.format(folder))


def test_links_may_lead_about_inside_but_not_out(folder: Path) -> None:
    inside = folder / "inside"
    (inside / "good.0").symlink_to(inside / "sub" / "x.0")
    (inside / "bad.0").symlink_to(folder / "secret.0")
    (inside / "up").symlink_to(folder)
    (inside / "loop.0").symlink_to(inside / "loop.0")
    directories = PromptDirectories([str(inside)])
    assert content(directories, "good.0") == b"prompt"
    for name in ("bad.0", "up/secret.0", "loop.0"):
        with pytest.raises(PromptRefused):
            directories.open(name)


def test_a_prompt_directory_may_itself_be_a_link(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "inside")
    directories = PromptDirectories([str(folder / "link")])
    for name in ("sub/x.0", str(folder / "link/sub/x.0"), str(folder / "inside/sub/x.0")):
        assert content(directories, name) == b"prompt"


def test_without_prompt_directories_names_are_below_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directories = PromptDirectories()
    monkeypatch.chdir(folder / "inside")
    assert content(directories, "sub/x.0") == b"prompt"
    assert content(directories, str(folder / "inside/sub/x.0")) == b"prompt"
    with pytest.raises(PromptRefused):
        directories.open("../secret.0")


def test_the_root_of_all_files_is_no_prompt_directory_unless_it_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(folder / "inside/sub/x.0")
    monkeypatch.chdir("/")
    with pytest.raises(PromptRefused, match="start with --prompt-dir"):
        PromptDirectories().open(name)
    assert content(PromptDirectories(["/"]), name) == b"prompt"


@pytest.mark.parametrize("kind", ["fifo", "folder", "socket", "device"])
def test_only_regular_files_are_opened(folder: Path, kind: str) -> None:
    before = open_files()
    path = folder / "inside" / "odd.0"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            os.mknod(path, 0o140600)
        case "device":
            try:
                os.mknod(path, 0o020600, os.makedev(1, 5))
            except PermissionError:
                pytest.skip("only root makes devices")
    with pytest.raises(PromptRefused, match="not a regular file"):
        PromptDirectories([str(folder / "inside")]).open("odd.0")
    assert open_files() == before


@pytest.mark.parametrize("name", ["\udcff.0", "a\0b", "x" * 300, "sub/x.0/y", "", "/", "."])
def test_odd_names_are_refused(folder: Path, name: str) -> None:
    before = open_files()
    with pytest.raises(PromptRefused):
        PromptDirectories([str(folder / "inside")]).open(name)
    assert open_files() == before


def test_a_prompt_of_many_slices_is_played_whole(tmp_path: Path) -> None:
    stage = Stage(tmp_path).call()
    octets = 2 * SLICE + 1000
    whole = stage.prompt("p.8", octets)
    stage.play(codecs="8", count=2)
    heard = stage.run(2 * octets / 8000 + 0.1)
    assert b"".join(each.payload for each in heard) == 2 * whole[: octets // 80 * 80]


def test_slices_are_read_once_for_all_players(tmp_path: Path) -> None:
    (tmp_path / "p.0").write_bytes(bytes(2 * SLICE))
    reader = FakeReader()
    prompts = Prompts(PromptDirectories([str(tmp_path)]), reader)
    before = open_files()
    opened = [prompts.open("p.0") for _ in range(10)]
    tracks = [Track(prompts, prompt, SLICE // 4, 2) for prompt in opened]
    assert open_files() == before + 1
    for track in tracks:
        while track.take():
            pass
    assert reader.reads == 2
    for prompt in opened:
        prompts.release(prompt)
    assert open_files() == before


def test_a_file_that_was_written_to_is_read_anew(tmp_path: Path) -> None:
    stage = Stage(tmp_path).call()
    for letter in (b"a", b"b"):
        (tmp_path / "p.0").write_bytes(letter * 80)
        os.utime(tmp_path / "p.0", ns=(0, ord(letter)))
        stage.play()
        assert [each.payload for each in stage.run(0.05)] == [letter * 80]


def test_the_cache_keeps_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "p.0").write_bytes(bytes(8 * SLICE))
    reader = FakeReader()
    prompts = Prompts(PromptDirectories([str(tmp_path)]), reader, cache=3 * SLICE)
    prompt = prompts.open("p.0")
    track = Track(prompts, prompt, SLICE, 1)
    while track.take():
        pass
    assert len(prompts._slices) == 3
    prompts.release(prompt)


def test_a_slow_disk_delays_a_prompt_and_nothing_else(tmp_path: Path) -> None:
    stage = Stage(tmp_path).call()
    content = stage.prompt("p.0", 400)
    stage.bench.reader.slow = True
    assert done(stage.play())
    assert stage.run(0.5) == []
    stage.bench.reader.work()
    assert b"".join(each.payload for each in stage.run(0.1)) == content


def test_a_disk_that_fails_ends_the_prompt(tmp_path: Path) -> None:
    class Broken(FakeReader):
        def read(self, fd: int, size: int, at: int, done: object) -> None:
            assert callable(done)
            done(None)

    (tmp_path / "p.0").write_bytes(bytes(800))
    prompts = Prompts(PromptDirectories([str(tmp_path)]), Broken())
    prompt = prompts.open("p.0")
    track = Track(prompts, prompt, 80, -1)
    assert track.take() == b""
    prompts.release(prompt)


def test_a_file_that_was_cut_short_ends_earlier(tmp_path: Path) -> None:
    (tmp_path / "p.0").write_bytes(bytes(800))
    prompts = Prompts(PromptDirectories([str(tmp_path)]), reader := FakeReader())
    reader.slow = True
    prompt = prompts.open("p.0")
    track = Track(prompts, prompt, 80, 2)
    os.truncate(tmp_path / "p.0", 200)
    assert track.take() is None
    reader.work()
    sizes = []
    while payload := track.take():
        sizes.append(len(payload))
    assert sizes == [80] * 4
    os.truncate(tmp_path / "p.0", 0)
    prompts.release(prompt)


def test_a_huge_file_is_read_only_where_it_is_played(tmp_path: Path) -> None:
    path = tmp_path / "p.0"
    path.touch()
    os.truncate(path, 10 * 1024**3)
    stage = Stage(tmp_path).call()
    begun = time.perf_counter()
    assert done(stage.play())
    assert time.perf_counter() - begun < 0.2
    assert len(stage.run(0.1)) in (10, 11)
    assert stage.bench.reader.reads <= 2


def test_the_thread_hands_its_results_to_the_reactor(tmp_path: Path) -> None:
    class Reactor:
        def __init__(self) -> None:
            self.called = threading.Event()

        def callFromThread(self, call: object, *args: object) -> None:
            assert callable(call)
            call(*args)
            self.called.set()

    (tmp_path / "x").write_bytes(b"hello")
    fd = os.open(tmp_path / "x", os.O_RDONLY)
    reader = ThreadReader(reactor := Reactor())
    results: list[bytes | None] = []
    for descriptor, expected in ((fd, b"llo"), (-1, None)):
        reactor.called.clear()
        reader.read(descriptor, 100, 2, results.append)
        assert reactor.called.wait(5)
        assert results.pop() == expected
    os.close(fd)
    reader.stop()
    assert "prompts" not in {thread.name for thread in threading.enumerate()}


def test_the_thread_lives_though_the_reactor_cannot_be_woken(tmp_path: Path) -> None:
    class Asleep:
        def callFromThread(self, call: Callable[[bytes | None], None], result: bytes) -> None:
            call(result)  # it is queued, and then the pipe refuses what would wake the reactor
            raise OSError(errno.ENOSPC, "no space")

    (tmp_path / "x").write_bytes(b"hello")
    reader = ThreadReader(Asleep())
    results: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    with (tmp_path / "x").open("rb") as file:
        for at, expected in ((0, b"hello"), (2, b"llo")):
            reader.read(file.fileno(), 100, at, results.put)
            assert results.get(timeout=5) == expected
    reader.stop()


def test_many_players_do_not_hold_the_reactor(tmp_path: Path) -> None:
    clock, steps = Clock(), [0]
    pacer = Pacer(clock)

    def step(now: float) -> float:
        steps[0] += 1
        return 0.02

    for _ in range(3 * BURST):
        pacer.add(step)
    turns = []
    for _ in range(3):
        (call,) = clock.getDelayedCalls()
        call.cancel()
        before = steps[0]
        pacer._run()  # the clock would go on with what this asks for, a reactor does not
        turns.append(steps[0] - before)
    assert turns == [BURST] * 3
    pacer.stop()
    assert not clock.getDelayedCalls()
