"""z and M3 on a whole relay of fakes: commands in, packets in, packets out."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtpproxy_tw.commands import (
    CatchDigits,
    MediaOptions,
    NotifyTarget,
    Query,
    Remote,
    Update,
    WithResults,
)
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from rtpproxy_tw.control.subcommands import sub_command
from rtpproxy_tw.errors import CommandError
from rtpproxy_tw.session import NotifySocket
from tests.fakes import Bench
from tests.media.playing import CALLER, FACING_CALLEE, FACING_CALLER, Stage
from tests.media.test_dtmf import press
from tests.media.test_resizer import speech, told


def caller_says(stage: Stage, datagrams: list[bytes]) -> list[bytes]:
    """What the callee hears of it, at 20 ms a packet."""
    for datagram in datagrams:
        stage.bench.host.deliver(datagram, CALLER, FACING_CALLER)
        stage.bench.clock.advance(0.02)
    return [datagram for datagram, _ in stage.bench.host.sent(FACING_CALLEE)]


def test_z_changes_what_the_named_party_sends_and_nothing_else(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.offer(packet_ms=40)
    stage.answer()
    out = caller_says(stage, speech(4))
    assert [size for _, _, size, _ in told(out)] == [320, 320]
    assert stage.session.caller.rtp.relayed == 2
    assert stage.session.caller.rtp.accepted == 4
    assert stage.session.callee.rtp.plain
    assert not stage.session.caller.rtp.plain


def test_an_offer_without_z_switches_it_off(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.offer(packet_ms=20)
    stage.answer()
    caller_says(stage, speech(2))
    stage.offer()
    assert told(caller_says(stage, speech(5, first=2, timestamp=320)[1:]))[0][0] == 3
    assert stage.session.caller.rtp.plain


def test_an_offer_without_z_before_any_packet_leaves_nothing_behind(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.offer(packet_ms=40)
    stage.answer()
    stage.offer()
    (first,) = speech(1)
    assert caller_says(stage, [first]) == [first]
    assert stage.session.caller.rtp.plain


def test_the_counters_are_the_originals(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.offer(packet_ms=40)
    stage.answer()
    caller_says(stage, [*speech(4), *speech(1)])
    totals = stage.bench.totals
    assert (totals.npkts_rcvd, totals.npkts_relayed, totals.npkts_discard) == (5, 2, 0)
    assert totals.npkts_resizer_in == 5
    assert totals.npkts_resizer_out == 2
    assert totals.npkts_resizer_discard == 1


NOTIFY = "unix:/n"
CAUGHT = CatchDigits(b"Dtag")


def update(*subs: CatchDigits, notify: bool = True) -> Update:
    target = NotifyTarget(NOTIFY, b"T") if notify else None
    return Update("c", "f", "t", Remote(CALLER), MediaOptions(), target, subs)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A call whose commands may name a notification socket."""
    return Stage(tmp_path, notify=[NOTIFY])


def test_keys_of_the_named_party_are_told_and_pass(stage: Stage) -> None:
    assert stage.bench.do(update(CAUGHT)) == WithResults(
        stage.bench.do(update(CAUGHT)).main,  # type: ignore[union-attr]  # it has results
        (0,),
    )
    stage.answer()
    out = caller_says(stage, press(5, 1000))
    assert out == press(5, 1000)
    assert stage.bench.notifier.told == [(NotifySocket("unix", NOTIFY), b"Dtag 5 10 480 0")]


def test_hidden_keys_do_not_reach_the_other_party_and_speech_does(stage: Stage) -> None:
    stage.bench.do(update(CatchDigits(b"Dtag", hide=True)))
    stage.answer()
    out = caller_says(stage, [*speech(2), *press(5, 1000)])
    assert out == speech(2)
    assert len(stage.bench.notifier.told) == 1
    assert stage.session.caller.rtp.dropped == len(press(5, 1000))


def test_catching_again_replaces_tag_payload_type_and_hiding(stage: Stage) -> None:
    stage.bench.do(update(CatchDigits(b"one", 96, hide=True)))
    stage.answer()
    stage.bench.do(update(CatchDigits(b"two")))
    assert caller_says(stage, press(5, 1000)) == press(5, 1000)
    assert [line for _, line in stage.bench.notifier.told] == [b"two 5 10 480 0"]
    assert len(stage.session.caller.rtp.taps) == 1


def test_keys_are_told_to_the_socket_that_was_named_with_them(stage: Stage) -> None:
    stage.bench.do(update(CAUGHT))
    stage.answer()
    stage.bench.do(update(notify=False))
    caller_says(stage, press(5, 1000))
    assert len(stage.bench.notifier.told) == 1


def test_without_a_socket_or_with_bad_arguments_the_sub_command_fails_alone(stage: Stage) -> None:
    for command in (update(CAUGHT, notify=False), update(CatchDigits(None))):
        reply = stage.bench.do(command)
        assert isinstance(reply, WithResults)
        assert reply.results == (-1,)


def test_keys_can_be_caught_from_a_query(stage: Stage) -> None:
    stage.bench.do(update())
    stage.answer()
    stage.bench.do(Query("c", "f", "t", subs=(CAUGHT,)))
    assert not stage.session.caller.rtp.plain
    caller_says(stage, press(5, 1000))
    assert len(stage.bench.notifier.told) == 1


@pytest.mark.parametrize(
    "words, wanted",
    [
        (b"M3:1 tag", CatchDigits(b"tag")),
        (b"m3:1 a%20b 96", CatchDigits(b"a b", 96)),
        (b"M03:1 tag 101 H", CatchDigits(b"tag", 101, hide=True)),
        (b"M3:1 tag 127 h", CatchDigits(b"tag", 127, hide=True)),
        *(
            (b"M3:1" + rest, CatchDigits(None))
            for rest in (b"", b" t 128", b" t -1", b" t x", b" t 1 x", b" t 1 h h", b" %zz")
        ),
    ],
)
def test_the_forms_of_the_sub_command(words: bytes, wanted: CatchDigits) -> None:
    assert sub_command(words.split(), both_tags=False, bridging=False) == wanted


@pytest.mark.parametrize("word", ["M3", "M3:0", "M3:2", "M9:1", "M3:1:", "M3:x", "M3:1x", "M:1"])
def test_other_modules_are_unknown(word: str) -> None:
    with pytest.raises(CommandError) as caught:
        RtpproxyDialect().parse(f"U c 127.0.0.1 5000 f && {word} tag".encode())
    assert caught.value.code == 3


def test_a_relay_of_fakes_has_no_prompts_unless_told() -> None:
    assert len(Bench().players) == 0
