"""What a phone hears is counted as people would count it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from rtpproxy_tw.tools.hearing import IN_FLIGHT, Figures, Hearing, delay_of
from rtpproxy_tw.tools.speech import FRAME, Speaker

RELAY = ("127.0.0.1", 40000)
RELAY_RTCP = ("127.0.0.1", 40001)
SPEAKER = Speaker("caller", 440, ssrc=7, sequence=65_530, timestamp=0)


def a_hearing(sent: int) -> Hearing:
    """An ear for a speaker who has sent so many packets, 20 ms apart from time 100 on."""
    return Hearing(SPEAKER, RELAY, [100 + number * FRAME for number in range(sent)])


def hear(hearing: Hearing, numbers: Iterable[int], delay: float = 0.001) -> None:
    for number in numbers:
        hearing.heard(SPEAKER.packet(number), RELAY, 100 + number * FRAME + delay)


def final(hearing: Hearing) -> Figures:
    return hearing.figures(reports_sent=0, final=True)


def test_a_call_without_trouble_has_no_trouble_in_its_figures() -> None:
    hearing = a_hearing(50)
    hear(hearing, range(50))
    figures = final(hearing)
    assert (figures.sent, figures.arrived, figures.lost, figures.held_back) == (50, 50, 0, 0)
    assert (figures.garbled, figures.strangers, figures.duplicates, figures.reordered) == (0,) * 4
    assert figures.learned == pytest.approx(1)
    assert figures.jitter == pytest.approx(0, abs=1e-6)
    assert figures.delay is not None
    assert figures.delay == pytest.approx((1, 1, 1))


def test_what_was_sent_before_the_first_arrival_is_held_back_and_not_lost() -> None:
    hearing = a_hearing(20)
    hear(hearing, range(5, 20))
    figures = final(hearing)
    assert (figures.held_back, figures.lost, figures.arrived) == (5, 0, 15)
    assert figures.learned == pytest.approx(101)


def test_what_is_missing_afterwards_is_lost() -> None:
    hearing = a_hearing(20)
    hear(hearing, [5, 6, 9, 10, 11])
    figures = final(hearing)
    assert (figures.held_back, figures.lost, figures.arrived) == (5, 10, 5)
    assert figures.loss == pytest.approx(10 / 15)


def test_while_the_call_lasts_the_newest_packets_are_not_called_lost() -> None:
    hearing = a_hearing(20)
    hear(hearing, range(10))
    assert hearing.figures(reports_sent=0, final=False).lost == 0
    hearing.sent_at.append(0.0)
    assert hearing.figures(reports_sent=0, final=False).lost == 21 - IN_FLIGHT - 10


def test_a_gap_is_seen_at_once() -> None:
    hearing = a_hearing(6)
    hear(hearing, [0, 1, 2, 5])
    assert hearing.figures(reports_sent=0, final=False).lost == 2


def test_a_packet_that_comes_again_is_a_duplicate() -> None:
    hearing = a_hearing(3)
    hear(hearing, [0, 1, 1, 2])
    figures = final(hearing)
    assert (figures.arrived, figures.duplicates, figures.lost) == (3, 1, 0)


def test_a_packet_that_comes_late_is_out_of_order_and_not_lost() -> None:
    hearing = a_hearing(6)
    hear(hearing, [2, 4, 3, 1, 5])
    figures = final(hearing)
    assert (figures.arrived, figures.reordered, figures.lost, figures.held_back) == (5, 2, 0, 1)


def test_another_source_is_a_stranger_whatever_it_says() -> None:
    hearing = a_hearing(1)
    hearing.heard(SPEAKER.packet(0), ("127.0.0.1", 40002), 100)
    hearing.heard_report(SPEAKER.report(1, 0), RELAY)
    assert (final(hearing).arrived, final(hearing).strangers) == (0, 2)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"not RTP at all",
        SPEAKER.packet(0)[:-1],
        SPEAKER.packet(0)[:-1] + b"\0",
        SPEAKER.packet(1),
        Speaker("callee", 620, ssrc=7, sequence=65_530, timestamp=0).packet(0),
        Speaker("caller", 440, ssrc=8, sequence=65_530, timestamp=0).packet(0),
    ],
)
def test_what_the_other_phone_has_not_said_is_garbled(datagram: bytes) -> None:
    hearing = a_hearing(1)
    hearing.heard(datagram, RELAY, 100)
    assert (final(hearing).arrived, final(hearing).garbled) == (0, 1)


def test_reports_are_counted_and_known() -> None:
    hearing = a_hearing(1)
    hearing.heard_report(SPEAKER.report(1, 0), RELAY_RTCP)
    hearing.heard_report(b"what?", RELAY_RTCP)
    figures = hearing.figures(reports_sent=3, final=True)
    assert (figures.reports_sent, figures.reports_arrived, figures.garbled) == (3, 1, 1)


def test_after_the_end_everything_is_late() -> None:
    hearing = a_hearing(2)
    hear(hearing, [0])
    hearing.over = True
    hear(hearing, [1])
    hearing.heard_report(SPEAKER.report(1, 0), RELAY_RTCP)
    assert (final(hearing).arrived, final(hearing).late) == (1, 2)


def test_jitter_follows_the_filter_of_the_rfc() -> None:
    hearing = a_hearing(3)
    hear(hearing, [0], delay=0.001)
    hear(hearing, [1], delay=0.017)
    assert final(hearing).jitter == pytest.approx(1)
    hear(hearing, [2], delay=0.017)
    assert final(hearing).jitter == pytest.approx(15 / 16)


def test_nothing_heard_leaves_the_times_unknown() -> None:
    figures = final(a_hearing(10))
    assert (figures.arrived, figures.lost, figures.held_back) == (0, 0, 0)
    assert (figures.learned, figures.delay, figures.loss) == (None, None, 0)


def test_latency_is_told_by_median_99_in_100_and_slowest() -> None:
    assert delay_of([]) is None
    assert delay_of([n / 1000 for n in range(200, 0, -1)]) == pytest.approx((101, 199, 200))
