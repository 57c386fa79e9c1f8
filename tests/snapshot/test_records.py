"""Sessions written down and read back: nothing forgotten, nothing believed that is damaged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from rtpproxy_tw.latch import RtpproxyLatch, StrictLatch
from rtpproxy_tw.latch.candidates import Candidate, Candidates
from rtpproxy_tw.latch.contest import Contest
from rtpproxy_tw.latch.late import Stragglers
from rtpproxy_tw.latch.trail import Trail
from rtpproxy_tw.quality.analyzer import Analyzer
from rtpproxy_tw.quality.bursts import Bursts
from rtpproxy_tw.quality.jitter import Jitter, SourceJitter
from rtpproxy_tw.quality.monitor import Monitor
from rtpproxy_tw.quality.opinion import Opinion
from rtpproxy_tw.quality.refusals import Refusals
from rtpproxy_tw.quality.timeline import Timeline
from rtpproxy_tw.session import Leg, Session, SessionKey, Stream
from rtpproxy_tw.snapshot import records, tables
from rtpproxy_tw.snapshot.kinds import Damaged
from rtpproxy_tw.snapshot.shapes import Shape
from tests.datagrams import rtp
from tests.fakes import Bench

FIXTURES = Path(__file__).parent.parent / "fixtures"

WRITTEN: list[tuple[type, Shape]] = [
    (Session, records.SESSION),
    (Leg, records.LEG),
    (Stream, records.STREAM),
    (StrictLatch, records.LATCHES["strict"][1]),
    (RtpproxyLatch, records.LATCHES["rtpproxy"][1]),
    (Contest, tables.CONTEST),
    (Candidates, tables.CANDIDATES),
    (Candidate, tables.CANDIDATE),
    (Stragglers, tables.STRAGGLERS),
    (Trail, tables.TRAIL),
    (Analyzer, tables.ANALYZER),
    (Jitter, tables.JITTER),
    (SourceJitter, tables.SOURCE_JITTER),
    (Monitor, tables.MONITOR),
    (Bursts, tables.BURSTS),
    (Opinion, tables.OPINION),
    (Refusals, tables.REFUSALS),
    (Timeline, tables.TIMELINE),
]


def attributes(kind: type) -> set[str]:
    """What an object of that class remembers."""
    if is_dataclass(kind):
        return {field.name for field in fields(kind)}
    return {
        name
        for base in kind.__mro__
        for name in getattr(base, "__slots__", ())
        if not name.startswith("__")
    }


@pytest.mark.parametrize("kind, shape", WRITTEN, ids=lambda value: getattr(value, "__name__", ""))
def test_every_attribute_is_written_or_left_out_on_purpose(kind: type, shape: Shape) -> None:
    """Whoever adds one is told here to think of it."""
    assert attributes(kind) == set(shape.names) | shape.left_out
    assert not set(shape.names) & shape.left_out


def commanded(bench: Bench, line: bytes) -> Any:
    """Execute a command as it is on the wire."""
    return bench.do(RtpproxyDialect(bridging=False).parse(line))


Step = tuple[int, int, int, float]
"""Which side and source sends, an SSRC, a step of the sequence number, the pause before it."""

steps = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 9), st.floats(0, 3, width=32)),
    max_size=60,
)


def lived(latching: str, life: list[Step], signalled: str = "10.0.0.1") -> tuple[Bench, Session]:
    """A session that has seen something of the world."""
    bench = Bench(latching=latching, ttl=1e6, setup_ttl=1e6)
    bench.clock.advance(1000)
    commanded(bench, f"Uc0,8,101 call;m {signalled} 4000 from;1".encode())
    commanded(bench, f"Lc0,8 call;m {signalled} 5000 from;1 to;1".encode())
    (session,) = bench.registry
    live(bench, session, life)
    return bench, session


def live(bench: Bench, session: Session, life: list[Step]) -> None:
    """See something more of the world."""
    ports = (session.callee.port, session.caller.port)
    sequence = 65530
    for who, ssrc, step, pause in life:
        bench.clock.advance(pause)
        sequence = (sequence + step) & 0xFFFF
        component, side = divmod(who, 2)
        source = (f"198.51.100.{1 + component % 2}", 4000 + who)
        octets = rtp(sequence, ssrc=ssrc)
        bench.host.deliver(octets, source, ("127.0.0.1", ports[side] + (component == 2)))
        for leg in session.legs:
            leg.monitor = leg.monitor or Monitor()
            leg.monitor.look(leg, bench.clock.seconds())


@pytest.mark.parametrize("latching", ["strict", "rtpproxy"])
@given(life=steps, shift=st.sampled_from([0.0, -500.0, 12345.5]))
@settings(max_examples=60, deadline=None)
def test_a_session_comes_back_as_it_was(latching: str, life: list[Step], shift: float) -> None:
    """The record of what was read is the record that was read, on whatever clock."""
    _, session = lived(latching, life)
    line = records.to_line(records.pack(session, {"x": 1}))
    again, _ = records.unpack(records.from_line(line), 0.0)
    assert records.to_line(records.pack(again, {"x": 1})) == line
    moved, _ = records.unpack(records.from_line(line), shift)
    assert moved.created == session.created + shift
    assert moved.caller.rtp.accepted == session.caller.rtp.accepted
    assert moved.expires(independent=False, hold_timeout=0) == pytest.approx(
        session.expires(independent=False, hold_timeout=0) + shift
    )


@pytest.mark.parametrize("latching", ["strict", "rtpproxy"])
@given(before=steps, after=steps)
@settings(max_examples=40, deadline=None)
def test_the_future_of_a_session_does_not_change(
    latching: str, before: list[Step], after: list[Step]
) -> None:
    """Both latch, count and measure the same from then on."""
    bench, session = lived(latching, before)
    again, _ = records.unpack(records.from_line(records.to_line(records.pack(session, {}))))
    now = bench.clock.seconds()
    sequence = 100
    for who, ssrc, step, pause in after:
        now += pause
        sequence += step
        octets = rtp(sequence, ssrc=ssrc)
        source = (f"198.51.100.{1 + who // 2}", 4000 + who)
        for each in (session, again):
            stream = each.legs[who % 2].rtp
            stream.accepted += stream.latch.hear(source, octets, now)
            if stream.analyzer is not None:
                stream.analyzer.heard(octets, now)
    assert records.pack(again, {}) == records.pack(session, {})


def leaves(record: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where everything in a record is."""
    yield path
    children: Iterable[tuple[Any, Any]] = record.items() if isinstance(record, dict) else ()
    if isinstance(record, list):
        children = enumerate(record)
    for key, child in children:
        yield from leaves(child, (*path, key))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["inf", "-inf", "strict", "255.255.255.255", "::ffff:1.2.3.4", 1 << 70]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(data=st.data(), wrong=anything)
@settings(max_examples=300, deadline=None)
def test_a_damaged_record_is_refused_or_harmless(data: st.DataObject, wrong: Any) -> None:
    """Whatever stands in whichever place: Damaged, or a session that can be used and written."""
    _, session = lived("strict", [(0, 1, 1, 0.02), (1, 2, 1, 0.02), (4, 1, 1, 0.1)])
    record = records.from_line(records.to_line(records.pack(session, {})))
    path = data.draw(st.sampled_from(sorted(leaves(record), key=repr)))
    if path:
        place = record
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = wrong
    else:
        record = wrong
    try:
        found, _ = records.unpack(record)
    except Damaged:
        return
    records.to_line(records.pack(found, {}))
    for leg in found.legs:
        leg.rtp.latch.hear(("198.51.100.9", 9), rtp(7), 5000.0)


@given(st.binary(max_size=200))
def test_any_octets_are_a_record_or_damaged(octets: bytes) -> None:
    """No line makes the reader fail otherwise."""
    try:
        records.unpack(records.from_line(octets))
    except Damaged:
        pass
    else:
        pytest.fail("random octets made a session")


def test_a_deeply_nested_line_is_damaged() -> None:
    """It must not exhaust the stack."""
    with pytest.raises(Damaged):
        records.from_line(b"[" * 200_000)


def test_outlets_find_their_sessions_again() -> None:
    """Both directions of a link are made once all sessions are there; missing ones are left out."""
    _, source = lived("strict", [])
    _, outlet = lived("strict", [])
    outlet.key = SessionKey("other", "tag")
    outlet.outlet_of = source
    source.caller.rtp.feeds = (outlet.callee.rtp,)
    lines = [records.to_line(records.pack(each, {})) for each in (source, outlet)]
    found = [records.unpack(records.from_line(line)) for line in lines]
    sessions = {session.key: session for session, _ in found}
    for _, link in found:
        link.make(sessions.get)
    again, other = sessions[source.key], sessions[outlet.key]
    assert other.outlet_of is again
    assert again.caller.rtp.feeds == (other.callee.rtp,)
    alone, link = records.unpack(records.from_line(lines[0]))
    link.make(lambda key: None)
    assert alone.caller.rtp.feeds == ()


@pytest.mark.parametrize("version", sorted(records.READABLE))
def test_records_of_every_version_that_is_to_be_understood_are_read(version: int) -> None:
    """One line of each latching policy, as that version wrote it."""
    lines = (FIXTURES / f"session-{version}.jsonl").read_bytes().splitlines()
    assert len(lines) == 2
    for line in lines:
        session, _ = records.unpack(records.from_line(line))
        assert session.complete
        assert session.caller.rtp.accepted + session.callee.rtp.accepted > 0
        assert session.caller.port
        assert session.callee.port
        assert len(session.timeline)


def test_a_record_of_an_unknown_version_is_refused() -> None:
    """Better none than one misunderstood."""
    _, session = lived("strict", [])
    record = records.pack(session, {})
    record["v"] = max(records.READABLE) + 1
    with pytest.raises(Damaged, match="version"):
        records.unpack(record)


def test_words_of_a_later_version_are_passed_over_and_missing_ones_are_as_new() -> None:
    """So two neighbouring versions read each other."""
    _, session = lived("strict", [(0, 1, 1, 0.02)])
    session.caller.rtp.dropped = 7
    record = json.loads(records.to_line(records.pack(session, {})))
    record["caller"]["rtp"]["future"] = {"a": 1}
    assert record["caller"]["rtp"].pop("dropped") == 7
    again, _ = records.unpack(record)
    assert again.caller.rtp.dropped == 0


def test_what_is_as_in_a_new_session_is_not_written_but_told_when_it_is_so_again() -> None:
    """Records are short, and what changes back is a change."""
    _, session = lived("strict", [])
    assert "held" not in records.pack(session, {})["caller"]
    session.caller.held, session.caller.rtp.latest = True, b"octets"
    before = records.pack(session, {})
    copy, _ = records.unpack(json.loads(records.to_line(before)))
    assert copy.caller.held
    assert copy.caller.rtp.latest == b"octets"
    session.caller.held, session.caller.rtp.latest = False, b""
    changed = records.changes(before, records.pack(session, {}))
    assert changed == {"caller": {"held": False, "rtp": {"latest": ""}}}
    records.amend(copy, json.loads(records.to_line(changed)))
    assert not copy.caller.held
    assert not copy.caller.rtp.latest


@pytest.mark.parametrize("version", [None, [], {}, "1", 0])
def test_a_version_that_is_none_is_refused(version: object) -> None:
    with pytest.raises(Damaged):
        records.unpack({"v": version, "key": ["call", "tag"]})


@pytest.mark.parametrize("wrong", ["", {}, 5, [[]], [128], ["0"], None])
def test_payload_types_are_a_list_of_numbers(wrong: object) -> None:
    record = json.loads(records.to_line(records.pack(lived("strict", [])[1], {})))
    record["caller"]["codecs"] = wrong
    with pytest.raises(Damaged, match="codecs"):
        records.unpack(record)


@pytest.mark.parametrize("wrong", ["::1", {"::1": 1, "a": 1, "b": 1}, 5, ["::1"], [[], None, None]])
def test_a_local_address_is_a_list_of_three(wrong: object) -> None:
    record = json.loads(records.to_line(records.pack(lived("strict", [])[1], {})))
    record["caller"]["local"] = wrong
    with pytest.raises(Damaged, match="local"):
        records.unpack(record)


def test_bytes_of_strangers_survive() -> None:
    """Undecodable octets of a Call-ID come back as they were."""
    bench = Bench()
    commanded(bench, b"U \xff\xfecall 10.0.0.1 4000 \x80tag")
    (session,) = bench.registry
    again, _ = records.unpack(records.from_line(records.to_line(records.pack(session, {}))))
    assert again.key == session.key
    assert again.key.call_id.encode("utf-8", "surrogateescape") == b"\xff\xfecall"


@pytest.mark.parametrize("latching", ["strict", "rtpproxy"])
@given(life=steps, more=steps)
@settings(max_examples=40, deadline=None)
def test_changes_make_of_an_earlier_record_the_later_one(
    latching: str, life: list[Step], more: list[Step]
) -> None:
    """So a record may be sent early, and made up for."""
    bench, session = lived(latching, life)
    before = records.pack(session, {})
    copy, _ = records.unpack(json.loads(records.to_line(before)))
    live(bench, session, more)
    after = records.pack(session, {})
    changed = records.changes(before, after)
    assert changed is not None
    assert len(records.to_line(changed)) <= len(records.to_line(after))
    records.amend(copy, json.loads(records.to_line(changed)))
    assert records.to_line(records.pack(copy, {})) == records.to_line(after)


def test_a_session_that_did_nothing_has_no_changes() -> None:
    _, session = lived("strict", [(0, 1, 1, 0.02)] * 5)
    record = records.pack(session, {})
    assert records.changes(record, records.pack(session, {})) == {}


@pytest.mark.parametrize("word", ["port", "local"])
def test_what_has_other_sockets_is_told_as_a_whole(word: str) -> None:
    _, session = lived("strict", [])
    before = records.pack(session, {})
    after = json.loads(records.to_line(before))
    after["caller"][word] = None
    assert records.changes(before, after) is None
