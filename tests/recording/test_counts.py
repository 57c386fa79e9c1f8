"""What is counted of recordings: each is active, finished or failed, and so is each packet."""

from __future__ import annotations

from rtpproxy_tw.session import Ending
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
