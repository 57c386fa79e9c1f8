"""Who is recorded, into which files, and what the files contain."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from rtpproxy_tw.errors import RecordingRefused
from rtpproxy_tw.interfaces import IRecorders, ISessionObserver, ITap
from rtpproxy_tw.recording import adhoc, pcap
from rtpproxy_tw.recording.files import Earlier
from rtpproxy_tw.recording.recorders import FileRecorders
from rtpproxy_tw.recording.sinks import Place, Sinks
from rtpproxy_tw.recording.spool import Writer
from rtpproxy_tw.session import Ending, Leg, Session
from tests.recording.memory import MemorySinks, a_session, hear

CALLER = ("192.0.2.1", 5004)
CALLEE = ("198.51.100.2", 6004)
NOW = 1_700_000_000.25


def routed(remote: str) -> str:
    """The local address for ``remote``, in a made-up network."""
    return "2001:db8::9" if ":" in remote else "192.0.2.9"


def a_recorder(
    sinks: Sinks,
    *,
    directory: str | None = "/recordings",
    spool: str | None = None,
    pcap: bool = False,
    rtcp: bool = True,
    everything: bool = False,
    local_host: Callable[[str], str] = routed,
    note: Callable[[Leg, str], None] = lambda leg, text: None,
) -> FileRecorders:
    """One with the settings of a plain installation."""
    return FileRecorders(
        directory=directory,
        spool=spool,
        pcap=pcap,
        rtcp=rtcp,
        everything=everything,
        writer=sinks,
        wall=lambda: NOW,
        local_host=local_host,
        note=note,
    )


def still_open(sinks: MemorySinks) -> set[str]:
    return {name for name, sink in sinks.files.items() if not sink.closed}


def taps(session: Session) -> int:
    return sum(len(stream.taps) for leg in session.legs for stream in leg.streams)


def test_it_provides_what_it_says() -> None:
    recorders = a_recorder(MemorySinks())
    verifyObject(IRecorders, recorders)
    verifyObject(ISessionObserver, recorders)


@pytest.mark.parametrize("pcap_format", [False, True])
def test_its_taps_provide_what_they_say(pcap_format: bool) -> None:
    session = a_session()
    a_recorder(MemorySinks(), pcap=pcap_format).record(session.caller, None, single=False)
    verifyObject(ITap, session.caller.rtp.taps[0])


def test_without_a_directory_it_refuses() -> None:
    recorders = a_recorder(MemorySinks(), directory=None)
    with pytest.raises(RecordingRefused, match="no directory"):
        recorders.record(a_session().caller, None, single=False)


def test_a_party_s_rtp_and_rtcp_go_into_two_files() -> None:
    sinks, session = MemorySinks(), a_session()
    a_recorder(sinks).record(session.caller, None, single=False)
    hear(session.caller.rtp, b"media", CALLER)
    hear(session.caller.rtcp, b"report", CALLER)
    hear(session.callee.rtp, b"not asked for", CALLEE)
    assert {name: sink.content for name, sink in sinks.files.items()} == {
        "call=from.o.rtp": adhoc.record(b"media", CALLER, NOW),
        "call=from.o.rtcp": adhoc.record(b"report", CALLER, NOW),
    }


def test_the_callee_has_files_of_its_own() -> None:
    sinks, session = MemorySinks(), a_session()
    recorders = a_recorder(sinks)
    recorders.record(session.callee, None, single=False)
    recorders.record(session.caller, None, single=False)
    assert sorted(sinks.files) == [
        "call=from.a.rtcp",
        "call=from.a.rtp",
        "call=from.o.rtcp",
        "call=from.o.rtp",
    ]


def test_rtcp_can_be_left_out() -> None:
    sinks, session = MemorySinks(), a_session()
    a_recorder(sinks, rtcp=False).record(session.caller, None, single=False)
    assert list(sinks.files) == ["call=from.o.rtp"]
    assert session.caller.rtcp.taps == ()


def test_a_command_may_name_the_file() -> None:
    sinks, session = MemorySinks(), a_session()
    a_recorder(sinks).record(session.caller, "../name.a", single=True)
    assert list(sinks.files) == ["%2E.%2Fname.a.rtp", "%2E.%2Fname.a.rtcp"]


def test_recordings_go_where_they_were_told() -> None:
    sinks = MemorySinks()
    recorders = a_recorder(sinks, directory="done", spool="/growing")
    recorders.record(a_session().caller, "x", single=False)
    assert sinks.opened[0] == (Place(os.path.abspath("done"), "/growing"), "x.rtp")


def test_asking_again_changes_nothing() -> None:
    sinks, session = MemorySinks(), a_session()
    recorders = a_recorder(sinks)
    recorders.record(session.caller, None, single=False)
    recorders.record(session.caller, "other", single=False)
    assert len(sinks.opened) == 2
    assert taps(session) == 2


def test_stopping_closes_the_files_and_forgets_the_party() -> None:
    sinks, session = MemorySinks(), a_session()
    recorders = a_recorder(sinks)
    recorders.record(session.caller, None, single=False)
    recorders.record(session.callee, None, single=False)
    assert recorders.stop(session.caller)
    assert still_open(sinks) == {"call=from.a.rtp", "call=from.a.rtcp"}
    assert taps(session) == 2
    assert not recorders.stop(session.caller)


def test_taps_of_others_stay() -> None:
    session = a_session()
    recorders = a_recorder(MemorySinks())
    a_recorder(MemorySinks()).record(session.caller, None, single=False)
    others = session.caller.rtp.taps
    recorders.record(session.caller, None, single=False)
    recorders.stop(session.caller)
    assert session.caller.rtp.taps == others


def test_after_stopping_a_recording_begins_anew_under_the_same_name() -> None:
    sinks, session = MemorySinks(), a_session()
    recorders = a_recorder(sinks)
    recorders.record(session.caller, None, single=False)
    recorders.stop(session.caller)
    recorders.record(session.caller, None, single=False)
    assert [name for _, name in sinks.opened] == ["call=from.o.rtp", "call=from.o.rtcp"] * 2


def test_the_end_of_a_session_ends_its_recordings() -> None:
    sinks, session, other = MemorySinks(), a_session(), a_session("another")
    recorders = a_recorder(sinks)
    for leg in (*session.legs, other.caller):
        recorders.record(leg, None, single=False)
    recorders.ended(session, Ending.TIMEOUT)
    assert still_open(sinks) == {"another=from.o.rtp", "another=from.o.rtcp"}
    assert taps(session) == 0
    recorders.ended(session, Ending.TIMEOUT)


def test_media_of_one_call_do_not_share_a_file() -> None:
    sinks = MemorySinks()
    recorders = a_recorder(sinks, rtcp=False)
    for tag in ("f;1", "f;2", "f", "f;1"):
        recorders.record(a_session(from_tag=tag).caller, None, single=False)
    assert [name for _, name in sinks.opened] == [
        "call=f.o.rtp",
        "call=f+2.o.rtp",
        "call=f~2.o.rtp",
        "call=f~3.o.rtp",
    ]


def test_parties_recorded_under_one_name_do_not_share_a_file() -> None:
    sinks, session = MemorySinks(), a_session()
    recorders = a_recorder(sinks, rtcp=False)
    recorders.record(session.caller, "name", single=False)
    recorders.record(session.callee, "name", single=False)
    assert list(sinks.files) == ["name.rtp", "name~2.rtp"]


def test_a_pcap_record_goes_from_the_party_to_the_relay() -> None:
    sinks, session = MemorySinks(), a_session()
    recorders = a_recorder(sinks, pcap=True)
    recorders.record(session.caller, None, single=False)
    hear(session.caller.rtp, b"media", CALLER)
    hear(session.caller.rtcp, b"report", CALLER)
    ours = ("127.0.0.1", 40000)
    assert sinks.files["call=from.o.rtp"].content == pcap.header() + pcap.record(
        b"media", CALLER, ours, NOW, 0
    )
    assert sinks.files["call=from.o.rtcp"].content == pcap.header() + pcap.record(
        b"report", CALLER, ("127.0.0.1", 40001), NOW, 1
    )


@pytest.mark.parametrize(
    "wildcard, party, ours",
    [("0.0.0.0", CALLER, "192.0.2.9"), ("::", ("2001:db8::1", 5004), "2001:db8::9")],
)
def test_a_wildcard_address_is_replaced_by_the_routed_one(
    wildcard: str, party: tuple[str, int], ours: str
) -> None:
    sinks, session = MemorySinks(), a_session(local=wildcard)
    asked: list[str] = []

    def local_host(remote: str) -> str:
        asked.append(remote)
        return routed(remote)

    recorders = a_recorder(sinks, pcap=True, local_host=local_host)
    recorders.record(session.caller, None, single=False)
    hear(session.caller.rtp, b"media", party)
    hear(session.caller.rtp, b"media", party)
    assert sinks.files["call=from.o.rtp"].records == [
        pcap.record(b"media", party, (ours, 40000), NOW, number) for number in (0, 1)
    ]
    assert asked == [party[0]]


def test_a_party_without_a_route_is_recorded_all_the_same() -> None:
    def unreachable(remote: str) -> str:
        raise OSError("Network is unreachable")

    sinks, session = MemorySinks(), a_session(local="0.0.0.0")
    a_recorder(sinks, pcap=True, local_host=unreachable).record(session.caller, None, single=False)
    hear(session.caller.rtp, b"media", CALLER)
    assert sinks.files["call=from.o.rtp"].records == [
        pcap.record(b"media", CALLER, ("0.0.0.0", 40000), NOW, 0)
    ]


def test_a_single_file_takes_both_parties_and_their_rtcp() -> None:
    sinks, session = MemorySinks(), a_session()
    session.caller.rtcp.latch.remote = ("192.0.2.1", 5005)
    recorders = a_recorder(sinks, pcap=True)
    recorders.record(session.callee, None, single=True)
    recorders.record(session.caller, None, single=True)
    hear(session.caller.rtp, b"media", CALLER)
    hear(session.callee.rtp, b"answer", CALLEE)
    hear(session.callee.rtcp, b"report", CALLEE)
    hear(session.caller.rtcp, b"towards nobody", CALLER)
    assert list(sinks.files) == ["call=from.pcap"]
    assert sinks.files["call=from.pcap"].records == [
        pcap.record(b"media", CALLER, ("127.0.0.1", 40000), NOW, 0),
        pcap.record(b"answer", CALLEE, ("127.0.0.1", 50000), NOW, 1),
        # RTCP as it leaves for the other party.
        pcap.record(b"report", ("127.0.0.1", 40001), ("192.0.2.1", 5005), NOW, 2),
        pcap.record(b"towards nobody", ("127.0.0.1", 50001), ("0.0.0.0", 0), NOW, 3),
    ]


def test_a_single_file_has_exactly_the_name_of_the_target() -> None:
    sinks, session = MemorySinks(), a_session()
    recorders = a_recorder(sinks, pcap=True)
    recorders.record(session.caller, "name", single=True)
    recorders.record(session.callee, "another name", single=True)
    assert list(sinks.files) == ["name"]


def test_a_single_file_of_a_party_already_recorded_is_refused() -> None:
    sinks, session = MemorySinks(), a_session()
    recorders = a_recorder(sinks, pcap=True)
    recorders.record(session.caller, None, single=True)
    with pytest.raises(RecordingRefused, match="already"):
        recorders.record(session.caller, None, single=True)
    recorders.record(session.caller, None, single=False)
    assert len(sinks.opened) == 1


def test_a_single_file_is_closed_with_its_last_party() -> None:
    sinks, session = MemorySinks(), a_session()
    recorders = a_recorder(sinks, pcap=True)
    recorders.record(session.caller, None, single=True)
    recorders.record(session.callee, None, single=True)
    recorders.stop(session.caller)
    hear(session.callee.rtp, b"answer", CALLEE)
    assert still_open(sinks) == {"call=from.pcap"}
    assert len(sinks.files["call=from.pcap"].records) == 1
    recorders.stop(session.callee)
    assert still_open(sinks) == set()


def test_a_single_file_does_not_take_over_a_party_s_own() -> None:
    sinks, session = MemorySinks(), a_session()
    recorders = a_recorder(sinks, pcap=True, rtcp=False)
    recorders.record(session.caller, None, single=False)
    recorders.record(session.callee, None, single=True)
    assert list(sinks.files) == ["call=from.o.rtp", "call=from.pcap"]


def test_everything_is_recorded_from_the_beginning_if_asked_for() -> None:
    sinks, session = MemorySinks(), a_session()
    recorders = a_recorder(sinks, everything=True)
    recorders.created(session)
    recorders.completed(session)
    assert len(sinks.files) == 4
    assert taps(session) == 4


@pytest.mark.parametrize(
    "directory, told",
    [
        ("/recordings", ["caller: recording begins", "callee: recording begins"]),
        (None, ["caller: recording refused"]),
    ],
)
def test_the_diary_tells_what_became_of_recording_everything(
    directory: str | None, told: list[str]
) -> None:
    diary: list[str] = []
    recorders = a_recorder(
        MemorySinks(),
        everything=True,
        directory=directory,
        note=lambda leg, text: diary.append(f"{leg.side.value}: {text}"),
    )
    recorders.created(a_session())
    assert diary == told


def test_everything_goes_into_one_pcap_file() -> None:
    sinks, session = MemorySinks(), a_session()
    a_recorder(sinks, everything=True, pcap=True).created(session)
    assert list(sinks.files) == ["call=from.pcap"]
    assert taps(session) == 4


def test_nothing_is_recorded_unasked() -> None:
    session = a_session()
    recorders = a_recorder(MemorySinks())
    recorders.created(session)
    recorders.completed(session)
    assert taps(session) == 0


def test_a_session_that_cannot_be_recorded_lives_on() -> None:
    session = a_session()
    a_recorder(MemorySinks(), everything=True, directory=None).created(session)
    assert taps(session) == 0


def test_a_refused_file_leaves_nothing_behind() -> None:
    sinks, session = MemorySinks(), a_session()
    sinks.refusing = 2
    recorders = a_recorder(sinks)
    with pytest.raises(RecordingRefused):
        recorders.record(session.caller, None, single=False)
    assert still_open(sinks) == set()
    assert taps(session) == 0
    sinks.refusing = 0
    recorders.record(session.caller, None, single=False)
    assert still_open(sinks) == {"call=from.o.rtp", "call=from.o.rtcp"}


def test_a_recording_that_failed_does_not_stand_in_the_way_of_another() -> None:
    sinks, session = MemorySinks(), a_session()
    recorders = a_recorder(sinks, pcap=True)
    recorders.record(session.caller, None, single=True)
    recorders.record(session.callee, None, single=True)
    failed = sinks.files["call=from.pcap"]
    failed.failed = True
    hear(session.caller.rtp, b"media", CALLER)
    recorders.record(session.caller, None, single=True)
    hear(session.caller.rtp, b"media", CALLER)
    assert sinks.files["call=from.pcap"] is not failed
    assert len(sinks.files["call=from.pcap"].records) == 1


def test_a_recording_that_failed_was_one() -> None:
    sinks, session = MemorySinks(), a_session()
    recorders = a_recorder(sinks)
    recorders.record(session.caller, None, single=False)
    sinks.files["call=from.o.rtp"].failed = True
    assert recorders.stop(session.caller)


def test_recordings_reach_the_disk(tmp_path: Path) -> None:
    writer, session = Writer(), a_session("../escape")
    recorders = a_recorder(writer, directory=str(tmp_path))
    recorders.record(session.caller, None, single=False)
    hear(session.caller.rtp, b"media", CALLER)
    recorders.ended(session, Ending.DELETED)
    assert writer.stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "%2E.%2Fescape=from.o.rtcp",
        "%2E.%2Fescape=from.o.rtp",
        "%2E.%2Fescape=from.o.rtp.json",
    ]
    content = (tmp_path / "%2E.%2Fescape=from.o.rtp").read_bytes()
    assert struct.unpack_from("=dH", content, 20) == (NOW, 5)


def test_what_another_relay_has_recorded_is_not_written_over(tmp_path: Path) -> None:
    sinks = MemorySinks()
    recorder = a_recorder(sinks, directory=str(tmp_path), rtcp=False)
    made = a_session()
    recorder.record(made.caller, None, single=False)
    (name,) = sinks.files
    recorder.stop(made.caller)
    (tmp_path / name).touch()
    recorder.record(made.caller, None, single=False, earlier=Earlier("id", 1))
    assert still_open(sinks) == {name.replace(".o.rtp", "~2.o.rtp")}
