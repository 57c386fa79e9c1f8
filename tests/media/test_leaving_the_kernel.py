"""Calls leave the fast path for prompts, re-packetisation and keys, and come back afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtpproxy_tw.commands import (
    CatchDigits,
    MediaOptions,
    NotifyTarget,
    Number,
    Play,
    StopPlay,
    Update,
)
from rtpproxy_tw.media.player import Players
from rtpproxy_tw.media.prompt_files import PromptDirectories
from rtpproxy_tw.media.prompts import Prompts
from tests.contracts import rtp
from tests.kernel.fake import Fate
from tests.media.test_fastpath import CALLER, TO_CALLER_LEG, Carried, F

RETRY = 60
"""Packets, 20 ms each, until a stream is considered again; some more."""


@pytest.fixture
def bench(tmp_path: Path) -> Carried:
    """A call that is carried, and a prompt."""
    (tmp_path / "p.0").write_bytes(bytes(1600))
    made = Carried()
    prompts = Prompts(PromptDirectories([str(tmp_path)]), made.reader)
    assert isinstance(made.players, Players)
    made.players._prompts = prompts
    made.notifier.allowed, made.notifier.enabled = ("unix:/n",), True
    made.talk(2)
    assert made.carried
    return made


def heard_by_caller(bench: Carried) -> list[bytes]:
    """Payloads sent from the caller's leg through its socket."""
    sent = bench.host.sent(TO_CALLER_LEG)
    assert all(to == CALLER for _, to in sent)
    return [datagram[12:] for datagram, _ in sent]


def test_a_prompt_takes_a_call_out_and_its_end_lets_it_back(bench: Carried) -> None:
    heard_by_caller(bench)
    assert bench.do(Play("c", "p", "0", "f", "t")) == Number(0)
    assert not bench.carried
    fates = bench.talk(8)
    assert set(fates) == {Fate.UP}
    assert not bench.carried
    prompt = heard_by_caller(bench)
    assert set(prompt) == {bytes(80)}
    bench.talk(RETRY)
    assert bench.carried
    assert bench.talk() == [Fate.RELAYED] * 2


def test_stopping_a_prompt_lets_the_call_back(bench: Carried) -> None:
    bench.do(Play("c", "p", "0", "f", "t", -1))
    bench.talk(RETRY)
    assert not bench.carried
    bench.do(StopPlay("c", "f", "t"))
    bench.talk(RETRY)
    assert bench.carried


def test_repacketisation_keeps_a_call_out_until_it_is_switched_off(bench: Carried) -> None:
    bench.do(Update("c", "f", "t", F, MediaOptions(packet_ms=40)))
    bench.talk(RETRY)
    assert not bench.carried
    # As there were holes between all packets, none was joined and all kept their numbers.
    bench.do(Update("c", "f", "t", F))
    bench.talk(RETRY)
    assert bench.carried


def test_a_call_stays_out_while_its_numbers_have_to_be_kept_in_step(bench: Carried) -> None:
    bench.do(Update("c", "f", "t", F, MediaOptions(packet_ms=40)))
    for sequence in range(3, 7):
        bench.arrive(rtp(sequence, 1, bytes(160)))
    bench.do(Update("c", "f", "t", F))
    bench.talk(RETRY)
    assert not bench.carried


def test_a_watch_for_keys_keeps_a_call_out(bench: Carried) -> None:
    watch = CatchDigits(b"D")
    target = NotifyTarget("unix:/n", b"T")
    bench.do(Update("c", "f", "t", F, MediaOptions(), target, (watch,)))
    assert not bench.carried
    bench.talk(RETRY)
    assert not bench.carried
