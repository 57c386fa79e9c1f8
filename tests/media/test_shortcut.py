"""What is worked out for many packets at once is what each of them would have told."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.latch import latch_factory
from rtpproxy_tw.media.shortcut import NOTHING, Shortcut
from rtpproxy_tw.quality.analyzer import Analyzer
from rtpproxy_tw.session import SessionKey, Stream, new_session


@dataclass
class Packet:
    """The next one: what it does to the sender's counters, and how long after the last it comes."""

    numbers: int = 1
    ticks: int = 160
    payload_type: int = 0
    marker: bool = False
    ssrc: int = 7
    size: int = 172
    pause: float = 0.02


packets = st.builds(
    Packet,
    numbers=st.sampled_from([1, 1, 1, 1, 1, 2, 0, -1, -2, 3, 600, 65000]),
    ticks=st.sampled_from([160, 160, 160, 160, 160, 320, 0, -160, 5000, 1 << 31]),
    payload_type=st.sampled_from([0, 0, 0, 0, 8, 96]),
    marker=st.sampled_from([False, False, False, True]),
    ssrc=st.sampled_from([7, 7, 7, 7, 9]),
    size=st.sampled_from([172, 172, 172, 60]),
    pause=st.sampled_from([0.02, 0.02, 0.0, 0.021, 0.5]),
)

runs = st.lists(st.tuples(packets, st.integers(1, 12)), max_size=12)


class Sides:
    """The same packets, by the shortcut wherever it expects them, and one by one."""

    def __init__(self, sequence: int, timestamp: int) -> None:
        session = new_session(SessionKey("c", "f"), 0.0, 60.0, latch_factory("strict"))
        self.stream: Stream = session.caller.rtp
        self.stream.last_heard = 100.0
        self.short = self.stream.analyzer = Analyzer()
        self.long = Analyzer()
        # Neither port is used where nothing is received or sent.
        self.cut = Shortcut(None, None, ("", 0), len, 1e9)  # type: ignore[arg-type]
        self.sequence, self.timestamp = sequence, timestamp
        self.now = 100.0
        self.octets = self.count = self.by_shortcut = 0

    def hear(self, packet: Packet) -> None:
        """``packet`` comes."""
        self.sequence = self.sequence + packet.numbers & 0xFFFF
        self.timestamp = self.timestamp + packet.ticks & 0xFFFFFFFF
        self.now += packet.pause
        second = packet.payload_type | (0x80 if packet.marker else 0)
        datagram = bytes((0x80, second)) + self.sequence.to_bytes(2, "big")
        datagram += self.timestamp.to_bytes(4, "big") + packet.ssrc.to_bytes(4, "big")
        datagram += bytes(packet.size - len(datagram))
        self.count += 1
        self.octets += packet.size
        self.long.heard(datagram, self.now)
        header = int.from_bytes(datagram[:12], "big")
        cut, stream = self.cut, self.stream
        if header == cut.expected:
            cut.expected = header + cut.step
            cut.arrivals.append(self.now)
            cut.extra += packet.size - cut.size
            self.by_shortcut += 1
            return
        cut.fold(stream)
        self.short.heard(datagram, self.now)
        stream.accepted += 1
        stream.last_heard = self.now
        stream.octets += packet.size
        cut.expect(header, packet.size, self.short)


@given(runs, st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF))
def test_figures_are_the_same_whichever_way_packets_went(
    sent: list[tuple[Packet, int]], sequence: int, timestamp: int
) -> None:
    """Every counter, the jitter and what is remembered of numbers and time stamps."""
    sides = Sides(sequence, timestamp)
    for packet, times in sent:
        for _ in range(times):
            sides.hear(packet)
    sides.cut.fold(sides.stream)
    assert sides.short.snapshot() == sides.long.snapshot()
    for name in ("duplicates", "reordered", "runs", "lost", "jitter_mean", "ssrc_changes"):
        assert getattr(sides.short, name) == getattr(sides.long, name), name
    assert (sides.stream.accepted, sides.stream.octets) == (sides.count, sides.octets)


def test_all_but_the_first_packets_of_a_steady_stream_go_by_the_shortcut() -> None:
    """Two tell what to expect; after a wrap of the time stamp ten have to be looked at."""
    sides = Sides(65500, (1 << 32) - 160 * 60)
    for _ in range(100):
        sides.hear(Packet())
    assert sides.by_shortcut >= 100 - 2 - 1 - 10
    sides.cut.fold(sides.stream)
    assert sides.short.received == 100
    assert sides.short.lost == 0
    assert sides.stream.last_heard == sides.now
    assert round(sides.stream.longest_gap, 6) == 0.02


def test_what_keeps_no_time_is_not_expected() -> None:
    """A time stamp that stays tells nothing about the network, so each packet is looked at."""
    sides = Sides(1, 1)
    for _ in range(10):
        sides.hear(Packet(ticks=0))
    assert sides.by_shortcut == 0
    assert sides.cut.expected == NOTHING
