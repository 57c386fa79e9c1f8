"""Re-packetisation: what it makes of streams, and that it never loses or invents a sample."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtpproxy_tw.media.codecs import GSM, PCMU, cut, packet_ticks, ticks
from rtpproxy_tw.media.resizer import Resizer
from rtpproxy_tw.rtp import Header, peek
from rtpproxy_tw.statistics import Totals

MS = 8
"""Octets and ticks of PCMU."""


def packet(
    sequence: int,
    timestamp: int,
    payload: bytes,
    *,
    payload_type: int = PCMU,
    ssrc: int = 7,
    marker: bool = False,
) -> bytes:
    second = payload_type | (0x80 if marker else 0)
    return (
        struct.pack("!BBHII", 0x80, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
        + payload
    )


def speech(count: int, ms: int = 20, first: int = 0, timestamp: int = 0) -> list[bytes]:
    """Packets in a row whose samples are all different within some seconds."""
    samples = bytes(n * 7 % 251 for n in range(count * ms * MS))
    return [
        packet(
            first + n,
            timestamp + n * ms * MS,
            samples[n * ms * MS : (n + 1) * ms * MS],
            marker=n == 0,
        )
        for n in range(count)
    ]


def read(datagram: bytes) -> tuple[Header, bytes]:
    header = peek(datagram)
    assert header is not None
    return header, datagram[header.start : header.end]


def through(resizer: Resizer, datagrams: Iterable[bytes], ms: int = 20) -> list[bytes]:
    """All that comes out when one datagram comes every ``ms`` milliseconds."""
    out = []
    for number, datagram in enumerate(datagrams):
        out += resizer.take(datagram, number * ms / 1000)
    return out


def told(datagrams: Iterable[bytes]) -> list[tuple[int, int, int, bool]]:
    """Sequence number, timestamp, octets, marker."""
    return [
        (header.sequence, header.timestamp, len(payload), header.marker)
        for header, payload in map(read, datagrams)
    ]


def test_two_packets_become_one() -> None:
    totals = Totals()
    out = through(Resizer(40, totals), speech(6, first=100))
    assert told(out) == [(100, 0, 320, True), (101, 320, 320, False), (102, 640, 320, False)]
    assert (totals.npkts_resizer_in, totals.npkts_resizer_out) == (6, 3)


def test_one_packet_becomes_three_and_only_the_first_keeps_the_marker() -> None:
    out = through(Resizer(20, Totals()), speech(2, ms=60, first=9))
    assert told(out) == [
        (9, 0, 160, True),
        *((9 + n, 160 * n, 160, False) for n in range(1, 6)),
    ]


def test_a_length_is_rounded_up_to_the_codecs_frame() -> None:
    assert told(through(Resizer(25, Totals()), speech(3))) == [
        (0, 0, 240, True),
        (1, 240, 240, False),
    ]
    frames = [packet(n, 160 * n, bytes([n]) * 33, payload_type=GSM) for n in range(4)]
    out = through(Resizer(30, Totals()), frames)
    assert told(out) == [(0, 0, 66, False), (1, 320, 66, False)]


def test_a_hole_ends_a_packet_and_its_timestamps_stay_right() -> None:
    packets = speech(6)
    del packets[1]
    out = through(Resizer(40, Totals()), packets)
    assert [(ts, size) for _, ts, size, _ in told(out)] == [(0, 160), (320, 320), (640, 320)]
    assert [number for number, *_ in told(out)] == [0, 1, 2]


def test_neighbours_that_changed_places_are_put_right() -> None:
    packets = speech(8)
    packets[2], packets[3] = packets[3], packets[2]
    out = through(Resizer(80, Totals()), packets)
    assert out == through(Resizer(80, Totals()), speech(8))


def test_what_comes_behind_what_was_sent_is_dropped_and_counted() -> None:
    totals = Totals()
    resizer = Resizer(20, totals)
    packets = speech(4)
    out = through(resizer, [packets[0], packets[1], packets[3], packets[2], packets[1]])
    assert [ts for _, ts, _, _ in told(out)] == [0, 160, 480]
    assert totals.npkts_resizer_discard == 2


def test_a_sender_that_starts_its_timestamps_anew_is_not_late() -> None:
    totals = Totals()
    packets = [*speech(4, timestamp=50_000), *speech(4, first=4, timestamp=0)]
    out = through(Resizer(40, totals), packets)
    assert [ts for _, ts, _, _ in told(out)] == [50_000, 50_320, 0, 320]
    assert totals.npkts_resizer_discard == 0


def test_a_sender_whose_timestamp_stands_still_loses_nothing() -> None:
    out = through(Resizer(20, Totals()), [packet(n, 5, bytes(160)) for n in range(5)])
    assert [number for number, *_ in told(out)] == [0, 1, 2, 3, 4]


def test_another_ssrc_pushes_out_what_waits_and_has_numbers_of_its_own() -> None:
    packets = [*speech(3), *(packet(900 + n, 7000 + 160 * n, bytes(160), ssrc=9) for n in range(2))]
    out = through(Resizer(40, Totals()), packets)
    assert told(out) == [
        (0, 0, 320, True),
        (1, 320, 160, False),
        (900, 7000, 320, False),
    ]
    assert [read(each)[0].ssrc for each in out] == [7, 7, 9]


def test_events_push_out_what_waits_and_are_numbered_on() -> None:
    event = packet(5, 800, b"\x01\x0a\x00\xa0", payload_type=101)
    out = through(Resizer(40, Totals()), [*speech(5), event, *speech(8, timestamp=0)[6:]])
    assert told(out)[:4] == [
        (0, 0, 320, True),
        (1, 320, 320, False),
        (2, 640, 160, False),
        (3, 800, 4, False),
    ]
    assert [number for number, *_ in told(out)] == [0, 1, 2, 3, 4]


def test_streams_that_cannot_be_cut_pass_untouched_with_their_losses() -> None:
    packets = [packet(n, 960 * n, bytes(n), payload_type=111) for n in (3, 4, 7, 6, 6, 9)]
    assert through(Resizer(20, Totals()), packets) == packets


@pytest.mark.parametrize("datagram", [b"", b"x", b"\x80\xc8" + bytes(30), b"garbage garbage"])
def test_what_is_no_rtp_passes_untouched(datagram: bytes) -> None:
    totals = Totals()
    assert Resizer(20, totals).take(datagram, 0.0) == [datagram]
    assert totals.npkts_resizer_in == 0


def test_a_first_packet_does_not_wait_for_ever() -> None:
    resizer = Resizer(60, Totals())
    first, _, third, *_ = speech(4)
    assert resizer.take(first, 0.0) == []
    assert told(resizer.take(third, 0.12)) == [(0, 0, 160, True)]


def test_switched_off_it_pushes_out_what_waits_and_keeps_the_numbers_in_step() -> None:
    resizer = Resizer(40, Totals())
    packets = speech(9, first=10)
    before = through(resizer, packets[:5])
    resizer.packet_ms = 0
    after = [each for packet in packets[5:] for each in resizer.take(packet, 1.0)]
    assert [number for number, *_ in told(before + after)] == [10, 11, 12, 13, 14, 15, 16]
    assert not resizer.idle
    fresh = packet(3, 0, bytes(160), ssrc=99)
    assert resizer.take(fresh, 2.0) == [fresh]
    assert resizer.idle


def test_switched_off_without_having_changed_a_number_it_is_idle_at_once() -> None:
    resizer = Resizer(20, Totals())
    through(resizer, speech(4))
    resizer.packet_ms = 0
    following = speech(5)[4]
    assert resizer.take(following, 1.0) == [following]
    assert resizer.idle


def test_a_header_extension_and_csrcs_stay_and_padding_goes() -> None:
    extras = struct.pack("!I", 0xABCD) + struct.pack("!HHI", 0xBEDE, 1, 0x12345678)
    payload = bytes(range(160))
    datagram = struct.pack("!BBHII", 0xB1, 0, 1, 0, 7) + extras + payload + b"\x00\x00\x00\x04"
    (out,) = Resizer(20, Totals()).take(datagram, 0.0)
    assert out == struct.pack("!BBHII", 0x91, 0, 1, 0, 7) + extras + payload


def test_a_comfort_noise_frame_ends_a_packet_of_g729() -> None:
    packets = [
        packet(0, 0, bytes(10) + b"no", payload_type=18),
        packet(1, 160, bytes(20), payload_type=18),
        packet(2, 320, bytes(20), payload_type=18),
    ]
    out = through(Resizer(40, Totals()), packets)
    assert told(out) == [(0, 0, 12, False), (1, 160, 40, False)]


@pytest.mark.parametrize(
    "payload_type, payload, lasts",
    [
        (0, b"", None),
        (0, bytes(7), 7),
        (3, bytes(66), 320),
        (3, bytes(65), None),
        (18, bytes(12), 160),
        (18, bytes(13), None),
        (4, bytes(24) + b"\x01" + bytes(19) + b"\x02" + bytes(3), 720),
        (4, bytes(23), None),
        (4, b"\x03" * 24, None),
        (96, bytes(10), None),
    ],
)
def test_the_length_of_a_payload_is_that_of_its_frames(
    payload_type: int, payload: bytes, lasts: int | None
) -> None:
    assert ticks(payload_type, payload) == lasts


def test_a_payload_is_cut_between_frames() -> None:
    mixed = b"\x01" + bytes(19) + bytes(24)
    assert cut(4, mixed, 240) == 20
    assert cut(4, mixed, 479) == 20
    assert cut(4, mixed, 900) == 44
    assert packet_ticks(4, 31) == 480


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[bytes, float]]:
    """Speech in packets of any lengths, with losses, repeats, overtaking and a wrap of both."""
    lengths = draw(st.lists(st.sampled_from([10, 20, 30, 60]), min_size=1, max_size=40))
    sequence = draw(st.integers(65_500, 65_540))
    timestamp = draw(st.integers(2**32 - 9000, 2**32 + 100))
    arrivals = []
    at = 0
    for number, ms in enumerate(lengths):
        samples = bytes((at + n) * 7 % 251 for n in range(ms * MS))
        datagram = packet(sequence + number, timestamp + at, samples)
        when = at / 8000 + draw(st.sampled_from([0, 0, 0, 0.015, 0.05]))
        for copy in range(draw(st.sampled_from([0, 1, 1, 1, 1, 1, 2]))):
            arrivals.append((when + copy * 0.01, datagram))
        at += ms * MS
    arrivals.sort(key=lambda arrival: arrival[0])
    return [(datagram, when) for when, datagram in arrivals]


@settings(deadline=None)
@given(streams(), st.sampled_from([10, 20, 40, 100, 999]))
def test_no_sample_is_lost_doubled_or_out_of_order(
    arrivals: list[tuple[bytes, float]], ms: int
) -> None:
    totals = Totals()
    resizer = Resizer(ms, totals)
    out: list[bytes] = []
    taken: dict[int, int] = {}
    for datagram, when in arrivals:
        dropped = totals.npkts_resizer_discard
        out += resizer.take(datagram, when)
        if totals.npkts_resizer_discard == dropped:
            header, payload = read(datagram)
            for n, sample in enumerate(payload):
                place = header.timestamp + n & 0xFFFFFFFF
                assert place not in taken, "a repeated packet was taken"
                taken[place] = sample
    resizer.packet_ms = 0
    out += resizer.take(packet(0, 0, b"end", payload_type=101, ssrc=1), 1e6)[:-1]
    got: list[tuple[int, int]] = []
    numbers = []
    for header, payload in map(read, out):
        assert len(payload) <= max(ms, 10) * MS
        numbers.append(header.sequence)
        got += [(header.timestamp + n & 0xFFFFFFFF, sample) for n, sample in enumerate(payload)]
    assert numbers == [numbers[0] + n & 0xFFFF for n in range(len(numbers))]
    start = got[0][0] if got else 0
    order = [place - start + 2**31 & 0xFFFFFFFF for place, _ in got]
    assert order == sorted(set(order))
    assert dict(got) == taken


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=30), st.sampled_from([0, 10, 20, 999]))
def test_nothing_a_stranger_sends_raises_or_piles_up(datagrams: list[bytes], ms: int) -> None:
    resizer = Resizer(ms, Totals())
    for number, tail in enumerate(datagrams):
        resizer.take(tail, number / 100)
        resizer.take(b"\x80\x00" + tail, number / 100)
        assert resizer._ticks <= packet_ticks(0, ms or 1)  # type: ignore[operator]  # PCMU has one
