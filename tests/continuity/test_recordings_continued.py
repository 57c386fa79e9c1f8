"""What was recorded goes on in further files where the open ones are lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.recording.recorders import FileRecorders
from rtpproxy_tw.recording_continuation import RecordedPart
from rtpproxy_tw.session import Ending, Session
from rtpproxy_tw.snapshot.kinds import Damaged
from tests.recording.memory import MemorySinks, a_session


class Node:
    """A process that records one session."""

    def __init__(self, name: str, **more: Any) -> None:
        self.sinks = MemorySinks()
        self.session = a_session()
        options: dict[str, Any] = {"pcap": True, "rtcp": True, "resume": True, **more}
        self.recorders = FileRecorders(
            directory="/recordings",
            spool=None,
            everything=False,
            writer=self.sinks,
            wall=lambda: 1000.0,
            local_host=lambda host: host,
            unique=lambda: name,
            **options,
        )
        self.part = RecordedPart(self.recorders, writing=True)

    def told(self, name: str) -> tuple[str, int]:
        """Which recording the file is of, and which part."""
        found = json.loads(self.sinks.notes[f"{name}.json"])
        return found["recording"], found["part"]


def go_on(before: Node, after: Node) -> None:
    """In another process that has nothing but the record."""
    value = json.loads(json.dumps(before.part.pack(before.session, Luggage())))
    assert value is not None
    after.part.unpack(after.session, value, Luggage(), 0.0)
    after.part.begin()


def test_both_parties_go_on_in_one_file_under_the_name_that_was_given() -> None:
    one, two = Node("one"), Node("two")
    for leg in one.session.legs:
        one.recorders.record(leg, "mine.pcap", single=True)
    go_on(one, two)
    assert [name for _, name in two.sinks.opened] == ["mine.pcap"]
    assert two.told("mine.pcap") == ("one", 2)
    assert len(two.recorders.of(two.session)) == 1
    three = Node("three")
    go_on(two, three)
    assert three.told("mine.pcap") == ("one", 3)


def test_a_pause_goes_on_and_so_does_what_comes_after_it() -> None:
    one, two = Node("one"), Node("two")
    caller, callee = one.session.legs
    one.recorders.record(caller, None, single=False)
    one.recorders.pause(caller)
    one.recorders.record(callee, None, single=False)
    go_on(one, two)
    paused = {leg.side: paused for leg, _, paused in two.recorders.parties(two.session)}
    assert paused == {caller.side: True, callee.side: False}
    assert two.recorders.resume(two.session.caller)


def test_another_format_is_no_obstacle() -> None:
    one, two = Node("one"), Node("two", pcap=False, rtcp=False)
    for leg in one.session.legs:
        one.recorders.record(leg, None, single=True)
    go_on(one, two)
    assert [name for _, name in two.sinks.opened] == ["call=from.o.rtp", "call=from.a.rtp"]


def test_sessions_that_could_not_be_gone_on_with_are_not_recorded() -> None:
    one, two = Node("one"), Node("two")
    one.recorders.record(one.session.caller, None, single=False)
    value = one.part.pack(one.session, Luggage())
    two.part.unpack(two.session, value, Luggage(), 0.0)
    two.part.begin(lambda session: False)
    two.part.begin()
    assert two.sinks.opened == []


def test_a_disk_that_refuses_ends_nothing_else() -> None:
    one, two = Node("one"), Node("two")
    for leg in one.session.legs:
        one.recorders.record(leg, None, single=False)
    two.sinks.refusing = 3
    go_on(one, two)
    assert [leg for leg, _, _ in two.recorders.parties(two.session)] == [two.session.caller]


def test_what_is_not_recorded_says_nothing_nor_who_passes_open_files_on() -> None:
    one = Node("one")
    assert one.part.pack(one.session, Luggage()) is None
    one.recorders.record(one.session.caller, None, single=False)
    silent = RecordedPart(one.recorders, writing=False)
    assert silent.pack(one.session, Luggage()) is None
    one.recorders.ended(one.session, Ending.DELETED)
    assert one.part.pack(one.session, Luggage()) is None


@pytest.mark.parametrize("value", [7, [], [[], [], []], [[7], []], [[], [["caller", 7]]], {}])
def test_damaged_words_are_refused(value: Any) -> None:
    session: Session = a_session()
    with pytest.raises(Damaged):
        Node("one").part.unpack(session, value, Luggage(), 0.0)
