"""The keeper's decisions, and how descriptors get their numbers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rtpproxy_tw.tools.keeper import MOST_CRASHES, SPAN, Keeper

ARRANGED = """
import fcntl, os
from rtpproxy_tw.tools.keeper import arrange
made = {}
for name, number in [("a", 50), ("b", 4), ("c", 70), ("d", 6), ("e", 3)]:
    fd = os.memfd_create(name)
    made[number] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100)
    os.close(fd)
for number, fd in made.items():
    os.dup2(fd, number, inheritable=False)
    os.close(fd)
names = arrange([("c", 70), ("b", 4), ("a", 50), ("d", 6), ("e", 3)])
assert sorted(names) == list("abcde"), names
for index, name in enumerate(names):
    assert os.readlink(f"/proc/self/fd/{3 + index}").startswith(f"/memfd:{name}"), names
    assert os.get_inheritable(3 + index)
"""


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The keeper's and the relay's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_descriptors_get_the_numbers_that_are_passed() -> None:
    """In a process of its own, as it takes numbers from 3 on whatever they are."""
    subprocess.run([sys.executable, "-c", ARRANGED], check=True)


def test_what_is_stored_is_held_until_it_is_removed(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    keeper = Keeper(ends[0], 1, lambda kept: 1, lambda: 0.0)
    one, two, stray = (os.memfd_create("test") for _ in range(3))
    keeper.hear(b"FDSTORE=1\nFDNAME=a\nFDPOLL=0", [one])
    keeper.hear(b"FDSTORE=1\nFDNAME=a", [two])
    keeper.hear(b"STATUS=fine", [stray])
    assert keeper.kept == {"a": [one, two]}
    keeper.hear(b"FDSTOREREMOVE=1\nFDNAME=a", [])
    assert keeper.kept == {}
    for each in (one, two, stray):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(each)


@pytest.mark.parametrize("words", [b"", b"\xff\n=\n===", b"FDSTORE=1", b"MAINPID=x\nMAINPID=-1"])
def test_nonsense_is_passed_over(ends: tuple[socket.socket, socket.socket], words: bytes) -> None:
    keeper = Keeper(ends[0], 1, lambda kept: 1, lambda: 0.0)
    stray = os.memfd_create("test")
    keeper.hear(words, [stray])
    assert keeper.kept == {}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(stray)


def child(code: int) -> int:
    """A process that ends with that status, or by that signal where it is negative."""
    pid = os.fork()
    if not pid:
        if code < 0:
            os.kill(os.getpid(), -code)
        os._exit(code)
    return pid


def test_a_relay_that_crashes_again_and_again_is_given_up(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """Each of them was ready before."""
    started = []

    def start(kept: object) -> int:
        started.append(1)
        ends[1].send(b"READY=1")
        return child(-signal.SIGKILL)

    keeper = Keeper(ends[0], start(None), start, lambda: 0.0)
    assert keeper.run() == -signal.SIGKILL
    assert len(started) == 1 + MOST_CRASHES


def test_crashes_long_ago_do_not_count(ends: tuple[socket.socket, socket.socket]) -> None:
    now, started = 0.0, 0

    def start(kept: object) -> int:
        nonlocal now, started
        now += SPAN
        started += 1
        ends[1].send(b"READY=1")
        return child(-signal.SIGKILL if started < 3 * MOST_CRASHES else 0)

    assert Keeper(ends[0], start(None), start, lambda: now).run() == 0
    assert started == 3 * MOST_CRASHES


@pytest.mark.parametrize("said", [b"STATUS=starting", b"READY=1\nSTOPPING=1"])
def test_one_that_never_served_or_was_ending_anyway_is_not_started_again(
    ends: tuple[socket.socket, socket.socket], said: bytes
) -> None:
    ends[1].send(said)
    keeper = Keeper(ends[0], child(3), lambda kept: pytest.fail("started"), lambda: 0.0)
    assert keeper.run() == 3
