"""P and S: what is sent to whom and when, and who is not heard meanwhile."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from rtpproxy_tw.errors import CommandError
from rtpproxy_tw.interfaces import IPlayers, IProcessing, IProcessor
from rtpproxy_tw.media.processing import Processor
from tests.contracts import rtp
from tests.media.playing import CALLER, FACING_CALLEE, Stage, done, open_files


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A call; what it opens must be closed at the end of each test that ends it."""
    return Stage(tmp_path).call()


def test_the_interfaces_are_provided(stage: Stage) -> None:
    assert verifyObject(IPlayers, stage.bench.players)
    assert verifyObject(IProcessing, stage.bench.processing)
    assert verifyObject(IProcessor, Processor(stage.bench.totals))


def test_a_prompt_is_sent_in_packets_of_ten_milliseconds(stage: Stage) -> None:
    content = stage.prompt("p.0", 1000)
    assert done(stage.play())
    heard = stage.run(0.3)
    assert b"".join(each.payload for each in heard) == content[:960]
    assert [each.marker for each in heard] == [True] + [False] * 11
    assert {(each.payload_type, each.ssrc) for each in heard} == {(0, heard[0].ssrc)}
    for one, other in pairwise(heard):
        assert other.sequence == one.sequence + 1 & 0xFFFF
        assert other.timestamp == one.timestamp + 80 & 0xFFFFFFFF
        assert other.when - one.when == pytest.approx(0.01, abs=0.0011)
    assert stage.bench.totals.npkts_played == 12


@pytest.mark.parametrize(
    "payload_type, octets, size, ticks, ms",
    [
        (0, 800, 80, 80, 10),
        (8, 800, 80, 80, 10),
        (9, 800, 80, 80, 10),
        (3, 66, 33, 160, 20),
        (4, 48, 24, 240, 30),
        (18, 40, 10, 80, 10),
        (11, 8820, 882, 441, 10),
    ],
)
def test_packets_are_made_of_the_codecs_frames(
    stage: Stage, payload_type: int, octets: int, size: int, ticks: int, ms: int
) -> None:
    stage.prompt(f"p.{payload_type}", octets)
    stage.play(codecs=str(payload_type))
    heard = stage.run(0.5)
    assert [len(each.payload) for each in heard] == [size] * (octets // size)
    one, other = heard[:2]
    assert (other.timestamp - one.timestamp) & 0xFFFFFFFF == ticks
    assert other.when - one.when == pytest.approx(ms / 1000, abs=0.0011)


@pytest.mark.parametrize(
    "packet_ms, payload_type, size",
    [(5, 0, 40), (20, 0, 160), (25, 0, 200), (20, 18, 20), (25, 3, 66), (40, 4, 48), (5, 4, 24)],
)
def test_with_the_sessions_codecs_packets_are_as_long_as_those_relayed(
    tmp_path: Path, packet_ms: int, payload_type: int, size: int
) -> None:
    stage = Stage(tmp_path)
    stage.offer(codecs=(101, payload_type))
    stage.answer(packet_ms=packet_ms)
    stage.prompt(f"p.{payload_type}", 4000)
    stage.play(codecs=None)
    assert {len(each.payload) for each in stage.run(0.2)} == {size}


def test_a_prompt_is_repeated_as_often_as_asked_for(stage: Stage) -> None:
    content = stage.prompt("p.0", 170)
    stage.play(count=3)
    heard = stage.run(0.3)
    assert [each.payload for each in heard] == [content[:80], content[80:160]] * 3
    assert [each.marker for each in heard] == [True] + [False] * 5


def test_a_negative_count_is_for_ever_and_keeps_the_session_alive(stage: Stage) -> None:
    stage.prompt("p.0", 160)
    stage.play(count=-1)
    for _ in range(30):
        stage.bench.clock.advance(5)
    assert len(stage.bench.registry) == 1
    stage.caller_heard()
    assert len(stage.run(0.1)) == 10
    stage.stop()
    assert stage.run(0.1) == []
    stage.bench.clock.advance(61)
    assert len(stage.bench.registry) == 0


def test_nothing_is_played_any_more_when_the_session_is_over(stage: Stage) -> None:
    before = open_files()
    stage.prompt("p.0", 160)
    stage.play(count=10**9)
    stage.run(0.05)
    assert open_files() == before + 1
    (session,) = stage.bench.registry
    stage.bench.registry.delete("c", "f", None, weak=False)
    assert session.ended
    stage.run(0.1)
    assert open_files() == before
    assert stage.bench.totals.nplrs_destroyed == 1
    assert not stage.bench.clock.getDelayedCalls()


def test_another_prompt_takes_the_place_of_the_one_that_plays(stage: Stage) -> None:
    stage.prompt("p.0", 8000)
    stage.prompt("q.8", 8000)
    stage.play()
    first = stage.run(0.05)
    stage.play("q", codecs="8")
    second = stage.run(0.05)
    assert {each.payload_type for each in first} == {0}
    assert {each.payload_type for each in second} == {8}
    assert second[0].marker
    totals = stage.bench.totals
    assert (totals.nplrs_created, totals.nplrs_destroyed) == (2, 1)


def test_a_prompt_that_cannot_be_played_ends_the_one_that_plays(stage: Stage) -> None:
    stage.prompt("p.0", 8000)
    stage.play()
    with pytest.raises(CommandError) as caught:
        stage.play("nosuch")
    assert caught.value.code == 60
    assert stage.run(0.05) == []


def test_a_count_of_zero_stops_and_needs_no_file(stage: Stage) -> None:
    stage.prompt("p.0", 8000)
    stage.play()
    assert done(stage.play("nosuch", count=0))
    assert stage.run(0.05) == []


def test_stopping_what_does_not_play_is_no_error(stage: Stage) -> None:
    assert done(stage.stop())


@pytest.mark.parametrize("codecs", ["", ",0", "abc", "8", "-1", "200", "8,abc,0"])
def test_without_a_file_for_any_codec_there_is_an_error(stage: Stage, codecs: str) -> None:
    stage.prompt("p.0", 800)
    with pytest.raises(CommandError) as caught:
        stage.play(codecs=codecs)
    assert caught.value.code == 60


@pytest.mark.parametrize("codecs", ["0", "8,0", "0,abc", "0,", "+0", "00", "101,0"])
def test_the_first_codec_that_can_be_played_is(stage: Stage, codecs: str) -> None:
    stage.prompt("p.0", 800)
    stage.prompt("p.101", 800)
    assert done(stage.play(codecs=codecs))
    assert {each.payload_type for each in stage.run(0.05)} == {0}


def test_a_file_of_a_codec_that_cannot_be_played_is_silence_and_mutes_nobody(stage: Stage) -> None:
    stage.prompt("p.101", 800)
    assert done(stage.play(codecs="101"))
    assert stage.run(0.05) == []
    assert stage.session.callee.rtp.plain


def test_an_empty_prompt_is_over_at_once_however_often_it_is_wanted(stage: Stage) -> None:
    stage.prompt("p.0", 79)
    stage.play(count=-1)
    assert stage.run(0.01) == []
    assert len(stage.bench.players) == 0


def test_the_sessions_codecs_must_be_known(stage: Stage) -> None:
    with pytest.raises(CommandError) as caught:
        stage.play(codecs=None, count=0)
    assert caught.value.code == 35


def test_a_prompt_starts_when_the_party_has_a_port_to_hear_from(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    content = stage.prompt("p.0", 400)
    stage.offer()
    assert done(stage.play())
    stage.run(0.5)
    stage.answer()
    heard = stage.run(0.2)
    assert b"".join(each.payload for each in heard) == content
    assert heard[0].when <= 0.52


def test_a_prompt_starts_when_the_partys_address_becomes_known(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    content = stage.prompt("p.0", 400)
    stage.offer(remote=None)
    stage.answer()
    stage.play()
    assert stage.run(0.3) == []
    stage.offer(remote=CALLER)
    heard = stage.run(0.2)
    assert b"".join(each.payload for each in heard) == content


def test_the_other_party_is_not_heard_while_a_prompt_plays_and_is_afterwards(
    stage: Stage,
) -> None:
    stage.prompt("p.0", 800)
    stage.play()
    stage.callee_says(rtp(1))
    assert stage.caller_heard() == []
    assert stage.session.callee.rtp.dropped == 1
    assert stage.bench.totals.npkts_discard == 1
    stage.run(0.3)
    stage.callee_says(rtp(2))
    assert [each.sequence for each in stage.caller_heard()] == [2]


def test_the_party_that_hears_a_prompt_is_heard_meanwhile(stage: Stage) -> None:
    stage.prompt("p.0", 800)
    stage.play()
    stage.bench.host.deliver(rtp(1), CALLER, ("127.0.0.1", 40002))
    assert [datagram for datagram, _ in stage.bench.host.sent(FACING_CALLEE)] == [rtp(1)]


def test_rtcp_passes_while_a_prompt_plays(stage: Stage) -> None:
    stage.prompt("p.0", 800)
    stage.play()
    report = b"\x80\xc8\x00\x06" + bytes(24)
    stage.bench.host.deliver(report, ("127.0.0.1", 6001), ("127.0.0.1", 40001))
    assert [datagram for datagram, _ in stage.bench.host.sent(("127.0.0.1", 40003))] == [report]


def test_the_kernel_may_carry_neither_direction_that_a_prompt_touches(stage: Stage) -> None:
    stage.prompt("p.0", 800)
    callee = stage.session.callee.rtp
    assert callee.plain
    stage.play()
    assert not callee.plain
    stage.run(0.3)
    assert callee.plain


def test_a_prompt_goes_on_where_the_party_goes(stage: Stage) -> None:
    stage.prompt("p.0", 8000)
    stage.play()
    stage.run(0.05)
    stage.offer(remote=("127.0.0.1", 5500))
    stage.bench.clock.advance(0.01)
    sent = stage.bench.host.sent(("127.0.0.1", 40002))
    assert {to for _, to in sent} == {("127.0.0.1", 5500)}


def test_short_packets_leave_twice_where_relayed_ones_do(tmp_path: Path) -> None:
    stage = Stage(tmp_path, send_twice=True).call()
    stage.prompt("p.0", 160)
    stage.play()
    heard = stage.run(0.1)
    assert [each.sequence - heard[0].sequence & 0xFFFF for each in heard] == [0, 0, 1, 1]
    assert stage.bench.totals.npkts_played == 2


def test_lateness_does_not_add_up(stage: Stage) -> None:
    stage.prompt("p.0", 80 * 200)
    stage.play()
    count = 0
    for _ in range(50):
        stage.bench.clock.advance(0.0137)
        count += len(stage.caller_heard())
    assert count == int(50 * 0.0137 / 0.01) + 1


def test_after_a_long_standstill_there_is_no_burst(stage: Stage) -> None:
    stage.prompt("p.0", 80 * 2000)
    stage.play()
    stage.run(0.05)
    stage.bench.clock.advance(5)
    stage.bench.clock.advance(0.01)
    assert len(stage.caller_heard()) <= 3


def test_prompts_are_in_the_timeline(stage: Stage) -> None:
    stage.prompt("p.0", 80)
    stage.play()
    stage.run(0.05)
    told = [entry.text for entry in stage.session.timeline if entry.kind == "prompt"]
    assert told == ["caller: p.0 begins", "caller: p.0 ends"]
