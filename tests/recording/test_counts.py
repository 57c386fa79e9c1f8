"""What is counted of recordings: each is active, finished or failed, and so is each packet."""

from __future__ import annotations

import pytest

from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.recording_succession import RecordingTotals
from rtpproxy_tw.session import Ending
from rtpproxy_tw.snapshot.kinds import Damaged
from tests.recording.memory import a_session, hear
from tests.recording.talking import Talker
from tests.recording.test_sidecars import CALLER, Recorder


def test_a_recording_is_active_until_its_files_are_complete() -> None:
    it, session = Recorder(), a_session()
    it.record(session.caller)
    it.record(session.callee)
    counts = it.recorders.counts
    assert (counts.started, counts.active, counts.finished, counts.failed) == (2, 2, 0, 0)
    it.sinks.holding = []
    it.recorders.ended(session, Ending.DELETED)
    assert counts.active == 2
    for note in it.sinks.holding:
        note.done()
    assert (counts.started, counts.active, counts.finished, counts.failed) == (2, 0, 2, 0)


def test_both_parties_in_one_file_are_one_recording() -> None:
    it, session = Recorder(pcap=True), a_session()
    it.record(session.caller, single=True)
    it.record(session.callee, single=True)
    assert (it.recorders.counts.started, it.recorders.counts.active) == (1, 1)


def test_a_recording_the_disk_refused_is_a_failed_one() -> None:
    it, session = Recorder(), a_session()
    it.record(session.caller)
    it.sinks.files["call=from.o.rtp"].failed = True
    it.recorders.ended(session, Ending.DELETED)
    counts = it.recorders.counts
    assert (counts.active, counts.finished, counts.failed) == (0, 0, 1)


def test_packets_are_counted_once_whether_their_recording_goes_on_or_not() -> None:
    it, session = Recorder(), a_session()
    it.record(session.caller)
    for number in range(5):
        hear(session.caller.rtp, Talker().packet(number), CALLER)
    it.sinks.files["call=from.o.rtp"].missed = 3
    it.recorders.tick()
    counts = it.recorders.counts
    assert (counts.packets_written, counts.packets_lost) == (5, 3)
    it.recorders.ended(session, Ending.DELETED)
    it.recorders.tick()
    assert (counts.packets_written, counts.packets_lost) == (5, 3)


def test_what_is_counted_never_shrinks() -> None:
    it, session = Recorder(), a_session()
    it.record(session.caller)
    it.sinks.files["call=from.o.rtp"].missed = 3
    it.recorders.tick()
    it.sinks.holding = []
    it.recorders.ended(session, Ending.DELETED)
    it.recorders.tick()
    assert it.recorders.counts.packets_lost == 3


def test_another_process_goes_on_counting() -> None:
    before, session = Recorder(), a_session()
    before.record(session.caller)
    before.record(session.callee)
    before.recorders.stop(session.callee)
    for number in range(5):
        hear(session.caller.rtp, Talker().packet(number), CALLER)
    after = Recorder()
    counts = after.recorders.counts
    totals = RecordingTotals(before.recorders.counts).pack(Luggage())
    RecordingTotals(counts).unpack(totals, Luggage(), 0.0)
    (files,) = (each for each in before.recorders.of(session) if not each.finished)
    files.parties = 0  # over there it is another object, made of what was told
    after.recorders.adopt(session.caller, files, paused=False, rtcp=True)
    after.recorders.tick()
    assert (counts.started, counts.active, counts.finished) == (2, 1, 1)
    assert counts.packets_written == 5
    after.recorders.ended(session, Ending.DELETED)
    assert (counts.started, counts.active, counts.finished, counts.failed) == (2, 0, 2, 0)


@pytest.mark.parametrize("value", [None, [], [1, 2, 3, 4], [0, 0, 0, 0, -1], [0, 0, 0, 0, "x"]])
def test_damaged_totals_are_refused(value: object) -> None:
    totals = RecordingTotals(Recorder().recorders.counts)
    with pytest.raises(Damaged):
        totals.unpack(value, Luggage(), 0.0)
