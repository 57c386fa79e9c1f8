"""A hundred calls at a time through a bad network: every party is heard, whole and on its side."""

from __future__ import annotations

import random
import wave
from array import array
from dataclasses import dataclass
from pathlib import Path

import pytest

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.recording.recorders import FileRecorders
from rtpproxy_tw.recording.spool import Writer
from rtpproxy_tw.session import Ending, Session, Stream
from rtpproxy_tw.tools.extractaudio import main
from tests.recording.memory import a_session, hear
from tests.recording.talking import EPOCH, Talker, disturbed, power

CALLS = 100
PACKETS = 150
"""Three seconds of each party."""

RATE = 8000


@dataclass(slots=True)
class Call:
    """A session, and what both parties say in it."""

    session: Session
    caller: Talker
    callee: Talker


def a_call(number: int, chance: random.Random) -> Call:
    """Each party of each call has a tone and a count of its own."""

    def talker(hertz: float, start: float) -> Talker:
        sequence, timestamp = chance.randrange(2**16), chance.randrange(2**32)
        return Talker(hertz, start, sequence, timestamp, chance.randrange(2**32))

    session = a_session(f"call-{number}")
    return Call(session, talker(300 + 10 * number, 0.0), talker(1500 + 10 * number, 0.5))


@pytest.mark.parametrize("pcap", [False, True], ids=["ad-hoc", "pcap"])
def test_a_hundred_calls_are_heard(tmp_path: Path, pcap: bool) -> None:
    chance, now = random.Random(7), [EPOCH]
    writer = Writer()
    recorders = FileRecorders(
        directory=str(tmp_path),
        spool=None,
        pcap=pcap,
        rtcp=True,
        everything=True,
        writer=writer,
        wall=lambda: now[0],
        local_host=lambda host: host,
    )
    calls = [a_call(number, chance) for number in range(CALLS)]
    for call in calls:
        recorders.created(call.session)
    for when, datagram, stream, source in traffic(calls, chance):
        now[0] = when
        hear(stream, datagram, source)
    for call in calls:
        recorders.ended(call.session, Ending.DELETED)
    assert writer.stop()
    for number, call in enumerate(calls):
        out = tmp_path / f"{number}.wav"
        assert main(["-s", str(tmp_path / f"call-{number}=from"), str(out)]) == 0
        left, right = sides(out)
        assert_heard(right, call.caller)
        assert_heard(left, call.callee)


def traffic(calls: list[Call], chance: random.Random) -> list[tuple[float, bytes, Stream, Address]]:
    """What arrives at the relay, of all calls, with 5 % out of order and 2 % lost."""
    rows = []
    for call in calls:
        for leg, talker, host in (
            (call.session.caller, call.caller, "192.0.2.1"),
            (call.session.callee, call.callee, "198.51.100.2"),
        ):
            sent = talker.send(PACKETS)
            # Were the first or the last one lost, nobody could say how long it was.
            inner = disturbed(sent[1:-1], chance, lost=0.02, late=0.05)
            heard = sorted([sent[0], *inner, sent[-1]])
            rows += [(when, data, leg.rtp, (host, 5004)) for when, data in heard]
    return sorted(rows, key=lambda row: row[0])


def sides(path: Path) -> tuple[array[int], array[int]]:
    """Left, right."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, RATE)
        samples = array("h", file.readframes(file.getnframes()))
    return samples[0::2], samples[1::2]


def assert_heard(samples: array[int], talker: Talker) -> None:
    """Its tone, and nothing else, at its time, and as long as it spoke."""
    sounding = [index for index, sample in enumerate(samples) if sample]
    begin, end = sounding[0], sounding[-1] + 1
    assert begin / RATE == pytest.approx(talker.start, abs=0.02)
    assert (end - begin) / RATE == pytest.approx(PACKETS * 0.02, abs=0.02)
    middle = samples[begin + 800 : begin + 4800]
    # Of the power, the share of what was lost is missing, and its edges click.
    assert power(middle, talker.hertz, RATE) > 0.7
