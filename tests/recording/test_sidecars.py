"""What is told of recordings: sidecars, events, states of legs; and pauses."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from rtpproxy_tw.recording.files import MOST_KINDS, Event, Finished, Heard
from rtpproxy_tw.recording.recorders import FileRecorders
from rtpproxy_tw.session import Ending, Leg, Session
from tests.recording.memory import MemorySinks, a_session, hear
from tests.recording.talking import Talker, rtp

CALLER = ("192.0.2.1", 5004)
CALLEE = ("198.51.100.2", 6004)


class Recorder:
    """A recorder with everything it tells, and a clock."""

    def __init__(self, **more: Any) -> None:
        self.now = 1000.0
        self.sinks = MemorySinks()
        self.events: list[Event] = []
        self.exported: list[Finished] = []
        self.notes: list[tuple[Leg, str]] = []
        self.recorders = FileRecorders(
            **{
                "directory": "/recordings",
                "spool": None,
                "pcap": False,
                "rtcp": True,
                "everything": False,
                "writer": self.sinks,
                "wall": lambda: self.now,
                "local_host": lambda host: host,
                "tell": self.events.append,
                "export": self.exported.append,
                "note": lambda leg, text: self.notes.append((leg, text)),
                **more,
            }
        )

    def record(self, leg: Leg, target: str | None = None, *, single: bool = False) -> None:
        """R or C."""
        self.recorders.record(leg, target, single)

    def sidecar(self, name: str = "call=from.o.rtp") -> dict[str, Any]:
        """As last written."""
        told: dict[str, Any] = json.loads(self.sinks.notes[f"{name}.json"])
        return told

    @property
    def names(self) -> list[str]:
        """Of the events so far."""
        return [event["event"] for event in self.events]


def test_a_sidecar_is_there_from_the_beginning() -> None:
    it, session = Recorder(), a_session()
    it.record(session.caller)
    told = it.sidecar()
    assert told["state"] == "recording"
    assert (told["call_id"], told["from_tag"]) == ("call", "from;1")
    assert told["parties"] == ["caller"]
    assert (told["started"], told["ended"]) == (1000.0, None)
    assert [each["name"] for each in told["files"]] == ["call=from.o.rtp", "call=from.o.rtcp"]
    assert it.names == ["recording.started"]


def test_at_the_end_it_tells_all_of_it() -> None:
    it, session = Recorder(), a_session()
    it.record(session.caller)
    for number in range(3):
        hear(session.caller.rtp, rtp(number, 0, b"x", ssrc=0xABC, payload_type=8), CALLER)
    hear(session.caller.rtp, rtp(9, 0, b"x", ssrc=7, payload_type=101), CALLER)
    hear(session.caller.rtcp, b"\x80\xc8" + bytes(26), CALLER)
    it.now = 1010.0
    it.recorders.ended(session, Ending.DELETED)
    told = it.sidecar()
    assert it.sinks.final == ["call=from.o.rtp.json"]
    assert told["state"] == "finished"
    assert told["ended"] == 1010.0
    assert (told["packets"], told["lost"]) == (5, 0)
    assert told["ssrcs"] == ["0x00000abc", "0x00000007"]
    assert (told["payload_types"], told["codecs"]) == ([8, 101], ["PCMA/8000"])
    assert told["ports"] == {"caller": [40000]}
    content = it.sinks.files["call=from.o.rtp"].content
    assert told["files"][0]["sha256"] == sha256(content).hexdigest()
    assert it.names == ["recording.started", "recording.finished"]
    assert it.events[1] == {"event": "recording.finished", **told}


def test_a_call_id_is_told_exactly() -> None:
    it, session = Recorder(), a_session("a/b\udcff")
    it.record(session.caller)
    (content,) = it.sinks.notes.values()
    told = json.loads(content)
    assert told["call_id_encoded"] == "a%2Fb%FF"
    content.decode("ascii")


def test_strangers_cannot_make_it_long() -> None:
    heard = Heard()
    for number in range(1000):
        heard.look(rtp(1, 1, b"", ssrc=number))
    heard.look(b"short")
    assert len(heard.ssrcs) == MOST_KINDS + 1


def test_a_failed_recording_is_told_once_and_the_sidecar_says_so() -> None:
    it, session = Recorder(), a_session()
    it.record(session.caller)
    it.sinks.files["call=from.o.rtp"].failed = True
    hear(session.caller.rtp, Talker().packet(0), CALLER)
    it.recorders.tick()
    it.recorders.tick()
    assert it.names == ["recording.started", "recording.failed"]
    assert it.notes == [(session.caller, "recording failed")]
    it.recorders.ended(session, Ending.DELETED)
    assert it.names == ["recording.started", "recording.failed"]
    assert (it.sidecar()["state"], it.sidecar()["lost"]) == ("failed", 1)


def test_loss_is_noted_once() -> None:
    it, session = Recorder(), a_session()
    it.record(session.caller)
    it.sinks.files["call=from.o.rtp"].miss()
    it.recorders.tick()
    it.recorders.tick()
    assert it.notes == [(session.caller, "recording loses packets, the call does not")]
    state = session.caller.recording
    assert state is not None
    assert (state.name, state.lost, state.failed, state.paused) == (
        "call=from.o.rtp",
        1,
        False,
        False,
    )


def test_the_state_of_a_leg_ends_with_its_recording() -> None:
    it, session = Recorder(), a_session()
    assert session.caller.recording is None
    it.record(session.caller)
    assert it.recorders.stop(session.caller)
    assert session.caller.recording is None


def test_what_was_stopped_begins_anew_by_default() -> None:
    it, session = Recorder(), a_session()
    it.record(session.caller)
    it.recorders.stop(session.caller)
    it.record(session.caller)
    assert len(it.sinks.opened) == 4


def test_with_resume_it_goes_on_in_the_same_files() -> None:
    it, session = Recorder(resume=True), a_session()
    it.record(session.caller)
    hear(session.caller.rtp, Talker().packet(0), CALLER)
    it.now = 1005.0
    assert it.recorders.stop(session.caller)
    hear(session.caller.rtp, Talker().packet(1), CALLER)
    state = session.caller.recording
    assert state is not None
    assert state.paused
    assert not it.recorders.stop(session.caller)
    it.now = 1009.0
    it.record(session.caller)
    hear(session.caller.rtp, Talker().packet(2), CALLER)
    it.recorders.ended(session, Ending.DELETED)
    assert len(it.sinks.opened) == 2
    assert len(it.sinks.files["call=from.o.rtp"].records) == 2
    assert it.sidecar()["pauses"] == [{"party": "caller", "start": 1005.0, "end": 1009.0}]
    assert session.caller.recording is None


def test_what_is_paused_at_the_end_is_complete() -> None:
    it, session = Recorder(resume=True), a_session()
    it.record(session.caller)
    it.recorders.stop(session.caller)
    it.recorders.ended(session, Ending.DELETED)
    assert it.names == ["recording.started", "recording.finished"]
    assert all(sink.closed for sink in it.sinks.files.values())


def test_what_failed_while_paused_begins_anew() -> None:
    it, session = Recorder(resume=True), a_session()
    it.record(session.caller)
    it.recorders.stop(session.caller)
    it.sinks.files["call=from.o.rtp"].failed = True
    it.record(session.caller)
    assert len(it.sinks.opened) == 4


def test_both_parties_of_a_single_file_are_paused_by_themselves() -> None:
    it, session = Recorder(resume=True, pcap=True), a_session()
    for leg in session.legs:
        it.record(leg, single=True)
    it.recorders.stop(session.caller)
    hear(session.caller.rtp, Talker().packet(0), CALLER)
    hear(session.callee.rtp, Talker().packet(0), CALLEE)
    it.record(session.caller, single=True)
    it.recorders.ended(session, Ending.DELETED)
    assert len(it.sinks.files["call=from.pcap"].records) == 1
    told = it.sidecar("call=from.pcap")
    assert told["parties"] == ["caller", "callee"]
    assert told["ports"] == {"caller": [40000], "callee": [50000]}


def stopped_first(it: Recorder, session: Session) -> None:
    it.recorders.stop(session.caller)


@pytest.mark.parametrize("before", [stopped_first, lambda it, session: None])
def test_a_session_s_recordings_are_exported_when_all_are_complete(
    before: Callable[[Recorder, Session], None],
) -> None:
    it, session = Recorder(), a_session()
    for leg in session.legs:
        it.record(leg)
    before(it, session)
    it.sinks.holding = []
    it.recorders.ended(session, Ending.DELETED)
    assert it.exported == []
    for note in it.sinks.holding:
        note.done()
    (finished,) = it.exported
    assert finished.directory == "/recordings"
    assert [each.names[0] for each in finished.files] == ["call=from.o.rtp", "call=from.a.rtp"]


def test_a_session_without_recordings_is_not_exported() -> None:
    it = Recorder()
    it.recorders.ended(a_session(), Ending.DELETED)
    assert it.exported == []


def test_no_recording_has_the_name_of_another_s_sidecar() -> None:
    it, session, other = Recorder(pcap=True), a_session(), a_session("other")
    it.record(session.caller, "x", single=True)
    it.record(other.caller, "x.json", single=True)
    assert sorted(it.sinks.files) == ["x", "x.json~2"]


def test_the_callee_s_tag_is_told_as_soon_as_it_is_known() -> None:
    it, session = Recorder(everything=True), a_session()
    it.recorders.created(session)
    assert it.sidecar()["to_tag"] is None
    session.to_tag = "to/1\udcff"
    it.recorders.completed(session)
    for told in (it.sidecar(), it.sidecar("call=from.a.rtp")):
        assert told["to_tag_encoded"] == "to%2F1%FF"
    it.recorders.ended(session, Ending.DELETED)
    assert it.sidecar()["to_tag_encoded"] == "to%2F1%FF"


def test_a_recording_that_ended_before_the_answer_keeps_its_sidecar() -> None:
    it, session = Recorder(), a_session()
    it.record(session.caller)
    it.recorders.stop(session.caller)
    it.recorders.completed(session)
    assert it.sidecar()["state"] == "finished"
