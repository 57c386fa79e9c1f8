"""The soak: its plan is repeatable, its judgement strict, and a short one runs through."""

from __future__ import annotations

import json
import socket
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bench.soaking import report
from bench.soaking.command import Run, main
from bench.soaking.pipeline import Pipeline
from bench.soaking.plan import SHARES, Chance, Fate
from bench.soaking.watch import Sample, kind_of, total

LOOK = Sample(0.0, 0, 70_000_000, 15, 3, 1.0, 0, 0.01, 0, 10, 0, 0)


def run_of(residents: list[float], **after: int) -> Run:
    """A run with these sizes of memory, in MB, and that much left over."""
    samples = [
        replace(LOOK, when=float(n), resident=int(size * 1e6)) for n, size in enumerate(residents)
    ]
    counts = {"packets sent": 6, "packets heard": 6, "tracebacks": 0}
    left = replace(LOOK, **after)
    return Run({"date": "today"}, {}, samples, LOOK, left, counts, {}, {}, {}, {}, {})


def test_the_same_seed_makes_the_same_calls() -> None:
    first, second = ([Chance(5).script(n) for n in range(3)] for _ in range(2))
    assert first == second


def test_calls_end_in_the_shares_that_are_told() -> None:
    chance = Chance(1)
    fates = Counter(chance.script(number).fate for number in range(20_000))
    for fate, share in SHARES.items():
        assert fates[fate] == pytest.approx(20_000 * share, rel=0.3)
    assert fates[Fate.DELETED] > 18_000


def test_growth_is_from_the_second_tenth_to_the_last() -> None:
    sizes = [10.0] * 10 + [100.0] * 80 + [104.0] * 10
    assert report.growth(run_of(sizes).samples) == pytest.approx(0.04)
    assert report.complaints(run_of(sizes)) == []
    assert report.complaints(run_of([*sizes[:90], *[106.0] * 10])) == ["memory has grown by 6.0%"]


def test_whatever_is_left_over_is_told() -> None:
    left = run_of([70.0] * 20, descriptors=40, timers=30, sessions=1, ports=2, recordings=3)
    told = " ".join(report.complaints(left))
    for what in ("25 descriptors", "20 timers", "1 sessions", "2 ports", "3 recordings"):
        assert what in told


def test_a_lost_packet_and_a_wrong_reply_are_told() -> None:
    run = run_of([70.0] * 20)
    run.counts["packets heard"] = 5
    run.wrong["'E50' in place of 0"] = 2
    assert report.complaints(run) == ["2 times 'E50' in place of 0", "1 packets were lost"]


def test_the_page_has_its_plot(tmp_path: Path) -> None:
    page, picture = report.write(tmp_path, run_of([70.0] * 20))
    assert picture.name in page.read_text()
    plot = ET.fromstring(picture.read_text())
    assert len(plot.findall("{http://www.w3.org/2000/svg}polyline")) == 9


def test_samples_of_a_metric_are_added_up() -> None:
    text = 'relay_ports_used{address_id="ipv4"} 3\nrelay_ports_used{address_id="ipv6"} 4\n'
    assert total(text + "relay_timers 12\n", "relay_ports_used") == 7


def test_lines_of_the_log_are_told_by_kind() -> None:
    lines = (
        "21:00:01.123 WARN x.Y: E60: no prompt 'a' in \"P soak-00000001\"",
        "22:07:08.456 WARN x.Y: E60: no prompt 'b' in \"P soak-00000002\"",
    )
    assert len({kind_of(line) for line in lines}) == 1


def test_replies_belong_to_commands_in_their_order() -> None:
    ours, theirs = socket.socketpair()
    told: list[tuple[int, bytes]] = []
    with ours, theirs:
        pipeline = Pipeline(ours)
        for number in range(3):
            pipeline.ask(f"Q {number}", lambda reply, n=number: told.append((n, reply)))  # type: ignore[misc]
        pipeline.turn()
        assert theirs.recv(100) == b"Q 0\nQ 1\nQ 2\n"
        theirs.sendall(b"zero\none\ntw")
        pipeline.turn()
        assert (told, pipeline.under_way) == ([(0, b"zero"), (1, b"one")], 1)
        theirs.sendall(b"o\n")
        pipeline.turn()
        assert (told[2:], pipeline.under_way) == ([(2, b"two")], 0)


def test_more_commands_than_the_relay_reads_wait_here() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pipeline = Pipeline(ours)
        for _ in range(100):
            pipeline.ask("Q" * 10_000, lambda reply: None)
        pipeline.turn()
        theirs.setblocking(False)
        came = 0
        while came < 100 * 10_001:
            came += len(theirs.recv(1 << 16))
            pipeline.turn()
        assert pipeline.under_way == 100


def test_a_relay_that_hangs_up_is_no_silence() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        pipeline = Pipeline(ours)
        theirs.close()
        with pytest.raises(ConnectionError):
            pipeline.turn()


@pytest.mark.network
def test_a_short_soak_leaves_nothing_over(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    main(
        [
            *("--seconds", "3", "--rate", "50", "--warm", "0.5", "--faults", "5", "--quiet"),
            *("--json", str(told)),
        ]
    )
    run = json.loads(told.read_text())
    assert run["counts"]["sessions"] > 30
    assert run["counts"]["tracebacks"] == 0
    assert run["wrong"] == {}
    assert (run["after"]["sessions"], run["after"]["ports"]) == (0, 0)
    assert run["after"]["descriptors"] <= run["before"]["descriptors"] + report.LEFT_OVER
