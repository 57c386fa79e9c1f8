"""Calls leave the fast path for prompts, re-packetisation and keys, and come back afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from zope.interface import implementer

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.commands import (
    CatchDigits,
    Delete,
    MediaOptions,
    NotifyTarget,
    Number,
    Play,
    StopPlay,
    Update,
)
from rtpproxy_tw.interfaces import IPatientTap, ITap
from rtpproxy_tw.media.fastpath import Offloader
from rtpproxy_tw.media.player import Players
from rtpproxy_tw.media.prompt_files import PromptDirectories
from rtpproxy_tw.media.prompts import Prompts
from rtpproxy_tw.session import Stream
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


@implementer(IPatientTap)
class Listener:
    """A tap that can wait. ``heard_at`` are times and datagrams."""

    def __init__(self, arrival: Callable[[], float]) -> None:
        self.heard_at: list[tuple[float, bytes]] = []
        self.gone = 0
        self._arrival = arrival

    def heard(self, stream: Stream, datagram: bytes, source: Address) -> None:
        """See ITap."""
        self.heard_at.append((self._arrival(), datagram))

    def missed(self, stream: Stream, count: int) -> None:
        """See IPatientTap."""
        self.gone += count


@implementer(ITap)
class Impatient:
    """A tap that wants packets at once."""

    def heard(self, stream: Stream, datagram: bytes, source: Address) -> None:
        """See ITap."""


def listened_to(bench: Carried) -> Listener:
    """What the caller sends is listened to from now on."""
    assert isinstance(bench.fast_path, Offloader)
    made = Listener(bench.fast_path._arrival)
    bench.registry.release(bench.session)
    bench.session.caller.rtp.taps = (made,)
    return made


def test_who_can_wait_hears_a_carried_call_in_order_and_when_it_came(bench: Carried) -> None:
    tap = listened_to(bench)
    began, first = bench.clock.seconds(), bench.sequence
    fates = bench.talk(10)
    assert bench.carried
    assert Fate.RELAYED in fates
    bench.host.deliver(rtp(bench.sequence + 1, 1), CALLER, TO_CALLER_LEG)
    assert [datagram for _, datagram in tap.heard_at] == [
        rtp(first + number, 1) for number in range(1, 12)
    ]
    times = [0.02 * number for number in range(1, 11)] + [0.2]
    assert [when - began for when, _ in tap.heard_at] == pytest.approx(times, abs=1e-6)


def test_who_listens_to_a_carried_call_has_heard_all_when_it_ends(bench: Carried) -> None:
    tap = listened_to(bench)
    bench.talk(10)
    bench.do(Delete("c", "f", "t"))
    assert len(tap.heard_at) == 10


def test_copies_that_could_not_be_made_are_told(bench: Carried) -> None:
    tap = listened_to(bench)
    bench.talk(10)
    for it in bench.path._flows.values():
        it.sample = replace(it.sample, tap_lost=3)
    bench.do(Delete("c", "f", "t"))
    assert tap.gone == 3


def test_a_call_stays_out_for_who_cannot_wait(bench: Carried) -> None:
    bench.registry.release(bench.session)
    bench.session.caller.rtp.taps = (Impatient(),)
    bench.talk(RETRY)
    assert not bench.carried
