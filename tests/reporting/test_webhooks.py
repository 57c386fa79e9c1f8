"""Web hooks: nothing is lost by outages and restarts, and nothing is waited for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock

from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.reporting import webhooks
from rtpproxy_tw.reporting.spooled import SpoolDirectory
from rtpproxy_tw.reporting.webhooks import AT_ONCE, LONGEST_PAUSE, NEVER, Webhook

_Result = TypeVar("_Result")


def at_once(function: Callable[..., _Result], *arguments: Any) -> Deferred[_Result]:
    """A thread that has always finished already."""
    return execute(function, *arguments)


class Receiver:
    """The other end: requests wait until the test answers them."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, bytes, Deferred[int]]] = []

    def post(self, name: str, record: bytes) -> Deferred[int]:
        """See Post."""
        answer: Deferred[int] = Deferred()
        self.waiting.append((name, record, answer))
        return answer

    def answer(self, status: int) -> list[str]:
        """Answer all that wait now."""
        waiting, self.waiting = self.waiting, []
        for _, _, answer in waiting:
            answer.callback(status)
        return [name for name, _, _ in waiting]

    def refuse(self) -> None:
        """Nobody is there."""
        waiting, self.waiting = self.waiting, []
        for _, _, answer in waiting:
            answer.errback(ConnectionRefusedError())


class Setting:
    """A hook on a real directory."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.receiver = Receiver()
        self.spool = SpoolDirectory(str(path))
        self.hook = Webhook(
            spool=self.spool, post=self.receiver.post, run=at_once, clock=self.clock
        )
        self.hook.start()

    def stop(self) -> None:
        """As at the end of the process."""
        self.hook.stop()
        self.spool.close()


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    made = Setting(tmp_path / "spool")
    yield made
    made.stop()


def test_a_record_is_posted_and_then_forgotten(setting: Setting) -> None:
    setting.hook.put("1", b"{}")
    assert setting.spool.names() == ["1"]
    assert [(name, record) for name, record, _ in setting.receiver.waiting] == [("1", b"{}")]
    setting.receiver.answer(204)
    assert setting.spool.names() == []
    assert len(setting.hook) == 0
    assert setting.hook.delivered == 1


def test_only_so_many_are_under_way_at_once(setting: Setting) -> None:
    for number in range(3 * AT_ONCE):
        setting.hook.put(f"{number:03}", b"")
    taken = []
    while setting.receiver.waiting:
        assert len(setting.receiver.waiting) <= AT_ONCE
        taken += setting.receiver.answer(200)
    assert taken == [f"{number:03}" for number in range(3 * AT_ONCE)]


@pytest.mark.parametrize("status", [301, 401, 403, 404, 429, 500, 503])
def test_a_receiver_that_is_not_well_is_tried_ever_more_seldom(
    setting: Setting, status: int
) -> None:
    setting.hook.put("1", b"")
    pauses = []
    for _ in range(12):
        setting.receiver.answer(status)
        (timer,) = setting.clock.getDelayedCalls()
        pauses.append(timer.getTime() - setting.clock.seconds())
        setting.clock.advance(pauses[-1])
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == LONGEST_PAUSE
    assert setting.spool.names() == ["1"]
    setting.receiver.answer(200)
    assert setting.spool.names() == []


def test_an_outage_loses_nothing_and_is_over_at_once_when_it_is_over(setting: Setting) -> None:
    for number in range(50):
        setting.hook.put(f"{number:03}", b"")
        setting.receiver.refuse()
    setting.clock.advance(LONGEST_PAUSE)
    # One finds out; the others follow.
    assert len(setting.receiver.waiting) == 1
    taken = []
    while setting.receiver.waiting:
        taken += setting.receiver.answer(200)
    assert sorted(taken) == [f"{number:03}" for number in range(50)]
    assert setting.spool.names() == []


def test_what_was_left_is_posted_after_a_restart(tmp_path: Path) -> None:
    before = Setting(tmp_path / "spool")
    for number in range(20):
        before.hook.put(f"{number:03}", b"%d" % number)
    before.receiver.answer(200)
    before.receiver.refuse()
    before.stop()
    left = set(os.listdir(before.spool.path)) - {"lock", "refused"}
    after = Setting(tmp_path / "spool")
    taken = []
    while after.receiver.waiting:
        taken += after.receiver.answer(200)
    assert {f"{name}.json" for name in taken} == left
    assert len(left) == 20 - AT_ONCE
    after.stop()


def test_requests_under_way_at_the_end_are_posted_again(tmp_path: Path) -> None:
    before = Setting(tmp_path / "spool")
    before.hook.put("1", b"")
    before.stop()
    after = Setting(tmp_path / "spool")
    assert [name for name, _, _ in after.receiver.waiting] == ["1"]
    after.stop()


@pytest.mark.parametrize("status", sorted(NEVER))
def test_a_record_that_will_never_be_taken_is_kept_aside(setting: Setting, status: int) -> None:
    setting.hook.put("1", b"{}")
    setting.hook.put("2", b"{}")
    _, second = setting.receiver.waiting
    setting.receiver.waiting[0][2].callback(status)
    second[2].callback(200)
    assert setting.spool.names() == []
    assert os.listdir(os.path.join(setting.spool.path, "refused")) == ["1.json"]
    assert (setting.hook.refused, setting.hook.delivered) == (1, 1)


def test_a_full_spool_is_not_filled_further(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MOST_WAITING", 5)
    for number in range(8):
        setting.hook.put(str(number), b"")
    assert setting.hook.lost == 3
    assert len(setting.spool.names()) == 5


def test_a_spool_that_was_cleared_by_hand_is_no_trouble(setting: Setting) -> None:
    for number in range(AT_ONCE + 2):
        setting.hook.put(str(number), b"")
    for name in setting.spool.names():
        os.unlink(os.path.join(setting.spool.path, f"{name}.json"))
    setting.receiver.answer(200)
    assert len(setting.hook) == 0


def test_a_disk_that_refuses_costs_the_record_and_no_more(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: SpoolDirectory, name: str, record: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SpoolDirectory, "write", write)
    setting.hook.put("1", b"")
    assert setting.hook.lost == 1
    assert len(setting.hook) == 0


def test_two_relays_share_a_directory_but_no_folder(tmp_path: Path) -> None:
    one, other = SpoolDirectory(str(tmp_path)), SpoolDirectory(str(tmp_path))
    assert one.path != other.path
    path = one.path
    one.close()
    third = SpoolDirectory(str(tmp_path))
    assert third.path == path
    other.close()
    third.close()


def test_half_written_records_are_removed_at_the_start(tmp_path: Path) -> None:
    spool = SpoolDirectory(str(tmp_path))
    Path(spool.path, "1.part").write_bytes(b"{")
    spool.write("2", b"{}")
    assert spool.names() == ["2"]
    assert not Path(spool.path, "1.part").exists()
    spool.close()


def test_a_spool_that_cannot_be_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--webhook-spool"):
        SpoolDirectory(str(tmp_path / "file"))


def test_without_treq_it_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "treq.client", None)
    with pytest.raises(ConfigError, match=r"rtpproxy-tw\[webhooks\]"):
        webhooks.treq_post("http://localhost/", None, "x")
