"""What the demo shows and says fits a terminal and is true of the call."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import pytest

from rtpproxy_tw.tools import demo_screen
from rtpproxy_tw.tools.control_client import read_url
from rtpproxy_tw.tools.demo_advice import advice
from rtpproxy_tw.tools.demo_call import Party, Report
from rtpproxy_tw.tools.demo_screen import WIDTH, Live, Plain, block, line, parties, screen_for
from rtpproxy_tw.tools.demo_verdict import judge
from rtpproxy_tw.tools.hearing import Delay, Figures

FINE = Figures(
    sent=500,
    arrived=495,
    held_back=5,
    learned=101.4,
    jitter=0.123,
    delay=Delay(0.21, 1.04, 12.34),
    reports_sent=10,
    reports_arrived=10,
)
DEAF = Figures(sent=500, reports_sent=10)
GOOD = Report(
    url="unix:/run/rtpproxy.sock",
    seconds=10,
    elapsed=10,
    parties=(
        Party("caller", ("192.168.1.20", 4000), ("127.0.0.1", 50000), ("127.0.0.1", 40002)),
        Party("callee", ("10.0.0.7", 4000), ("127.0.0.1", 50002), ("127.0.0.1", 40000)),
    ),
    to_callee=FINE,
    to_caller=FINE,
    queries=("60 496 496 991 1", "60 496 496 991 1"),
)


def test_a_good_call_is_called_good_in_figures() -> None:
    verdict = judge(GOOD)
    assert verdict.good
    assert verdict.text == (
        "Both parties hear each other. From when the relay had learned both phones behind their"
        " NATs (101 ms), 495 of 495 packets arrived one way and 495 of 495 the other, half of"
        " them within 0.21 ms and 99 in 100 within 1.04 ms; jitter 0.12 ms."
    )


def test_a_call_with_slow_packets_is_good_but_said_to_be_slow() -> None:
    slow = replace(FINE, delay=Delay(0.3, 776, 856))
    verdict = judge(replace(GOOD, to_caller=slow))
    assert verdict.good
    assert verdict.text.endswith("busy?")


def test_a_relay_that_believes_at_once_is_said_to() -> None:
    trusted = replace(FINE, arrived=500, held_back=0)
    verdict = judge(replace(GOOD, to_callee=trusted, to_caller=trusted))
    assert "From the very first one, 500 of 500 packets arrived" in verdict.text


@pytest.mark.parametrize(
    "to_callee, to_caller, told",
    [
        (DEAF, DEAF, "Neither party hears the other. "),
        (FINE, DEAF, "One-way audio: the caller hears nothing. "),
        (DEAF, FINE, "One-way audio: the callee hears nothing. "),
    ],
)
def test_whoever_hears_nothing_is_named(to_callee: Figures, to_caller: Figures, told: str) -> None:
    verdict = judge(replace(GOOD, to_callee=to_callee, to_caller=to_caller))
    assert not verdict.good
    assert verdict.text.startswith(told)


@pytest.mark.parametrize("queries", [(), ("60 0 496 0 0", "60 496 0 0 0")])
def test_packets_that_the_relay_never_took_are_told_apart(queries: tuple[str, ...]) -> None:
    verdict = judge(replace(GOOD, to_callee=DEAF, queries=queries))
    assert "took none of the caller's 500 packets: they do not get to 127.0.0.1 port 40002" in (
        verdict.text
    )


def test_packets_that_the_relay_took_but_that_never_arrived_are_told_apart() -> None:
    verdict = judge(replace(GOOD, to_callee=DEAF))
    assert "The relay took 496 of the caller's 500 packets, but none of them" in verdict.text


def test_packets_from_a_wrong_address_only_are_told_apart() -> None:
    verdict = judge(replace(GOOD, to_callee=replace(DEAF, strangers=495)))
    assert "495 packets reached the callee from another address" in verdict.text
    assert "took" not in verdict.text


@pytest.mark.parametrize(
    "fault, told",
    [
        (replace(FINE, arrived=396, lost=99), "99 of 495 packets (20.0%) from the callee"),
        (replace(FINE, garbled=3), "3 packets to the caller are not what the callee sent"),
        (replace(FINE, strangers=2), "2 packets reached the caller from another address"),
        (replace(FINE, late=7), "7 packets reached the caller after the call had been deleted"),
    ],
)
def test_what_is_not_well_is_said(fault: Figures, told: str) -> None:
    verdict = judge(replace(GOOD, to_caller=fault))
    assert not verdict.good
    assert told in verdict.text


def test_loss_that_nobody_hears_does_not_spoil_a_call() -> None:
    verdict = judge(replace(GOOD, to_caller=replace(FINE, arrived=492, lost=3)))
    assert verdict.good
    assert "492 of 495" in verdict.text


@pytest.mark.parametrize("elapsed", [0.0, 0.1, 9.99, 10.0, 11.0])
@pytest.mark.parametrize("figures", [Figures(), DEAF, FINE])
def test_nothing_shown_is_wider_than_a_terminal(elapsed: float, figures: Figures) -> None:
    report = replace(GOOD, elapsed=elapsed, to_callee=figures, to_caller=figures)
    shown = [*block(report), line(report), *parties(report)]
    assert max(len(text) for text in shown) <= WIDTH
    assert all(text.isascii() for text in shown)


def test_the_longest_call_fits_too() -> None:
    figures = Figures(
        sent=60_000, arrived=59_000, lost=1000, held_back=500, delay=Delay(1234.56, 2345.67, 3456.7)
    )
    report = replace(GOOD, seconds=1200, elapsed=1200, to_callee=figures, to_caller=figures)
    assert max(len(text) for text in [*block(report), line(report)]) <= WIDTH


def test_the_bar_grows() -> None:
    bars = [block(replace(GOOD, elapsed=elapsed))[0] for elapsed in (0, 5, 10)]
    assert [text.count("#") for text in bars] == [0, 25, 50]
    assert bars[1].endswith(" 50%  5.0 of 10 s")


def test_the_pretence_is_shown() -> None:
    assert parties(GOOD) == [
        "caller  says 192.168.1.20:4000, sends from 127.0.0.1:50000 to 127.0.0.1:40002",
        "callee  says 10.0.0.7:4000,     sends from 127.0.0.1:50002 to 127.0.0.1:40000",
    ]


def test_without_a_terminal_there_is_a_line_each_second_and_a_table() -> None:
    out = io.StringIO()
    screen = screen_for(out, plain=False)
    assert isinstance(screen, Plain)
    for tenth in range(25):
        screen.show(replace(GOOD, elapsed=tenth / 10))
    assert len(out.getvalue().splitlines()) == 2
    screen.finish(GOOD)
    assert "caller -> callee" in out.getvalue()
    assert "\x1b" not in out.getvalue()


class Terminal(io.StringIO):
    """A terminal that remembers what was written."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "term, lines, plain, kind",
    [
        ("xterm", 24, False, Live),
        ("xterm", 24, True, Plain),
        ("xterm", len(block(GOOD)), False, Plain),
        ("dumb", 24, False, Plain),
        ("", 24, False, Plain),
    ],
)
def test_only_a_terminal_that_can_do_it_is_painted_on(
    monkeypatch: pytest.MonkeyPatch, term: str, lines: int, plain: bool, kind: type
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("LINES", str(lines))
    assert type(screen_for(Terminal(), plain=plain)) is kind


def test_a_block_is_painted_over_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    screen = Live(out)
    screen.show(GOOD)
    first = out.getvalue()
    screen.show(GOOD)
    height = len(block(GOOD))
    assert out.getvalue() == first + f"\x1b[{height}A" + first
    assert max(len(text) for text in first.splitlines()) <= 60 + len("\x1b[2K")


@pytest.mark.parametrize(
    "url",
    ["unix:/run/rtpproxy.sock", "cunix:/run/rtpproxy.sock", "udp:192.0.2.1:22222", "tcp:a:1"],
)
def test_the_lines_to_paste_name_the_control_socket_in_use(url: str) -> None:
    text = "\n".join(advice(read_url(url), own=False))
    assert f'modparam("rtpproxy", "rtpproxy_sock", "{url}")' in text
    assert f"b2bua_radius -r {url}\n" in text
    assert text.count('modparam("rtpproxy"') == (2 if url.startswith(("unix", "udp")) else 1)
    assert ("does not know" in text) is url.startswith(("cunix", "tcp"))
    assert ("-s udp:192.0.2.10:22222 -l 192.0.2.10" in text) is ("unix" in url)


def test_a_relay_that_was_only_for_the_demo_is_said_to_be_gone() -> None:
    url = read_url("unix:/run/rtpproxy.sock")
    assert "It has ended now" in "\n".join(advice(url, own=True))
    assert "ended" not in "\n".join(advice(url, own=False))


def test_advice_is_for_terminals_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where a virtual environment lies is not ours to say.
    monkeypatch.setattr(sys, "executable", "/venv/bin/python3")
    lines = advice(read_url("unix:/run/user/1000/rtpproxy.sock"), own=True)
    assert max(len(text) for text in lines) <= demo_screen.WIDTH + 10
