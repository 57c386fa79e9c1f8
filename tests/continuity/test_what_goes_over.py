"""What is going on in a call, and what was counted and told, goes on in another process."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rtpproxy_tw.commands import CatchDigits
from rtpproxy_tw.continuity.belongings import Luggage, Part, Whole
from rtpproxy_tw.insight_succession import FeedWhole, MetricsWhole
from rtpproxy_tw.media.resizer import Resizer
from rtpproxy_tw.processing_succession import Notices, ProcessingPart
from rtpproxy_tw.reporting.metrics import Metrics
from rtpproxy_tw.reporting.notify import Notifier
from rtpproxy_tw.session import Ending, NotifySocket
from rtpproxy_tw.snapshot.kinds import Damaged
from rtpproxy_tw.web.feed import Feed, Listener
from tests.fakes import Bench
from tests.media.playing import Stage
from tests.media.test_dtmf import press
from tests.media.test_processing import NOTIFY, caller_says, update
from tests.media.test_resizer import speech, told
from tests.snapshot.test_records import commanded, lived


def part_of(stage: Stage, *, lasting: bool = False) -> ProcessingPart:
    """Whoever hands processing over."""
    bench = stage.bench
    return ProcessingPart(bench.processing, partial(Resizer, totals=bench.totals), lasting=lasting)


def pass_on(stage: Stage, part: Part) -> None:
    """The same session, as it is in a process that has nothing but its record."""
    value = json.loads(json.dumps(part.pack(stage.session, Luggage())))
    for leg in stage.session.legs:
        leg.rtp.processor, leg.rtp.taps = None, ()
    if value is not None:
        part.unpack(stage.session, value, Luggage(), 0.0)


@pytest.mark.parametrize("cut", range(6))
def test_packets_are_joined_across_a_restart(tmp_path: Path, cut: int) -> None:
    """Wherever it happens, the other party gets what it would have got."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    stage, other = (
        Stage(tmp_path / "a").call(packet_ms=40),
        Stage(tmp_path / "b").call(packet_ms=40),
    )
    packets = speech(6)
    out = caller_says(stage, packets[:cut])
    pass_on(stage, part_of(stage))
    out += caller_says(stage, packets[cut:])
    assert len(out) == 3
    assert out == caller_says(other, packets)


def test_after_a_crash_numbers_begin_anew(tmp_path: Path) -> None:
    """Those of the record are old: packets that have left since must not be numbered alike."""
    stage = Stage(tmp_path).call(packet_ms=40)
    caller_says(stage, speech(4))
    pass_on(stage, part_of(stage, lasting=True))
    out = caller_says(stage, speech(8)[4:])
    assert [size for _, _, size, _ in told(out)] == [320] * 2


@pytest.mark.parametrize("cut", range(5))
@pytest.mark.parametrize("hide", [False, True])
def test_a_key_that_is_pressed_meanwhile_is_told_once(tmp_path: Path, cut: int, hide: bool) -> None:
    stage = Stage(tmp_path, notify=[NOTIFY])
    stage.bench.do(update(CatchDigits(b"Dtag", hide=hide)))
    stage.answer()
    packets = press(5, 1000)
    out = caller_says(stage, packets[:cut])
    pass_on(stage, part_of(stage))
    out += caller_says(stage, packets[cut:])
    assert stage.bench.notifier.told == [(NotifySocket("unix", NOTIFY), b"Dtag 5 10 480 0")]
    assert out == ([] if hide else packets)


def test_a_session_with_nothing_in_between_says_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path).call()
    assert part_of(stage).pack(stage.session, Luggage()) is None


@pytest.mark.parametrize(
    "value",
    [
        7,
        {"caller": 7},
        {"caller": {"resizer": 7}},
        {"caller": {"resizer": {"sent": -1}}},
        {"caller": {"resizer": {"queue": [{"payload": "?"}]}}},
        {"caller": {"digits": []}},
    ],
)
def test_damaged_processing_is_refused(tmp_path: Path, value: Any) -> None:
    stage = Stage(tmp_path).call()
    with pytest.raises(Damaged):
        part_of(stage).unpack(stage.session, value, Luggage(), 0.0)


def carried(whole: Whole, other: Whole) -> None:
    """What one says, as the other hears it."""
    other.unpack(json.loads(json.dumps(whole.pack(Luggage()))), Luggage(), 0.0)


def metrics_of(bench: Bench) -> Metrics:
    """Of a relay that has just been started."""
    made = Metrics(clock=bench.clock, totals=bench.totals, version="1")
    made.registry = bench.registry
    made.metered(bench.dispatcher)
    return made


def text_of(bench: Bench, metrics: Metrics) -> list[str]:
    """All lines that are no comments, but for the time since the start."""
    found: list[bytes] = []
    metrics.text().addCallback(found.append)
    bench.clock.pump([0.0] * 3)
    return [line for line in found[0].decode().splitlines() if "uptime" not in line]


def test_no_counter_falls_with_a_restart() -> None:
    """Those of ended calls, of live ones, of commands, and all histograms."""
    bench, session = lived("strict", [(0, 1, 1, 0.02)] * 30 + [(1, 2, 1, 0.02)] * 30)
    before, after = metrics_of(bench), metrics_of(bench)
    before.ended(session, Ending.DELETED)
    assert before.executor is not None
    before.executor.results["update", "ok"] += 3
    before.executor.seconds.observe(0.01)
    before.lag.seconds.observe(0.02)
    untold = [lambda: before.ended(session, Ending.TIMEOUT)]
    carried(MetricsWhole(before, lambda: untold.pop()()), MetricsWhole(after, lambda: None))
    assert text_of(bench, after) == text_of(bench, before)
    assert after.tally.closed["delete"] == after.tally.closed["ttl"] == 1
    assert before.tally.traffic.passed[1].accepted > 0  # type: ignore[index]


def test_a_version_with_other_bounds_and_words_begins_those_at_zero() -> None:
    bench = Bench()
    before, after = metrics_of(bench), metrics_of(bench)
    value = MetricsWhole(before, lambda: None).pack(Luggage())
    value["histograms"]["lag"]["counts"] = [1, 2]
    value["closed"].append(["struck by lightning", 4])
    MetricsWhole(after, lambda: None).unpack(value, Luggage(), 0.0)
    assert text_of(bench, after) == text_of(bench, before)


def heard(feed: Feed, bench: Bench, seen: int | None) -> tuple[bool, set[str], set[str]]:
    """Whether all is told anew, the calls told, and those that are gone."""
    bench.clock.pump([0.1] * 11)
    events = b"".join(feed.since(seen)).decode().split("\n\n")
    told: set[str] = set()
    gone: set[str] = set()
    reset = False
    for event in events:
        if event.startswith("event: calls"):
            body = json.loads(event.partition("data: ")[2])
            reset = reset or body["reset"]
            told |= {call["call_id"] for call in body["calls"]}
            gone |= set(body["gone"])
    return reset, told, gone


def test_who_listens_again_is_told_what_is_new_and_what_has_gone() -> None:
    """The id of the last event means the same to the new process."""
    bench = Bench(ttl=60, setup_ttl=60)
    made = [Feed(bench.clock, bench.clock.seconds) for _ in range(2)]
    before, after = made
    before.registry = after.registry = bench.registry
    after.run = "another"
    for name in ("a", "b"):
        commanded(bench, f"U {name} 10.0.0.1 4000 f".encode())
    before.join(Listener())
    assert heard(before, bench, None) == (True, {"a", "b"}, set())
    last = f"{before.run}-{before.sequence}"
    carried(FeedWhole(before), FeedWhole(after))
    before.stop()
    after.join(Listener())
    seen = after.position(last)
    assert seen is not None
    commanded(bench, b"D a f")
    commanded(bench, b"U c 10.0.0.1 4000 f")
    reset, told, gone = heard(after, bench, seen)
    assert not reset
    assert "c" in told
    assert "a" not in told
    assert len(gone) == 1
    after.stop()


def test_a_feed_nobody_listened_to_says_nothing() -> None:
    bench = Bench()
    assert FeedWhole(Feed(bench.clock, bench.clock.seconds)).pack(Luggage()) is None


def test_notices_that_wait_are_told_by_the_new_process() -> None:
    """In their order, by a notifier that may tell anybody anything."""
    bench = Bench()
    where = NotifySocket("tcp", "192.0.2.1", 9)

    class Reactor:
        """Whose connections never come about."""

        seconds = bench.clock.seconds
        callLater = bench.clock.callLater

        def connectTCP(self, *arguments: object, **options: object) -> None:
            """Nothing."""

    def notifier(allowed: list[str]) -> Notifier:
        return Notifier(reactor=Reactor(), allowed=allowed)

    before = notifier(["tcp:192.0.2.1:9"])
    for line in (b"one", b"two"):
        before.notify(where, line)
    after, silent = notifier(["tcp:192.0.2.1:9"]), notifier([])
    for each in (after, silent):
        carried(Notices(before), Notices(each))
    assert after.untold() == [(where, [b"one\n", b"two\n"])]
    assert silent.untold() == []
    assert Notices(silent).pack(Luggage()) is None
