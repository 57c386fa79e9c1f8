"""What was heard before a restart can be asked for after it, and costs nothing while it happens."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from rtpproxy_tw.recording import former
from rtpproxy_tw.recording.former import FormerRings
from rtpproxy_tw.recording.trace import HeaderRings, Ring
from rtpproxy_tw.session import Session
from rtpproxy_tw.trace_succession import KEPT, TracesWhole
from tests.fakes import Bench

CALLER = ("10.0.0.1", 4000)


class Traced:
    """A relay that keeps the last second of its packets."""

    def __init__(self, seconds: float = 1.0, wall: float = 1e9) -> None:
        self.bench = Bench()
        self.calls: list[tuple[float, Callable[[], None]]] = []
        self.rings = HeaderRings(
            seconds=seconds,
            now=self.bench.clock.seconds,
            wall=lambda: wall + self.bench.clock.seconds(),
            local_host=lambda host: "127.0.0.1",
        )
        self.whole = TracesWhole(self.rings, lambda delay, call: self.calls.append((delay, call)))

    def session(self, call_id: str = "call") -> Session:
        """A session whose packets are kept."""
        line = f"U {call_id} 10.0.0.2 4000 tag".encode()
        self.bench.do(RtpproxyDialect(bridging=False).parse(line))
        session = next(each for each in self.bench.registry if each.key.call_id == call_id)
        self.rings.created(session)
        return session

    def hear(self, session: Session, *datagrams: bytes) -> None:
        """The callee sends these."""
        stream = session.callee.rtp
        for datagram in datagrams:
            for tap in stream.taps:
                tap.heard(stream, datagram, CALLER)

    def file(self, call_id: str = "call") -> bytes | None:
        """The capture of a call."""
        found = self.rings.pcap(call_id)
        return None if found is None else b"".join(found)


def hand_over(old: Traced, new: Traced, shift: float = 0.0) -> None:
    """From one to the other, up to the moment the other serves."""
    luggage = Luggage()
    value = old.whole.pack(luggage)
    if value is not None:
        copies = Luggage([os.dup(each) for each in luggage.descriptors])
        new.whole.unpack(value, copies, shift)


def test_the_trace_of_a_call_is_the_same_after_a_restart() -> None:
    old, new = Traced(), Traced()
    old.hear(old.session(), *(bytes([number]) * 200 for number in range(150)))
    before = old.file()
    hand_over(old, new)
    assert new.file() is None, "nothing is written while both stand still"
    old.whole.leave()
    assert new.file() == before
    assert new.file("another") is None


def test_what_is_heard_before_and_after_is_told_in_order() -> None:
    old, new = Traced(), Traced()
    old.hear(old.session(), b"before")
    hand_over(old, new)
    old.whole.leave()
    new.bench.clock.advance(0.5)
    new.hear(new.session(), b"after")
    found = new.file() or b""
    assert 0 < found.index(b"before") < found.index(b"after")


def test_on_another_clock_times_are_moved() -> None:
    old, new = Traced(), Traced(wall=1e9 - 500)
    old.hear(old.session(), b"octets")
    before = old.file()
    new.bench.clock.advance(500)
    hand_over(old, new, shift=500.0)
    old.whole.leave()
    assert new.file() == before


def test_where_nothing_is_traced_nothing_goes_over_or_is_kept() -> None:
    silent = Traced(seconds=0)
    hand_over(silent, Traced())
    silent.whole.leave()
    old, new = Traced(), Traced(seconds=0)
    hand_over(old, new)
    assert new.rings.former is None


def test_memory_is_given_back_after_a_while() -> None:
    old, new = Traced(), Traced()
    old.hear(old.session(), b"octets")
    hand_over(old, new)
    old.whole.leave()
    ((delay, call),) = new.calls
    assert delay == KEPT
    call()
    call()
    assert new.file() is None


def test_more_than_there_is_room_for_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = Traced(), Traced()
    for call_id in ("one", "two"):
        old.hear(old.session(call_id), b"octets")
    monkeypatch.setattr(former, "MOST_OCTETS", 12_000)
    hand_over(old, new)
    old.whole.leave()
    assert new.file("one")
    assert new.file("two") is None


def test_a_ring_of_a_flood_from_everywhere_is_left_out() -> None:
    ring = Ring(300)
    for number in range(300):
        ring.put(0, b"octets", ("10.0.0.1", 1000 + number), 1.0)
    file = os.memfd_create("test")
    assert not former.write(file, "call", ring)
    os.close(file)


@pytest.mark.parametrize("cut", range(0, 18000, 1500))
def test_a_file_that_is_cut_or_damaged_anywhere_does_no_harm(cut: int) -> None:
    old = Traced()
    session = old.session()
    old.hear(session, b"octets")
    ((call_id, ring),) = old.rings.all()
    file = os.memfd_create("test")
    assert former.write(file, call_id, ring)
    assert former.write(file, call_id, ring)
    whole = os.pread(file, 1 << 20, 0)
    os.pwrite(file, bytes(255 - octet for octet in whole[cut : cut + 40]), cut)
    assert len(list(FormerRings(os.dup(file), 0.0).packets("call"))) <= 2
    os.pwrite(file, whole, 0)
    os.ftruncate(file, min(cut, len(whole)))
    rings = FormerRings(file, 0.0)
    assert len(list(rings.packets("call"))) == cut // (len(whole) // 2)
    rings.close()
